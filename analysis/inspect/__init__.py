"""Inspection of a library before training."""
