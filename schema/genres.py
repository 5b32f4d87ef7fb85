"""The default genres; the configuration of a run may define others."""

import collections
import difflib
import unicodedata
from collections.abc import Collection, Iterable, Sequence

from tumbao.schema.hierarchy import SEPARATOR

GENRES: tuple[str, ...] = ("bachata", "cumbia", "merengue", "salsa", "vallenato")
"""The genres in the order of the model's outputs (alphabetical)."""


_SHOWN = 3


def genre_key(name: str) -> str:
    """Return a key that is equal for all spellings of a genre; empty if the name is empty.

    Case, Unicode's composed and decomposed forms, and spaces around the name or around a slash are ignored.

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
    """Choose one spelling of each genre.

    `names` has the genre of each song; it may be empty, or name a sub-genre after a slash. `genres` are preferred
    spellings: those of the run. Otherwise the most frequent spelling is chosen, then the first in alphabetical order.
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
            alike = len({tidy_genre(name) for name in group}) < len(group)
            shown = [ascii(name) if alike or name != " ".join(name.split()) else name for name in sorted(group)]
            merged.append(f"{', '.join(shown[:-1])} and {shown[-1]} are one genre: {spelling}")
    return {name: chosen[name] for name in counts}, tuple(merged)


def unknown_genre(name: str, genres: Collection[str]) -> str:
    """Describe how a name differs from the known genres.

    The sentence includes the most similar genre, and the code points of characters that are invisible or look like
    others.

    Examples
    --------
    >>> unknown_genre("salza", ["cumbia", "salsa"])
    'expected one of cumbia, salsa; received salza; did you mean salsa?'
    """
    keys = {genre_key(genre): genre for genre in genres}
    near = difflib.get_close_matches(genre_key(name), keys, 1)
    received = f"expected one of {', '.join(genres)}; received {(name.strip() and _shown(name, near)) or 'no genre'}"
    head, separator, _ = name.partition(SEPARATOR)
    if separator and (genre := find_genre(head, genres)):
        return f"{received}; name the genre {genre} alone, or ask for sub-genres with --subgenres"
    if near:
        return f"{received}; did you mean {_shown(keys[near[0]], [genre_key(name)])}?"
    return received


def _shown(name: str, others: Sequence[str]) -> str:
    """Return a name; if it may look like another one, with the code points that the others do not contain."""
    known = set("".join(others))
    odd = [
        character
        for character in dict.fromkeys(tidy_genre(name))
        if not (character.isascii() and character.isprintable())
        and len(unicodedata.normalize("NFD", character)) == 1  # an accent is visible
        and character.casefold() not in known
        and (others or not unicodedata.name(character, "").startswith("LATIN"))
    ]
    if not odd:
        return name
    points = (f"U+{ord(one):04X} {unicodedata.name(one, 'control character')}" for one in odd[:_SHOWN])
    return f"{name!a} (with {', '.join(points)}{', …' if len(odd) > _SHOWN else ''})"
