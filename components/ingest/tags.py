"""Who plays: what a file's tags say, and which names mean the same artist."""

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
"""What easy tags, APE, ASF, ID3 and the INFO list of a wav call the same thing."""

_NOBODY_IN_ENGLISH = ("unknown", "unknownartist", "various", "variousartists", "va", "none", "nan", "na")
_NOBODY_IN_SPANISH = ("desconocido", "artistadesconocido", "interpretedesconocido", "varios", "variosartistas")
_NOBODY = frozenset((*_NOBODY_IN_ENGLISH, *_NOBODY_IN_SPANISH))
_GUESTS = re.compile(r"[\s(\[]+(?:feat|ft|featuring|with|con|vs|versus)(?:\.\s*|\s+)")
_OTHERS = re.compile(r"\s+(?:&|\+|y|e|and|x|×|/|\|)\s+|\s*[;,]\s*")
_ACCENTS = re.compile("[\u0300-\u036f]")


def artist_and_title(path: str | Path) -> tuple[str, str]:
    """Read artist and title from the tags of a file.

    Parameters
    ----------
    path : str or Path
        A file; its content decides which tags it can have.

    Returns
    -------
    artist : str
        The first that the tags name; empty where they name none or cannot be read, whatever the file holds.
    title : str
        Likewise.
    """
    artist = title = ""
    try:
        if not Path(path).is_file():  # opening a pipe would wait for ever
            return "", ""
        for tags in _tags(Path(path)):
            artist, title = artist or _first(tags, _ARTIST_TAGS), title or _first(tags, _TITLE_TAGS)
            if artist and title:
                break
    except Exception:  # mutagen's parsers meet broken files with errors of every kind
        return artist, title
    return artist, title


def _tags(path: Path) -> Iterator[object]:
    """Go over the tags that a file may hold; those that mutagen does not look for come after those that it does."""
    import mutagen  # a tenth of a second that libraries with an artist column need not spend
    from mutagen.apev2 import APEv2
    from mutagen.flac import FLAC
    from mutagen.id3 import ID3

    with contextlib.suppress(Exception):  # a flac with an ID3 tag in front is taken for an mp3
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
    """Reduce an artist's name to what spellings of it have in common.

    Songs of one artist on two sides of a split make a model look better than it is, and two artists taken for one only
    leave the split less choice. So in doubt names are taken together: capitals, accents (ñ is n), punctuation, spaces
    and a leading "The" do not count, and of several artists only the first does: what follows feat., ft., with, con,
    vs, &, +, y, e, and, x, a comma, a semicolon or a slash between spaces is left out. Articles in other languages
    stay, since names differ by them alone (Los Diablitos, El Diablito).

    Parameters
    ----------
    name : str
        As a list or a tag spells it.

    Returns
    -------
    key : str
        Equal for the same artist; empty for no name and for names of nobody, such as "Various Artists" or
        "Desconocido".

    Examples
    --------
    >>> artist_key("Diomedes Díaz & Juancho Rois"), artist_key("DIOMEDES DIAZ feat. Iván Zuleta")
    ('diomedesdiaz', 'diomedesdiaz')
    """
    plain = _plain(name)
    head = _GUESTS.split(plain, maxsplit=1)[0]
    key = next((key for part in _OTHERS.split(head) if (key := _letters(part))), _letters(plain))
    if not key:
        return re.sub(r"\s+", "", plain)  # a name of signs alone
    return "" if key in _NOBODY else key


def _plain(name: str) -> str:
    """Fold what looks alike, without the spaces around."""
    return unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFKD", name.casefold()))).strip()


def _letters(text: str) -> str:
    text = re.sub(r"^the\s+(?=\S)", "", text.strip())
    kept = "".join(character for character in text if unicodedata.category(character)[0] in "LMN")
    return kept if any(map(str.isalnum, kept)) else ""  # not the mark alone that colours an emoji
