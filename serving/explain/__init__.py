"""What a model learned, to see and to hear."""
