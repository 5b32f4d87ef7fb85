"""Explanations of a trained model in images and audio."""
