"""The contract between the steps: genres, mel parameters and records; imports nothing of ours and no TensorFlow."""
