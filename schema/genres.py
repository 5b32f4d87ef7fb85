"""The only list of genres; a run may bring its own through the configuration."""

GENRES: tuple[str, ...] = ("bachata", "cumbia", "merengue", "salsa", "vallenato")
"""The genres in the order of the model's outputs (alphabetical)."""
