"""An audio file, opened by one of two decoders: what its header says, and its sound in blocks at its own rate.

libsndfile (through soundfile) reads wav, aiff, flac, ogg and mp3; what it does not know goes to libav (through PyAV):
m4a, webm, wma, video. Which of the two is decided by the content, never by the extension.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import soundfile

from tumbao.components.ingest.audio_error import AudioError, Reason

_BLOCK_FRAMES = 16_384  # a block in which decoding fails is lost
_LOWEST_RATE_HZ, _HIGHEST_RATE_HZ = 1_000, 1_000_000  # beyond it is no music
_PATCHED_SIZE = re.compile(r"^ ?(?:data|SSND|  Data Size  ) *: (\d+) \(should be (\d+)\)", re.MULTILINE)
_UNKNOWN_SIZE_BYTES = 0x7FFFF000  # what programs write into a header before they know the length

Blocks = Callable[[int], Iterator[np.ndarray]]
"""From a sample of the file on: blocks of float32 [channels, frames]; to be called once."""


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
    audio_format : str
        Container and coding.
    """

    declared_seconds: float | None
    sample_rate_hz: int
    channels: int
    audio_format: str


class _Stream(soundfile.SoundFile):
    """A sound file that is read from its beginning to its end.

    soundfile seeks after each read where it can, and an mp3 decoder does not survive that: its next 0.1 s are wrong.
    """

    def seekable(self) -> bool:
        return False


class DecoderError(Exception):
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
        Declared length, rate and channels. Only decoding tells what the file really holds.

    Raises
    ------
    AudioError
        If the file cannot be opened or is no audio.
    """
    with open_audio(Path(path)) as (header, _):
        return header


@contextlib.contextmanager
def open_audio(path: Path) -> Iterator[tuple[Probe, Blocks]]:
    """Open with the first decoder that knows the content.

    Parameters
    ----------
    path : Path
        The file.

    Yields
    ------
    header : Probe
        What the file declares.
    read_from : callable
        Gives its blocks, see `Blocks`; they raise `DecoderError` where decoding fails.

    Raises
    ------
    AudioError
        If the file cannot be opened or is no audio.
    """
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
        except DecoderError:
            file.seek(0)
            opened = _open_libav(path, file.fileno(), stack)
        rate = opened[0].sample_rate_hz
        if not _LOWEST_RATE_HZ <= rate <= _HIGHEST_RATE_HZ:
            raise AudioError(path, Reason.DAMAGED, f"is damaged: its header declares a sampling rate of {rate} Hz")
        yield opened


def _open_sndfile(descriptor: int, stack: contextlib.ExitStack) -> tuple[Probe, Blocks]:
    try:
        sound = stack.enter_context(_Stream(descriptor, closefd=False))
    except soundfile.LibsndfileError as error:
        raise DecoderError(error) from error
    if sound.frames == 0:  # also a header from before the length was known, which libav reads
        raise DecoderError("no frames")
    declared_seconds = sound.frames / sound.samplerate
    if patched := _PATCHED_SIZE.search(
        sound.extra_info
    ):  # libsndfile trusts the file's size over the header and tells so only here
        header_bytes, file_bytes = int(patched[1]), int(patched[2])
        if file_bytes < header_bytes < _UNKNOWN_SIZE_BYTES:
            declared_seconds *= header_bytes / max(file_bytes, 1)

    def read_from(first: int) -> Iterator[np.ndarray]:
        skip = first
        try:
            if 0 < first < sound.frames:
                with contextlib.suppress(soundfile.LibsndfileError):  # a damaged file may be read, but not jumped in
                    skip = first - sound.seek(first)
            # not SoundFile.blocks(): after a short read it hands out the former block once more
            while len(block := sound.read(_BLOCK_FRAMES, dtype="float32", always_2d=True)):
                if len(block) > skip:
                    yield block[skip:].T
                skip = max(0, skip - len(block))
        except soundfile.LibsndfileError as error:
            raise DecoderError(error) from error

    audio_format = f"{sound.format}, {sound.subtype_info}"
    return Probe(declared_seconds, sound.samplerate, sound.channels, audio_format), read_from


def _open_libav(path: Path, descriptor: int, stack: contextlib.ExitStack) -> tuple[Probe, Blocks]:
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

    def read_from(first: int) -> Iterator[np.ndarray]:
        skip = first  # libav's aac is another after a jump: its noise goes on from where it stood
        try:
            for decoded in container.decode(stream):
                for frame in to_float.resample(decoded):
                    if frame.samples > skip:
                        yield frame.to_ndarray()[:, skip:]
                    skip = max(0, skip - frame.samples)
        except (av.FFmpegError, ValueError) as error:
            raise DecoderError(error) from error

    declared_seconds = container.duration / av.time_base if container.duration else None
    audio_format = f"{container.format.long_name}, {stream.codec_context.codec.long_name}"
    return Probe(declared_seconds, stream.rate, stream.channels, audio_format), read_from
