"""The run report: what a run found, made and decided, as one self-contained page; no TFX, no TensorFlow."""
