"""The models that the pipeline can train: the paper's, those that it compares itself with, and ours."""
