"""The model card: description, intended use, metrics and provenance of a model."""
