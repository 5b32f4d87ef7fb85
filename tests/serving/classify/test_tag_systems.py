"""A file's genre stands in all of its tags or in none: each that it holds is asked, and no old one stays."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import mutagen.apev2
import mutagen.flac
import mutagen.id3
import mutagen.mp4
import numpy as np
import pytest
import soundfile

from tests.serving.classify.test_tags import by_libav, by_libsndfile, coded
from tests.sounds import decode
from tumbao.components.ingest.tags import artist_and_title, content_of, read_chunks, read_info
from tumbao.serving.classify.tags import Outcome, TaggedFile, Tagging, write_genre

V1 = b"TAG" + b"An older title".ljust(30, b"\0") + b"Celia Cruz".ljust(30, b"\0") + bytes(64)


def id3(genre: str = "", title: str = "Quimbara") -> mutagen.id3.ID3:
    tags = mutagen.id3.ID3()
    tags.add(mutagen.id3.TIT2(encoding=1, text=[title]))
    tags.add(mutagen.id3.TPE1(encoding=1, text=["Celia Cruz"]))
    if genre:
        tags.add(mutagen.id3.TCON(encoding=1, text=[genre]))
    return tags


def ape(path: Path, **items: str) -> None:
    tags = mutagen.apev2.APEv2()
    for name, value in {"Artist": "Celia Cruz", "Title": "Quimbara", **items}.items():
        tags[name] = value
    tags.save(path)


def add_chunk(path: Path, name: bytes, content: bytes) -> None:
    whole = path.read_bytes() + struct.pack("<4sI", name, len(content)) + content + bytes(len(content) % 2)
    size = struct.pack("<I", len(whole) - 8) if whole.startswith(b"RIFF") else whole[4:8]
    whole = whole[:4] + size + whole[8:]
    if not whole.startswith(b"RIFF"):
        whole = whole[:20] + struct.pack("<Q", len(whole) - 8) + whole[28:]
    path.write_bytes(whole)


def info(genre: bytes) -> bytes:
    entries = ((b"INAM", b"Quimbara\0"), (b"IGNR", genre), (b"IART", b"Celia Cruz\0"))
    parts = [struct.pack("<4sI", key, len(text)) + text + bytes(len(text) % 2) for key, text in entries]
    return b"INFO" + b"".join(parts)


def mp3_with_ape(path: Path) -> None:
    by_libsndfile(path)
    ape(path, Genre="Rock")


def mp3_with_three(path: Path) -> None:
    by_libsndfile(path)
    ape(path, GENRE="Rock")
    with path.open("ab") as file:
        file.write(V1 + bytes([17]))
    id3("Rock").save(path, v1=0, v2_version=3)
    assert not path.read_bytes()[-128:].startswith(b"TAG") or path.read_bytes()[-128:-125] == b"TAG"


def mp3_with_v1(path: Path) -> None:
    by_libsndfile(path)
    with path.open("ab") as file:
        file.write(V1 + bytes([17]))


def mp3_with_v22(path: Path) -> None:
    by_libsndfile(path)
    frames = b"".join(
        name + struct.pack(">I", len(text) + 1)[1:] + b"\0" + text
        for name, text in ((b"TT2", b"Quimbara"), (b"TP1", b"Celia Cruz"), (b"TCO", b"(17)"))
    )
    path.write_bytes(b"ID3\2\0\0" + bytes([0, 0, len(frames) >> 7, len(frames) & 127]) + frames + path.read_bytes())


def mp3_with_words_of_its_own(path: Path) -> None:
    by_libsndfile(path)
    tags = id3()
    tags.add(mutagen.id3.TXXX(encoding=1, desc="GENRE", text=["Rock"]))
    tags.save(path)


def wav_with_info(path: Path) -> None:
    by_libsndfile(path)
    add_chunk(path, b"LIST", info(b"Rock\0"))


def wav_with_both(path: Path) -> None:
    wav_with_info(path)
    content = io.BytesIO()
    id3("Rock").save(content)
    add_chunk(path, b"ID3 ", content.getvalue())
    add_chunk(path, b"junk", b"odd")


def rf64(path: Path) -> None:
    samples = (0.1 * np.random.default_rng(0).standard_normal((44_100, 1))).astype(np.float32)
    soundfile.write(path, samples, 44_100, format="RF64", subtype="PCM_U8")
    assert path.read_bytes().startswith(b"RF64")
    add_chunk(path, b"LIST", info(b"Rock\0"))


def flac_with_id3(path: Path) -> None:
    by_libsndfile(path)
    file = mutagen.flac.FLAC(path)
    file["artist"], file["title"], file["genre"] = "Celia Cruz", "Quimbara", ["Rock", "Pop"]
    file.save()
    id3("Rock").save(path, v1=2)


def with_comments(path: Path) -> None:
    by_libsndfile(path)
    file = mutagen.File(path)
    file["artist"], file["title"], file["genre"] = "Celia Cruz", "Quimbara", ["Rock", "Pop"]
    file.save()


def aiff(path: Path) -> None:
    by_libsndfile(path)
    file = mutagen.File(path)
    file.add_tags()
    file.tags.update(id3("Rock"))
    file.save()


def m4a(path: Path) -> None:
    """Write genres as a number, as text and under a name of its own."""
    by_libav(path, "aac")
    file = mutagen.mp4.MP4(path)
    file["\xa9ART"], file["\xa9nam"], file["\xa9gen"] = ["Celia Cruz"], ["Quimbara"], ["Pop", "XX"]
    file["----:com.apple.iTunes:GENRE"] = [b"Rock"]
    file.save()
    texts = struct.pack(">I4sI4sII", 45, b"\xa9gen", 19, b"data", 1, 0) + b"Pop"
    texts += struct.pack(">I4sII", 18, b"data", 1, 0) + b"XX"
    content = path.read_bytes()
    assert texts in content
    number = struct.pack(">I4sI4sIIH", 26, b"gnre", 18, b"data", 0, 0, 18)
    pop = struct.pack(">I4sI4sII", 19, b"\xa9gen", 11, b"free", 0, 0)[:19]
    path.write_bytes(content.replace(texts, number + pop))


def wma(path: Path) -> None:
    by_libav(path, "wmav2")
    file = mutagen.File(path)
    file["Author"], file["Title"], file["WM/Genre"], file["WM/GenreID"] = (
        "Celia Cruz",
        "Quimbara",
        ["Rock", "Pop"],
        "17",
    )
    file.save()


def wavpack(path: Path) -> None:
    by_libav(path, "wavpack")
    ape(path, Genre="Rock")
    with path.open("ab") as file:
        file.write(V1 + bytes([17]))


WRITERS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "mp3 with APE": ("a.mp3", mp3_with_ape),
    "mp3 with ID3, APE and ID3v1": ("a.mp3", mp3_with_three),
    "mp3 with ID3v1 alone": ("a.mp3", mp3_with_v1),
    "mp3 with ID3v2.2": ("a.mp3", mp3_with_v22),
    "mp3 with a frame of its own": ("a.mp3", mp3_with_words_of_its_own),
    "wav with INFO": ("a.wav", wav_with_info),
    "wav with INFO and ID3": ("a.wav", wav_with_both),
    "RF64": ("a.wav", rf64),
    "flac with ID3": ("a.flac", flac_with_id3),
    "flac": ("a.flac", with_comments),
    "ogg": ("a.ogg", with_comments),
    "opus": ("a.opus", with_comments),
    "aiff": ("a.aiff", aiff),
    "m4a": ("a.m4a", m4a),
    "wma": ("a.wma", wma),
    "wavpack": ("a.wv", wavpack),
}


def write(path: Path, genre: str, overwrite: bool) -> Tagging:
    return [item for item in write_genre(path, genre, overwrite) if item is not None][-1]


def packets_of(path: Path) -> list[bytes]:
    """Give the coded sound, but of what libav takes an ID3v1 block for sound."""
    return [] if path.suffix in (".flac", ".wv") else coded(path)


def mentions(path: Path, word: bytes) -> bool:
    """Look for a word in the bytes themselves, in UTF-8 and UTF-16."""
    return any(text in path.read_bytes() for text in (word, word.decode().encode("utf-16-le")))


@pytest.mark.parametrize("kind", WRITERS)
def test_the_genre_is_replaced_in_all_tags(tmp_path: Path, kind: str) -> None:
    name, make = WRITERS[kind]
    path = tmp_path / name
    make(path)
    content, sound = path.read_bytes(), decode(path, 44_100).samples
    packets = packets_of(path)
    assert artist_and_title(path)[0] == "Celia Cruz"
    kept = write(path, "Salsa", overwrite=False)
    assert kept.outcome is Outcome.KEPT, kept
    assert "Rock" in kept.sentence
    assert path.read_bytes() == content
    assert write(path, "Rock", overwrite=False).outcome in (Outcome.SAME, Outcome.KEPT)
    assert path.read_bytes() == content
    assert write(path, "Salsa", overwrite=True) == Tagging(Outcome.WRITTEN)
    assert TaggedFile(path).genres == ["Salsa"]
    assert not mentions(path, b"Rock")
    if path.read_bytes()[-128:].startswith(b"TAG"):
        assert path.read_bytes()[-1] == 143
    assert (V1[:125] in path.read_bytes()) is (V1[:125] in content)
    np.testing.assert_array_equal(decode(path, 44_100).samples, sound)
    assert packets_of(path) == packets
    assert artist_and_title(path)[0] == "Celia Cruz"
    content = path.read_bytes()
    for overwrite in (False, True):
        assert write(path, "Salsa", overwrite) == Tagging(Outcome.SAME)
    assert path.read_bytes() == content


@pytest.mark.parametrize("kind", ["wav with INFO", "wav with INFO and ID3", "RF64"])
def test_other_chunks_of_a_wav_are_unchanged(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.wav"
    WRITERS[kind][1](path)

    def chunks() -> dict[bytes, object]:
        with path.open("rb") as file:
            found = {chunk.name: content_of(file, chunk) for chunk in read_chunks(file)}
            assert read_chunks(file)[-1].end == path.stat().st_size
        entries = [entry for entry in read_info(found.pop(b"LIST")) if entry[0] != b"IGNR"]
        kept = {name: zlib.crc32(content) for name, content in found.items() if name.lower() not in (b"id3 ", b"ds64")}
        return {**kept, b"LIST": entries}

    before = chunks()
    assert write(path, "Vallenato", overwrite=True) == Tagging(Outcome.WRITTEN)
    assert chunks() == before
    assert soundfile.info(path).frames == 44_100


def test_wav_files_without_tags_get_one(tmp_path: Path) -> None:
    for name, form in (("a.wav", "WAV"), ("b.wav", "RF64"), ("c.wav", "WAVEX")):
        soundfile.write(tmp_path / name, np.resize([0.1, -0.1], 44_101), 44_100, format=form, subtype="PCM_24")
        assert write(tmp_path / name, "Salsa", overwrite=False) == Tagging(Outcome.WRITTEN)
        assert TaggedFile(tmp_path / name).genres == ["Salsa"]
        assert soundfile.info(tmp_path / name).format == form


def test_the_number_of_other_is_not_a_genre(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    mp3_with_v1(path)
    id3("Vallenato").save(path, v1=0)
    with path.open("ab") as file:
        file.write(V1 + bytes([12]))
    assert write(path, "Vallenato", overwrite=False) == Tagging(Outcome.SAME)


def test_another_spelling_is_replaced_only_with_overwrite(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    by_libsndfile(path)
    ape(path, Genre="SALSA ")
    id3("Salsa").save(path, v1=0)
    assert path.read_bytes()[-128:].startswith(b"TAGEX")  # an APE tag of this length is no ID3v1 block
    content = path.read_bytes()
    assert write(path, "Salsa", overwrite=False) == Tagging(Outcome.SAME)
    assert path.read_bytes() == content
    assert write(path, "Salsa", overwrite=True) == Tagging(Outcome.WRITTEN)
    assert TaggedFile(path).genres == ["Salsa"]


def test_files_that_cannot_be_tagged_are_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    by_libav(path, "flac")
    content = path.read_bytes()
    said = write(path, "Salsa", overwrite=True)
    assert said.outcome is Outcome.IMPOSSIBLE
    assert "Matroska" in said.sentence
    streamed = tmp_path / "a.wav"
    wav_with_info(streamed)
    streamed.write_bytes(streamed.read_bytes().replace(b"data" + struct.pack("<I", 176_400), b"data\xff\xff\xff\xff"))
    mp3 = tmp_path / "a.mp3"
    by_libsndfile(mp3)
    id3("Rock").save(mp3)
    tag = io.BytesIO()
    id3("Pop").save(tag)
    mp3.write_bytes(tag.getvalue() + mp3.read_bytes())
    for file, contained in ((path, content), (streamed, streamed.read_bytes()), (mp3, mp3.read_bytes())):
        assert write(file, "Salsa", overwrite=True).outcome in (Outcome.IMPOSSIBLE, Outcome.FAILED)
        assert file.read_bytes() == contained


def test_zeros_after_a_wav_are_not_chunks(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    by_libsndfile(path)
    content = bytearray(path.read_bytes()[:44] + bytes(1_000_000))
    content[40:44] = bytes(4)  # the length of the sound was never written
    path.write_bytes(content)
    with path.open("rb") as file:
        assert [chunk.name for chunk in read_chunks(file)] == [b"fmt ", b"data"]
    assert artist_and_title(path) == ("", "")
    assert write(path, "Salsa", overwrite=False).outcome is Outcome.FAILED
    assert path.read_bytes() == content
