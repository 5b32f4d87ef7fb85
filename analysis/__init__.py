"""HTML pages: run reports, comparisons, curation, drift and inspection; imports no TFX."""
