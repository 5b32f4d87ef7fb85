"""The models that the pipeline can train: the paper's, those of other papers for comparison, and our own."""
