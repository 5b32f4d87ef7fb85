"""Descriptors of songs, under their usual names, computed from mel images, which the network receives.

Training songs are measured from the mel images in their records, new songs from their audio. Both sides come from the
same front-end, so differences come from the music. An image is scaled to its fragment's maximum, so descriptors do not
depend on gain.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tumbao.analysis.songs import measure_songs
from tumbao.components.ingest import progress
from tumbao.components.ingest.decoders import read_song
from tumbao.components.ingest.formats import find_layout, read_library, with_one_spelling
from tumbao.components.ingest.fragments import Fragments
from tumbao.components.ingest.library import Rejected, Song, scan_files
from tumbao.components.ingest.listing import SongList
from tumbao.components.ingest.paths import AnyPath
from tumbao.components.ingest.song_list import read_entries
from tumbao.components.ingest.tables import json_lines
from tumbao.components.ingest.worker_pool import WorkerPool
from tumbao.schema import record
from tumbao.schema.errors import UserError
from tumbao.schema.mel_spec import MelSpec

MAX_TRAINING_SONGS = 2_000
"""Maximum number of training songs, to bound memory. With this many, random differences come from the new songs."""

SILENCE_DB = -60.0  # of a silent frame's loudest band, relative to the fragment's maximum
LOW_HZ, HIGH_HZ = 250.0, 4_000.0  # below and above which energy counts as low and as high
PULSE_HZ = (0.5, 4.0)  # 30 to 240 beats per minute
SLOWEST_MODULATION_HZ = 0.2  # slower changes are form, not rhythm


@dataclasses.dataclass(frozen=True)
class Descriptor:
    """Name (of a column), unit (empty for a ratio) and description of a measure."""

    name: str
    unit: str
    meaning: str


DESCRIPTORS: tuple[Descriptor, ...] = (
    Descriptor("mean_level", "dB", "mean of all bands of sounding frames, under the fragment's maximum"),
    Descriptor("silence_ratio", "", f"share of frames fainter than {-SILENCE_DB:.0f} dB under the fragment's maximum"),
    Descriptor("spectral_centroid", "Hz", "mean frequency, weighted by amplitude"),
    Descriptor("spectral_bandwidth", "Hz", "standard deviation of frequency around the centroid"),
    Descriptor("spectral_flatness", "dB", "geometric mean over arithmetic mean of the bands' power; 0 is white noise"),
    Descriptor("low_energy", "dB", f"power below {LOW_HZ:.0f} Hz over all power"),
    Descriptor("high_energy", "dB", f"power above {HIGH_HZ / 1000:.0f} kHz over all power"),
    Descriptor("spectral_flux", "dB/s", "mean rise of the bands per second: strength and number of onsets"),
    Descriptor("bass_modulation", "Hz", f"median rate at which the level below {LOW_HZ:.0f} Hz rises and falls"),
    Descriptor("pulse_clarity", "", "highest autocorrelation of onset strength at the period of a beat, at any tempo"),
)
"""Measures of a fragment, in the order of `describe`."""


@dataclasses.dataclass(frozen=True, eq=False)
class SongDescriptors:
    """Descriptors of the k fragments of a song, or of a part of a song, which shares the identifier `song`."""

    song: str
    path: str  # empty for training songs, which are read from records
    genre: str  # empty if unknown
    seconds: float  # as decoded
    padded: bool  # shorter than a fragment
    truncated: bool  # the file breaks off
    starts: np.ndarray  # [k], in seconds
    values: np.ndarray  # [k, len(DESCRIPTORS)]


def describe(levels: np.ndarray, spec: MelSpec) -> np.ndarray:
    """Measure one fragment: float64 [len(DESCRIPTORS)], finite also for silence, whose spectrum counts as flat.

    `levels` [image_height, image_width] are the indexes of its mel image, 0 (the floor) to 255 (its maximum).
    """
    decibels = (levels[::-1].astype(np.float64) / 255.0 - 1.0) * spec.dynamic_range_db  # [bands from low to high, time]
    sounding = decibels.max(axis=0) >= SILENCE_DB
    audible = decibels[:, sounding] if sounding.any() else decibels
    power = 10.0 ** (audible / 10.0)
    hertz = _row_hertz(spec)
    amplitude = np.sqrt(power)
    weights = amplitude / amplitude.sum(axis=0)
    centroid = hertz @ weights
    spread = np.sqrt(np.maximum((hertz**2) @ weights - centroid**2, 0.0))
    rate = spec.image_width / spec.fragment_seconds  # columns of the image per second
    onsets = np.maximum(np.diff(audible, axis=1), 0.0).mean(axis=0) if audible.shape[1] > 1 else np.zeros(1)
    whole = power.sum()
    return np.array(
        [
            audible.mean(),
            1.0 - sounding.mean(),
            centroid.mean(),
            spread.mean(),
            (audible.mean(axis=0) - 10.0 * np.log10(power.mean(axis=0))).mean(),
            _share_db(power[hertz < LOW_HZ].sum(), whole),
            _share_db(power[hertz > HIGH_HZ].sum(), whole),
            onsets.mean() * rate,
            _modulation(audible[hertz < LOW_HZ], rate),
            _pulse_clarity(onsets, rate),
        ]
    )


@functools.lru_cache(maxsize=4)
def _row_hertz(spec: MelSpec) -> np.ndarray:
    """Return the frequency of each row of an image, from low to high."""
    import librosa

    centres = librosa.mel_frequencies(spec.mel_bands + 2, fmin=spec.mel_min_hz, fmax=spec.mel_max_hz)[1:-1]
    rows = (np.arange(spec.image_height) + 0.5) * spec.mel_bands / spec.image_height - 0.5
    return np.interp(rows, np.arange(spec.mel_bands), centres)


def _share_db(part: float, whole: float) -> float:
    return float(10.0 * np.log10(max(part / whole, 1e-8)))


def _modulation(decibels: np.ndarray, rate: float) -> float:
    """Return the frequency that halves the power of the modulation spectrum."""
    centred = decibels - decibels.mean(axis=1, keepdims=True)
    spectrum = (np.abs(np.fft.rfft(centred * np.hanning(centred.shape[1]), axis=1)) ** 2).sum(axis=0)
    hertz = np.fft.rfftfreq(centred.shape[1], 1.0 / rate)
    power = np.cumsum(np.where(hertz >= SLOWEST_MODULATION_HZ, spectrum, 0.0))
    return float(hertz[np.searchsorted(power, power[-1] / 2)]) if power[-1] > 0 else 0.0


def _pulse_clarity(onsets: np.ndarray, rate: float) -> float:
    centred = onsets - onsets.mean()
    energy = centred @ centred
    if energy == 0:
        return 0.0
    spectrum = np.abs(np.fft.rfft(centred, 2 * len(centred))) ** 2
    correlation = np.fft.irfft(spectrum)[: len(centred)] / energy
    at_beat = correlation[math.ceil(rate / PULSE_HZ[1]) : int(rate / PULSE_HZ[0]) + 1]
    return float(at_beat.max(initial=0.0))


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """Records of a run."""

    run: str
    library: str
    synthetic: bool  # songs are composed, not recorded
    genres: tuple[str, ...]
    spec: MelSpec
    examples: str  # folder of the Examples artefact
    ingested: str  # JSON Lines file with a line for every song


def measure_training(training: TrainingData) -> tuple[tuple[SongDescriptors, ...], int]:
    """Measure `MAX_TRAINING_SONGS` songs of the training split from their mel images, and count all its songs.

    The songs are chosen by a hash of their names: the same in every run.
    """
    lines_of: dict[str, list[dict[str, Any]]] = {}
    for line in json_lines(training.ingested):
        if line["split"] == "train" and line["fragments"] > 0:
            lines_of.setdefault(line["song"], []).append(line)
    if not lines_of:
        raise UserError(f"Expected records of the training split. Received: none in {training.examples}")
    chosen = frozenset(sorted(lines_of, key=lambda song: hashlib.sha256(song.encode()).digest())[:MAX_TRAINING_SONGS])
    from tumbao.components.ingest.records import decode_levels, read_records  # imports TensorFlow

    found: dict[str, list[tuple[float, np.ndarray]]] = {song: [] for song in chosen}
    progress.start("read records", sum(line["fragments"] for lines in lines_of.values() for line in lines))
    for features in read_records(f"{training.examples}/Split-train/*.gz"):
        song = features[record.SONG].decode()
        if song in chosen:
            values = describe(decode_levels(features[record.IMAGE]), training.spec)
            found[song].append((features[record.START_SECONDS], values))
        progress.advance("read records")
    measured = tuple(
        SongDescriptors(
            song=song,
            path="",
            genre=lines_of[song][0]["genre"],
            seconds=max(line["seconds"] for line in lines_of[song]),
            padded=any(line["padded"] for line in lines_of[song]),
            truncated=any(line["truncated"] for line in lines_of[song]),
            starts=np.array([start for start, _ in fragments]),
            values=np.array([values for _, values in fragments]),
        )
        for song, fragments in sorted(found.items())
        if fragments
    )
    return measured, len(lines_of)


@dataclasses.dataclass(frozen=True)
class NewSongs:
    """New songs; each file found is in `songs`, in the library's order, or in `rejected`, sorted by identifier."""

    name: str
    synthetic: bool
    songs: tuple[SongDescriptors, ...]
    rejected: tuple[Rejected, ...]
    notes: tuple[str, ...] = ()


