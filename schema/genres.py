"""The default genres; the configuration of a run may define others."""

import collections
import difflib
import unicodedata
from collections.abc import Collection, Iterable, Sequence

from tumbao.schema.hierarchy import SEPARATOR

GENRES: tuple[str, ...] = ("bachata", "cumbia", "merengue", "salsa", "vallenato")
"""The genres in the order of the model's outputs (alphabetical)."""


def genre_key(name: str) -> str:
    """Return a key that is equal for all spellings of a genre; empty if the name is empty.

    Examples
    --------
    >>> genre_key("CUMBIA "), genre_key("Salsa / Romantica")
    ('cumbia', 'salsa/romantica')
    """
    folded = unicodedata.normalize("NFD", name).casefold()
    return SEPARATOR.join(tidy_genre(part) for part in folded.split(SEPARATOR))


def tidy_genre(name: str) -> str:
    """Return a genre name in Unicode's composed form, without superfluous spaces."""
    return " ".join(unicodedata.normalize("NFC", name).split())


def find_genre(name: str, genres: Iterable[str]) -> str:
    """Find a genre by any spelling of its name; empty if it is not among `genres`."""
    key = genre_key(name)
    return next((genre for genre in genres if genre_key(genre) == key), "")


def one_spelling(names: Iterable[str], genres: Sequence[str] = ()) -> tuple[dict[str, str], tuple[str, ...]]:
    """Choose one spelling of each genre: that of the run, otherwise the most frequent.

    Returns each name → the chosen spelling, and a sentence for each genre that has several spellings.

    Examples
    --------
    >>> one_spelling(["Salsa", "salsa", "Salsa/Dura"], ["salsa"])[0]
    {'Salsa': 'salsa', 'salsa': 'salsa', 'Salsa/Dura': 'salsa/Dura'}
    """
    counts = collections.Counter(names)
    preferred = {genre_key(genre): genre for genre in genres}
    spellings: dict[str, list[str]] = collections.defaultdict(list)
    for name in sorted(counts, key=lambda name: (-counts[name], name)):
        spellings[genre_key(name)].append(name)
    chosen: dict[str, str] = {}
    merged: list[str] = []
    for key, group in spellings.items():
        tidy = tidy_genre(group[0])
        head, separator, rest = tidy.partition(SEPARATOR)
        if genre := preferred.get(genre_key(head)):
            tidy = f"{genre}{separator}{rest.strip()}"
        spelling = preferred.get(key, tidy)
        chosen |= dict.fromkeys(group, spelling)
        if key and len(group) > 1:
            shown = [name if name == tidy_genre(name) else ascii(name) for name in sorted(group)]
            merged.append(f"{', '.join(shown[:-1])} and {shown[-1]} are one genre: {spelling}")
    return {name: chosen[name] for name in counts}, tuple(merged)


def unknown_genre(name: str, genres: Collection[str]) -> str:
    """Describe how a name differs from the known genres, with the most similar one.

    Examples
    --------
    >>> unknown_genre("salza", ["cumbia", "salsa"])
    'expected one of cumbia, salsa; received salza; did you mean salsa?'
    """
    keys = {genre_key(genre): genre for genre in genres}
    near = difflib.get_close_matches(genre_key(name), keys, 1)
    shown = name if name.isprintable() else ascii(name)
    received = f"expected one of {', '.join(genres)}; received {shown if name.strip() else 'no genre'}"
    head, separator, _ = name.partition(SEPARATOR)
    if separator and (genre := find_genre(head, genres)):
        return f"{received}; name the genre {genre} alone, or ask for sub-genres with --subgenres"
    if near:
        return f"{received}; did you mean {keys[near[0]]}?"
    return received
