"""The network: backbone, head, training."""