def measure_new_songs(library: AnyPath, layout: str, spec: MelSpec, genres: Sequence[str] = ()) -> NewSongs:
    """Measure every song of a plain folder, a list with a column `file_name`, or any library.

    The spelling of `genres` is preferred.
    """
    library = library.absolute()
    if library.is_file() and (layout == "manifest" or (layout == "auto" and find_layout(library) == "manifest")):
        entries = read_entries(library, root=library.parent, required=("file_name",))
        listed = with_one_spelling(SongList(entries), genres)
    else:
        listed = read_library(library, layout, genres)
    catalog = scan_files(library, listed, sorted({entry.genre for entry in listed.entries}), spec)
    songs, rejected = measure_songs(catalog.songs, lambda song, pool: _measure(song, spec, pool))
    return NewSongs(
        name=catalog.name,
        synthetic=catalog.synthetic,
        songs=tuple(songs),
        rejected=tuple(sorted((*catalog.rejected, *rejected), key=lambda item: item.song)),
        notes=catalog.notes,
    )


def _measure(song: Song, spec: MelSpec, pool: WorkerPool) -> SongDescriptors:
    from tumbao.components.ingest import mel  # imports TensorFlow, which takes seconds: not for an empty library

    levels, padded, starts, values = mel.traced_levels(spec), False, [], []
    items = Fragments(read_song(pool, song.part, spec, song.sha256))
    for item in items:
        if item.silent:  # ingest skips silent fragments, too
            continue
        padded = item.padded
        starts.append(song.start_seconds + item.index * spec.fragment_seconds)
        values.append(describe(levels(item.samples), spec))
    return SongDescriptors(
        song=song.song,
        path=song.path,
        genre=song.genre,
        seconds=items.ending.seconds,
        padded=padded,
        truncated=items.ending.truncated,
        starts=np.array(starts),
        values=np.array(values),
    )
