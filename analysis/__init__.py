"""Pages that people look at: reports, comparisons, curation, drift, inspection; imports no TFX."""
