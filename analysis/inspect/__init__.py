"""What is in a library, before any training."""
