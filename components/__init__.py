"""What TFX runs: pure steps, and thin adapters around them."""
