"""Inference and export of pushed models; imports no TFX."""
