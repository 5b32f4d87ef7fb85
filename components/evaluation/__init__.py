"""What the evaluator, the export and the report share: the gate, scores, intervals, parity."""
