"""What leaves the building; imports no TFX."""
