"""From a file to mono float32 samples: the only decoder.

libsndfile (through soundfile) reads wav, aiff, flac, ogg and mp3; what it does not know goes to libav (through PyAV):
m4a, webm, wma, video. Which of the two is decided by the content, never by the extension. soxr resamples. Blocks
stream through, so a long song is held once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr

SILENCE_PEAK = 1e-4
"""A file whose loudest sample is fainter than this (−80 dBFS) is refused as silent."""

_BLOCK_FRAMES = 8_192  # a block in which decoding fails is lost
_LOWEST_RATE_HZ, _HIGHEST_RATE_HZ = 1_000, 1_000_000  # beyond it is no music, and 1 Hz would fill the memory
_PATCHED_SIZE = re.compile(r"^ ?(?:data|SSND|  Data Size  ) *: (\d+) \(should be (\d+)\)", re.MULTILINE)
_UNKNOWN_SIZE_BYTES = 0x7FFFF000  # what programs write into a header before they know the length


class Reason(str, enum.Enum):
    """Why a file gives no waveform."""

    UNREADABLE = "unreadable"
    EMPTY = "empty"
    UNSUPPORTED = "unsupported"
    NO_AUDIO = "no audio"
    DAMAGED = "damaged"
    NOT_FINITE = "not finite"
    SILENT = "silent"
    TOO_SHORT = "too short"


class AudioError(ValueError):
    """A file that cannot be used, with the reason.

    Parameters
    ----------
    path : str or Path
        The file.
    reason : Reason
        The kind of trouble, for tables and counts.
    sentence : str
        What is wrong, as the continuation of the file's name.
    """

    def __init__(self, path: str | Path, reason: Reason, sentence: str) -> None:
        super().__init__(str(path), reason, sentence)  # the arguments again, so that pickle can rebuild it
        self.path = str(path)
        self.reason = reason
        self.sentence = sentence

    def __str__(self) -> str:
        return f"{self.path}: {self.sentence}"


@dataclasses.dataclass(frozen=True)
class Probe:
    """What a file's header says.

    Parameters
    ----------
    declared_seconds : float or None
        Length, in seconds; None where the header does not tell.
    sample_rate_hz : int
        Sampling rate of the file, in Hz.
    channels : int
        Channels of the file.
    """

    declared_seconds: float | None
    sample_rate_hz: int
    channels: int


@dataclasses.dataclass(frozen=True, eq=False)
class Waveform:
    """The sound of a file.

    Parameters
    ----------
    samples : np.ndarray [shape=(n,), dtype=float32]
        Mono samples in [-1, 1].
    sample_rate_hz : int
        Sampling rate of the samples, in Hz.
    declared_seconds : float or None
        Length that the file's header declares, in seconds; None where it does not tell.
    truncated : bool
        The file breaks off: decoding failed midway or gave clearly less than declared.
    """

    samples: np.ndarray
    sample_rate_hz: int
    declared_seconds: float | None
    truncated: bool

    @property
    def duration_seconds(self) -> float:
        """Length of the samples, in seconds."""
        return len(self.samples) / self.sample_rate_hz


class _Stream(soundfile.SoundFile):
    """A sound file that is read from its beginning to its end.

    soundfile seeks after each read where it can, and an mp3 decoder does not survive that: its next 0.1 s are wrong.
    """

    def seekable(self) -> bool:
        return False


class _DecoderError(Exception):
    """A decoder gave up on its input."""


def probe(path: str | Path) -> Probe:
    """Read the header of an audio file, no samples.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    Probe
        Declared length, rate and channels. Only `decode` knows what the file really holds.

    Raises
    ------
    AudioError
        If the file cannot be opened or is no audio.
    """
    with _open(Path(path)) as (header, _):
        return header


def decode(path: str | Path, sample_rate_hz: int) -> Waveform:
    """Decode a whole file to mono at the given rate.

    Channels are averaged. A file that goes beyond full scale is scaled down, not clipped. A file that can be read only
    in part is used as far as it goes and flagged: `truncated` is set if the decoder failed midway, or if more than 1 s
    (and more than 1 %, since the length of an mp3 without a frame count is an estimate) is missing of what the header
    declares.

    Parameters
    ----------
    path : str or Path
        The file.
    sample_rate_hz : int
        Sampling rate of the result, in Hz.

    Returns
    -------
    Waveform
        Samples in [-1, 1] and what is known about them.

    Raises
    ------
    AudioError
        If there is no file, no audio in it, or nothing but silence.
    """
    path = Path(path)
    buffer = bytearray()  # grows in place: the song is held once
    failure = None
    with _open(path) as (header, blocks), np.errstate(invalid="ignore", over="ignore"):  # refused below
        stream = soxr.ResampleStream(header.sample_rate_hz, sample_rate_hz, num_channels=1, quality="HQ")
        try:
            for block in blocks:  # [channels, frames]
                buffer += stream.resample_chunk(block.mean(axis=0)).data
        except _DecoderError as error:
            failure = error
        buffer += stream.resample_chunk(np.empty(0, np.float32), last=True).data
    samples = np.frombuffer(buffer, np.float32)
    _normalise(path, samples, failure)
    return Waveform(
        samples=samples,
        sample_rate_hz=sample_rate_hz,
        declared_seconds=header.declared_seconds,
        truncated=failure is not None or _falls_short(len(samples) / sample_rate_hz, header.declared_seconds),
    )


def _normalise(path: Path, samples: np.ndarray, failure: _DecoderError | None) -> None:
    if not len(samples):
        if failure:
            raise AudioError(path, Reason.DAMAGED, f"is damaged: decoding failed at its start ({failure})") from failure
        raise AudioError(path, Reason.NO_AUDIO, "holds no samples")
    peak = max(samples.max(), -samples.min())  # NaN and infinity come through
    if not np.isfinite(peak):
        raise AudioError(path, Reason.NOT_FINITE, "holds samples that are not finite numbers")
    if peak < SILENCE_PEAK:
        raise AudioError(
            path,
            Reason.SILENT,
            f"is silent: its peak is {peak:.1e}, expected at least {SILENCE_PEAK:.0e} of full scale",
        )
    if peak > 1:
        samples /= peak


def _falls_short(seconds: float, declared_seconds: float | None) -> bool:
    return declared_seconds is not None and declared_seconds - seconds > max(1.0, 0.01 * declared_seconds)


@contextlib.contextmanager
def _open(path: Path) -> Iterator[tuple[Probe, Iterator[np.ndarray]]]:
    """Open with the first decoder that knows the content: header, then blocks of float32 [channels, frames]."""
    with contextlib.ExitStack() as stack:
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):
                kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a device or pipe"
                raise AudioError(path, Reason.UNREADABLE, f"is {kind}, expected an audio file")
            if status.st_size == 0:
                raise AudioError(path, Reason.EMPTY, "is empty (0 bytes)")
            file = stack.enter_context(path.open("rb", buffering=0))
        except OSError as error:
            raise AudioError(path, Reason.UNREADABLE, f"cannot be opened: {error.strerror}") from error
        try:
            opened = _open_sndfile(file.fileno(), stack)
        except _DecoderError:
            file.seek(0)
            opened = _open_libav(path, file.fileno(), stack)
        rate = opened[0].sample_rate_hz
        if not _LOWEST_RATE_HZ <= rate <= _HIGHEST_RATE_HZ:
            raise AudioError(path, Reason.DAMAGED, f"is damaged: its header declares a sampling rate of {rate} Hz")
        yield opened


def _open_sndfile(descriptor: int, stack: contextlib.ExitStack) -> tuple[Probe, Iterator[np.ndarray]]:
    try:
        sound = stack.enter_context(_Stream(descriptor, closefd=False))
    except soundfile.LibsndfileError as error:
        raise _DecoderError(error) from error
    if sound.frames == 0:  # also a header from before the length was known, which libav reads
        raise _DecoderError("no frames")
    declared_seconds = sound.frames / sound.samplerate
    if patched := _PATCHED_SIZE.search(
        sound.extra_info
    ):  # libsndfile trusts the file's size over the header and tells so only here
        header_bytes, file_bytes = int(patched[1]), int(patched[2])
        if file_bytes < header_bytes < _UNKNOWN_SIZE_BYTES:
            declared_seconds *= header_bytes / max(file_bytes, 1)

    def blocks() -> Iterator[np.ndarray]:
        try:  # not SoundFile.blocks(): after a short read it hands out the former block once more
            while len(block := sound.read(_BLOCK_FRAMES, dtype="float32", always_2d=True)):
                yield np.ascontiguousarray(block.T)
        except soundfile.LibsndfileError as error:
            raise _DecoderError(error) from error

    return Probe(declared_seconds, sound.samplerate, sound.channels), blocks()


def _open_libav(path: Path, descriptor: int, stack: contextlib.ExitStack) -> tuple[Probe, Iterator[np.ndarray]]:
    import av  # a quarter of a second that most songs need not spend

    av.logging.set_level(av.logging.PANIC)
    try:  # the open file and nothing else: a playlist may not lead to other files or into the network
        options = {"fd": str(descriptor), "protocol_whitelist": "fd"}
        container = stack.enter_context(av.open("fd:", options=options, metadata_errors="replace"))
    except (av.FFmpegError, OSError) as error:
        if "moov atom not found" in str(error):  # an m4a or mp4 has its index at the end
            raise AudioError(
                path, Reason.DAMAGED, "breaks off before its index: was it copied or downloaded whole?"
            ) from error
        expected = "expected wav, flac, ogg, mp3, m4a, webm or another audio or video file"
        raise AudioError(path, Reason.UNSUPPORTED, f"is not in a format that can be decoded, {expected}") from error
    if not container.streams.audio:
        raise AudioError(path, Reason.NO_AUDIO, "has no audio stream")
    stream = container.streams.audio[0]
    if stream.codec_context is None:
        raise AudioError(path, Reason.UNSUPPORTED, "holds sound in a coding that libav does not know")
    if not stream.rate or not stream.channels:
        raise AudioError(path, Reason.DAMAGED, f"is damaged: {stream.rate} Hz, {stream.channels} channels")
    to_float = av.AudioResampler(format="fltp", layout=stream.layout, rate=stream.rate)

    def blocks() -> Iterator[np.ndarray]:
        try:
            for decoded in container.decode(stream):
                for frame in to_float.resample(decoded):
                    yield frame.to_ndarray()
        except (av.FFmpegError, ValueError) as error:
            raise _DecoderError(error) from error

    declared_seconds = container.duration / av.time_base if container.duration else None
    return Probe(declared_seconds, stream.rate, stream.channels), blocks()
