"""What the components and the report share: metrics of fragments and songs, and the data of a run."""
