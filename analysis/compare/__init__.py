"""The comparison of models: what many trainings answered, scored, tested against a reference and put on one page."""
