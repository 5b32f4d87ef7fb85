"""Drift detection: whether new music is like the music that a model was trained on."""
