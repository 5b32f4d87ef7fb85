"""Open audio files with libsndfile or libav, and read their header and their sound at its own rate.

libsndfile (through soundfile) reads wav, aiff, flac, ogg and mp3. Files that it cannot open go to libav (through
PyAV): m4a, webm, wma, video. The content decides, never the extension.

The length of a song is that of its decoded sound. Where libsndfile stops before the end of an mp3, flac or ogg, libav
continues, also in files that were joined. A file is truncated if its sound is shorter than it declares. Of an Ogg, the
last page is checked instead; where no length is declared, decoding fails at the end.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import re
import stat
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import soundfile

from tumbao.components.ingest.audio_error import AudioError, Reason, unreadable

if TYPE_CHECKING:
    from av import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer

_BLOCK_SAMPLES = 32_768  # the sum over all channels
_LOWEST_RATE_HZ, _HIGHEST_RATE_HZ = 1_000, 1_000_000  # files with other rates are treated as damaged
_LEAST_BITS_PER_SECOND = 1_000  # a declared length below this bit rate is not plausible
_PATCHED_SIZE = re.compile(r"^ ?(?:data|SSND|  Data Size  ) *: (\d+) \(should be (\d+)\)", re.MULTILINE)
_UNKNOWN_SIZE_BYTES = 0x7FFF_F000  # programs write sizes from here on before they know the length
_HEARTBEAT_SECONDS = 60.0  # the longest sound skipped without an empty block
_TOLERANCE_SECONDS = 0.5  # a complete file may decode to this much less than it declares
_STREAMS = ("MP3", "FLAC", "OGG")  # formats whose files can be joined, and whose declared length may be wrong
_READ_AHEAD_BYTES = 16_384
_OGG_PAGE_BYTES = 27 + 255 + 255 * 255  # the longest page
_COUNTED = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "caf", "flv", "tta", "w64", "wav", "wv")
"""libav's containers that declare their length; of others it estimates the length from the bit rate."""
_EXPECTED = "expected wav, flac, ogg, mp3, m4a, webm or another audio or video file"
_SAMPLE_TYPES = {"u8": "u1", "s16": "i2", "s32": "i4", "s64": "i8", "flt": "f4", "dbl": "f8"}  # libav's names
_GET_CHANNEL_MAP = 0x1100  # SFC_GET_CHANNEL_MAP_INFO of libsndfile
_SNDFILE_SPEAKERS = (
    *("", "FC", "FL", "FR", "FC", "FL", "FR", "FC", "BC", "BL", "BR", "LFE"),
    *("FLC", "FRC", "SL", "SR"),
)
_VORBIS_SPEAKERS = {
    3: "FL FC FR",
    4: "FL FR BL BR",
    5: "FL FC FR BL BR",
    6: "FL FC FR BL BR LFE",
    7: "FL FC FR SL SR BC LFE",
    8: "FL FC FR SL SR BL BR LFE",
}
"""Number of channels → speakers in the order of Vorbis and Opus."""


class Block(NamedTuple):
    """A block of decoded sound: float32 [channels, frames], and its sampling rate.

    `speakers` are libav's names of the channels' loudspeakers; empty where the file does not name them.
    """

    samples: np.ndarray
    sample_rate_hz: int
    speakers: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Probe:
    """The properties that a file's header declares; the decoded sound may differ.

    `declared_seconds` is None if the header declares no length, or more than a file of this size can hold.
    `audio_format` names container and codec. `audio_track` is the number of the decoded audio track, from 1: the first
    that is marked as default, as in media players.
    """

    declared_seconds: float | None
    sample_rate_hz: int
    channels: int
    audio_format: str
    audio_track: int = 1
    audio_tracks: int = 1


class _SndFile(soundfile.SoundFile):
    """A sound file that is read from beginning to end.

    soundfile seeks after each read of a seekable file; after such a seek the next 0.1 s of an mp3 are decoded wrongly.
    """

    tolerates_errors = False
    error = 0

    def seekable(self) -> bool:
        return False

    @property
    def _errorcode(self) -> int:
        """Store a read error: soundfile would raise it and discard the samples decoded before it."""
        code: int = super()._errorcode
        if not (code and self.tolerates_errors):
            return code
        self.error = code
        return 0


