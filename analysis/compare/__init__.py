"""Model comparison: scores of many trainings, tests against a reference model, and one page."""
