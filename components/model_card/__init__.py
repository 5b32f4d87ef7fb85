"""The model card: what a pushed model is, what it is for, how good it is and what it came from."""