class DecoderError(Exception):
    """Raised when a decoder cannot decode its input."""


def probe(path: str | Path) -> Probe:
    """Read the header of an audio file, and at most the first frame of its sound."""
    with open_audio(Path(path)) as file:
        return file.header


class AudioFile:
    """An open audio file, whose sound is decoded at its own rate; see `open_audio`.

    `truncated` is valid after the last block. `decoded_seconds` is the position up to which the file is decoded.
    """

    header: Probe

    def __init__(self, path: Path, descriptor: int, stack: contextlib.ExitStack) -> None:
        self._path, self._descriptor, self._stack = path, descriptor, stack
        self._size = os.fstat(descriptor).st_size
        self._first = 0  # number of the first sample to yield
        self._length_is_declared = True  # otherwise it is estimated from the bit rate
        self._is_damaged = False  # sound at the end could not be decoded
        self._sndfile: _SndFile | None = None
        self._opened: Iterator[Block] = iter(())
        self.truncated = False
        self.decoded_seconds = 0.0
        try:
            self._open_sndfile()
        except DecoderError:
            self._open_libav()

    def _open_sndfile(self) -> None:
        try:
            sound = self._stack.enter_context(_SndFile(self._descriptor, closefd=False))
        except soundfile.LibsndfileError as error:
            raise DecoderError(error) from error
        if sound.frames == 0:  # empty, or its header was written before the length was known: libav reads it
            raise DecoderError("no frames")
        if not _LOWEST_RATE_HZ <= sound.samplerate <= _HIGHEST_RATE_HZ:
            raise DecoderError(f"{sound.samplerate} Hz")
        declared_seconds = sound.frames / sound.samplerate
        # libsndfile uses the file's size instead of the header's and reports that only in extra_info
        if patched := _PATCHED_SIZE.search(sound.extra_info):
            header_bytes, file_bytes = int(patched[1]), int(patched[2])
            if file_bytes < header_bytes < _UNKNOWN_SIZE_BYTES:
                declared_seconds *= header_bytes / max(file_bytes, 1)
        if sound.format == "MP3":
            self._length_is_declared = _counts_frames(self._descriptor)
        declared = _plausible(declared_seconds, self._size)
        self.header = Probe(declared, sound.samplerate, sound.channels, f"{sound.format}, {sound.subtype_info}")
        self._sndfile = sound

    def _open_libav(self) -> None:
        import av  # the import takes 0.25 s, and most songs do not need it

        container, track = self._libav_track()
        self._opened = self._decoded(container, track)
        try:
            start = next(self._opened, None)  # shows the true rate and channels
        except DecoderError as error:
            message = f"is damaged: decoding failed at its start ({error})"
            raise AudioError(self._path, Reason.DAMAGED, message) from error
        rate = start.sample_rate_hz if start else track.rate
        channels = len(start.samples) if start else track.channels
        if not rate or not channels or not _LOWEST_RATE_HZ <= rate <= _HIGHEST_RATE_HZ:
            message = f"is damaged: its header declares {channels} channels at a sampling rate of {rate} Hz"
            raise AudioError(self._path, Reason.DAMAGED, message)
        if start:
            self._opened = itertools.chain([start], self._opened)
        self._length_is_declared = container.format.name in _COUNTED and not container.streams.video
        tracks = container.streams.audio
        self.header = Probe(
            _plausible(container.duration / av.time_base, self._size) if container.duration else None,
            rate,
            channels,
            f"{container.format.long_name}, {track.codec_context.codec.long_name}",
            tracks.index(track) + 1,
            len(tracks),
        )

    def _libav_track(self) -> tuple[InputContainer, AudioStream]:
        """Open the file from its beginning and choose the track that media players choose."""
        import av
        from av.stream import Disposition

        av.logging.set_level(av.logging.PANIC)
        # accept metadata that is not UTF-8; PyAV 19 has no such argument and always does so
        lenient: dict[str, Any] = (
            {"metadata_errors": "replace"} if hasattr(av.container.Container, "metadata_errors") else {}
        )
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        try:
            # nothing but the file: a playlist must not lead to other files or to the network
            options = {"fd": str(self._descriptor), "protocol_whitelist": "fd"}
            container = self._stack.enter_context(av.open("fd:", options=options, **lenient))
        except (av.FFmpegError, OSError) as error:
            if "moov atom not found" in str(error):  # an m4a or mp4 has its index at the end
                message = "breaks off before its index: was it copied or downloaded whole?"
                raise AudioError(self._path, Reason.DAMAGED, message) from error
            message = f"is not in a format that can be decoded, {_EXPECTED}"
            raise AudioError(self._path, Reason.UNSUPPORTED, message) from error
        if not container.streams.audio:
            raise AudioError(self._path, Reason.NO_AUDIO, "has no audio stream")
        known = [track for track in container.streams.audio if track.codec_context is not None]
        if not known:
            raise AudioError(self._path, Reason.UNSUPPORTED, "holds sound in a coding that libav does not know")
        return container, next((track for track in known if track.disposition & Disposition.default), known[0])

    def blocks(self, first: int = 0) -> Iterator[Block]:
        """Decode the file from sample `first` on; may be called only once.

        While the samples before `first` are decoded, a block without samples is yielded for each minute of sound, so
        that a caller's timeout is not reached. Raises DecoderError if decoding fails before any sound is decoded.
        """
        self._first = first
        for block in self._whole():
            rate, count, start = block.sample_rate_hz, block.samples.shape[1], self.decoded_seconds
            self.decoded_seconds += count / rate
            skipped = min(count, max(0, round((self._first / self.header.sample_rate_hz - start) * rate)))
            if skipped < count or self.decoded_seconds // _HEARTBEAT_SECONDS > start // _HEARTBEAT_SECONDS:
                yield block._replace(samples=block.samples[:, skipped:])
        declared = self.header.declared_seconds
        if declared is None or not self._length_is_declared:
            self.truncated = self._is_damaged
        else:
            self.truncated = self.decoded_seconds < declared - _TOLERANCE_SECONDS
        self.truncated = self.truncated or _last_page_is_cut(self._descriptor, self._size)

    def _whole(self) -> Iterator[Block]:
        """Decode from sample `_first` on, or from an earlier one."""
        if self._sndfile is None:
            yield from self._opened
            return
        decoded = yield from self._read_sndfile(self._sndfile, self._first)
        failed = bool(self._sndfile.error) or (decoded < self._sndfile.frames and self._sndfile.format != "MP3")
        left = self._size - os.lseek(self._descriptor, 0, os.SEEK_CUR)
        if failed or (self._sndfile.format in _STREAMS and left > _READ_AHEAD_BYTES):
            # decode with libav from the beginning, skip the samples that libsndfile returned
            self._first, self.decoded_seconds = max(self._first, decoded), 0.0
            try:
                yield from self._decoded(*self._libav_track())
            except (AudioError, DecoderError) as error:
                self._is_damaged = failed
                if failed and not decoded:
                    raise DecoderError(error) from error

    def _read_sndfile(self, sound: _SndFile, first: int) -> Generator[Block, None, int]:
        position = 0
        if 0 < first < sound.frames:
            with contextlib.suppress(soundfile.LibsndfileError):  # some damaged files can be read but not seeked in
                position = sound.seek(first)
        self.decoded_seconds = position / sound.samplerate
        sound.tolerates_errors = True
        frames = max(1, _BLOCK_SAMPLES // sound.channels)
        speakers = _speakers(sound)
        # not SoundFile.blocks(): after a short read it returns the previous block again
        while len(block := sound.read(frames, dtype="float32", always_2d=True)):
            position += len(block)
            yield Block(block.T, sound.samplerate, speakers)
            if sound.error:
                break
        return position

    def _decoded(self, container: InputContainer, track: AudioStream) -> Iterator[Block]:
        """Decode a track; skip packets that cannot be decoded."""
        import av

        failure: Exception | None = None
        given = False
        packets = container.demux(track)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                break
            except (av.FFmpegError, ValueError) as error:
                failure = error
                break
            try:
                frames = packet.decode()
                if packet.size:
                    failure = DecoderError("a part of its last packet is missing") if packet.is_corrupt else None
                for frame in frames:
                    if frame.samples and _LOWEST_RATE_HZ <= frame.sample_rate <= _HIGHEST_RATE_HZ:
                        speakers = tuple(channel.name for channel in frame.layout.channels)
                        yield Block(_to_float(frame), frame.sample_rate, speakers)
                        given = True
            except (av.FFmpegError, ValueError) as error:
                failure = error
        if failure and not given:
            raise DecoderError(failure) from failure
        self._is_damaged = failure is not None


@contextlib.contextmanager
def open_audio(path: Path) -> Iterator[AudioFile]:
    """Open an audio file with the first decoder that can read its content; the file is closed on exit."""
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
            raise unreadable(path, error) from error
        yield AudioFile(path, file.fileno(), stack)


def _counts_frames(descriptor: int) -> bool:
    """Tell whether an mp3's first frame declares the number of frames; otherwise its length is an estimate."""
    head = os.pread(descriptor, 10, 0)
    tag = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=False))
    first = os.pread(descriptor, 4_096, 10 + tag if head[:3] == b"ID3" else 0)
    return any(name in first for name in (b"Xing", b"Info", b"VBRI"))


