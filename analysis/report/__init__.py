"""The run report: one self-contained page about a run; imports neither TFX nor TensorFlow."""
