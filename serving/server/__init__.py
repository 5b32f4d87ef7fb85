"""The HTTP server: classifies what it is sent. Needs the extra `serve`, no TensorFlow."""
