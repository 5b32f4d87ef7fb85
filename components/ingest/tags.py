"""Read artist and title from a file's tags, and compare spellings of artists' names."""

from __future__ import annotations

import contextlib
import io
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from tumbao.components.ingest.riff import content_of, read_chunks, read_info, text_of

_ARTIST_TAGS = ("artist", "Artist", "Author", "TPE1", "IART")
_TITLE_TAGS = ("title", "Title", "TIT2", "INAM")
"""Names in easy tags, APE, ASF, ID3 and the INFO list of a wav."""

_NOBODY_IN_ENGLISH = ("unknown", "unknownartist", "various", "variousartists", "va", "none", "nan", "na")
_NOBODY_IN_SPANISH = ("desconocido", "artistadesconocido", "interpretedesconocido", "varios", "variosartistas")
_NOBODY = frozenset((*_NOBODY_IN_ENGLISH, *_NOBODY_IN_SPANISH))
_GUESTS = re.compile(r"[\s(\[]+(?:feat|ft|featuring|with|con|vs|versus)(?:\.\s*|\s+)")
_OTHERS = re.compile(r"\s+(?:&|\+|y|e|and|x|×|/|\|)\s+|\s*[;,]\s*")
_ACCENTS = re.compile("[\u0300-\u036f]")


def artist_and_title(path: str | Path) -> tuple[str, str]:
    """Read artist and title from the tags of a file; its content decides which tags it can have.

    Each is the first that the tags name; empty if there is none or the tags cannot be read, whatever the file contains.
    """
    artist = title = ""
    try:
        if not Path(path).is_file():  # opening a named pipe would block forever
            return "", ""
        for tags in _tags(Path(path)):
            artist, title = artist or _first(tags, _ARTIST_TAGS), title or _first(tags, _TITLE_TAGS)
            if artist and title:
                break
    except Exception:  # mutagen's parsers raise errors of every kind for broken files
        return artist, title
    return artist, title


def _tags(path: Path) -> Iterator[object]:
    """Yield the tags that a file may hold: first those that mutagen detects, then the others."""
    import mutagen  # takes 0.1 s, not needed for libraries with an artist column
    from mutagen.apev2 import APEv2
    from mutagen.flac import FLAC
    from mutagen.id3 import ID3

    with contextlib.suppress(Exception):  # mutagen takes a flac with an ID3 tag in front for an mp3
        yield mutagen.File(path, easy=True)
    with path.open("rb") as file:
        chunks = read_chunks(file)
        for chunk in chunks:
            if chunk.name.lower() == b"id3 ":
                with contextlib.suppress(mutagen.MutagenError):
                    yield ID3(io.BytesIO(content_of(file, chunk)))
            elif chunk.name == b"LIST":
                yield {name.decode("latin-1"): text_of(value) for name, value in read_info(content_of(file, chunk))}
    for kind in () if chunks else (FLAC, APEv2, ID3):
        with contextlib.suppress(mutagen.MutagenError):
            yield kind(path)


def _first(tags: object, names: tuple[str, ...]) -> str:
    for name in names:
        try:
            values = tags[name]  # type: ignore[index]
        except (KeyError, ValueError, TypeError):  # no such tag, no such tag in this format, no tags at all
            continue
        for value in getattr(values, "text", None) or (values if isinstance(values, list) else [values]):
            for text in str(value).split("\0"):  # ID3 and APE put several values into one
                if words := text.split():
                    return " ".join(words).encode("utf-8", "replace").decode("utf-8")
    return ""


def artist_key(name: str) -> str:
    """Return a key that is equal for all spellings of an artist's name.

    Songs of one artist in two splits make a model look better than it is, while two artists with the same key only
    leave the split less choice. So in doubt, names are considered equal. Case, accents (ñ is n), punctuation, spaces
    and a leading "The" are ignored. Of several artists only the first counts: text after feat., ft., with, con, vs, &,
    +, y, e, and, x, a comma, a semicolon or a slash between spaces is left out. Articles in other languages stay, since
    some names differ only in them (Los Diablitos, El Diablito).

    The key is empty for no name and for placeholders such as "Various Artists" or "Desconocido".
    """
    plain = _plain(name)
    head = _GUESTS.split(plain, maxsplit=1)[0]
    key = next((key for part in _OTHERS.split(head) if (key := _letters(part))), _letters(plain))
    if not key:
        return re.sub(r"\s+", "", plain)  # a name of symbols only
    return "" if key in _NOBODY else key


def _plain(name: str) -> str:
    """Remove case, accents, compatibility forms of characters and surrounding spaces."""
    return unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFKD", name.casefold()))).strip()


def _letters(text: str) -> str:
    text = re.sub(r"^the\s+(?=\S)", "", text.strip())
    kept = "".join(character for character in text if unicodedata.category(character)[0] in "LMN")
    return kept if any(map(str.isalnum, kept)) else ""  # a mark alone is the variation selector of an emoji
