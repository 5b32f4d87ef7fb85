"""The HTTP server that classifies uploads; requires the extra `serve`, but not TensorFlow."""