def _last_page_is_cut(descriptor: int, size: int) -> bool:
    """Tell whether a file is an Ogg whose last page is incomplete."""
    if os.pread(descriptor, 4, 0) != b"OggS":
        return False
    start = max(0, size - _OGG_PAGE_BYTES)
    tail = os.pread(descriptor, size - start, start)
    page = tail[tail.rfind(b"OggS") :]
    lacing = page[27 : 27 + page[26]] if len(page) > 26 else b""
    return len(page) < 27 or len(lacing) < page[26] or 27 + len(lacing) + sum(lacing) > len(page)


def _speakers(sound: soundfile.SoundFile) -> tuple[str, ...]:
    if sound.subtype in ("VORBIS", "OPUS"):
        return tuple(_VORBIS_SPEAKERS.get(sound.channels, "").split())
    numbers = soundfile._ffi.new("int[]", sound.channels)  # soundfile has no public function for them
    if not soundfile._snd.sf_command(sound._file, _GET_CHANNEL_MAP, numbers, soundfile._ffi.sizeof(numbers)):
        return ()
    names = dict(enumerate(_SNDFILE_SPEAKERS))
    return tuple(names.get(number, "") for number in numbers)


def _to_float(frame: AudioFrame) -> np.ndarray:
    from av.audio.plane import AudioPlane

    channels, dtype = frame.layout.nb_channels, _SAMPLE_TYPES[frame.format.packed.name]
    # not frame.to_ndarray(): with eight or more channels PyAV reads planes that do not exist
    if frame.format.is_planar:
        planes = [AudioPlane(frame, number) for number in range(channels)]
        samples = np.stack([np.frombuffer(plane, dtype, frame.samples) for plane in planes])
    else:
        samples = np.frombuffer(AudioPlane(frame, 0), dtype, frame.samples * channels).reshape(-1, channels).T
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32) - 128) / 128
    if samples.dtype.kind == "i":
        return samples.astype(np.float32) / np.float32(2.0 ** (8 * samples.dtype.itemsize - 1))
    return samples.astype(np.float32, copy=False)


def _plausible(seconds: float, size_bytes: int) -> float | None:
    """Return a declared length if a file of this size can have it, otherwise None."""
    return seconds if 0 < seconds <= 8 * size_bytes / _LEAST_BITS_PER_SECOND else None
