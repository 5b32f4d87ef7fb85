"""The default genres; the configuration of a run may define others."""

GENRES: tuple[str, ...] = ("bachata", "cumbia", "merengue", "salsa", "vallenato")
"""The genres in the order of the model's outputs (alphabetical)."""
