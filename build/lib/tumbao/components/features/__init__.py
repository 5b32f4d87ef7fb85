"""The frozen backbone's output, computed once."""
