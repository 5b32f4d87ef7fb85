"""Open audio files with libsndfile or libav, and read their header and their sound at its own rate.

libsndfile (through soundfile) reads wav, aiff, flac, ogg and mp3. Files that it cannot open go to libav (through
PyAV): m4a, webm, wma, video. The content decides, never the extension.

A header is only a hint. Where libsndfile stops before the end of the sound, libav continues. Of files that were
concatenated each one is decoded, at its own rate. Whether a file is truncated is decided from its bytes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import re
import stat
import sys
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import soundfile

from tumbao.components.ingest import bitstream
from tumbao.components.ingest.audio_error import AudioError, Reason, unreadable
from tumbao.components.ingest.os_compat import pread

if TYPE_CHECKING:
    from av import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer

_BLOCK_SAMPLES = 32_768  # the sum over all channels
_LOWEST_RATE_HZ, _HIGHEST_RATE_HZ = 1_000, 1_000_000  # files with other rates are treated as damaged
_LEAST_BITS_PER_SECOND = 1_000  # a declared length below this bit rate is not plausible
_PATCHED_SIZE = re.compile(r"^ ?(?:data|SSND|  Data Size  ) *: (\d+) \(should be (\d+)\)", re.MULTILINE)
_HEARTBEAT_SECONDS = 60.0  # the longest sound skipped without an empty block
_EXPECTED = "expected wav, flac, ogg, mp3, m4a, webm or another audio or video file"
_SAMPLE_TYPES = {"u8": "u1", "s16": "i2", "s32": "i4", "s64": "i8", "flt": "f4", "dbl": "f8"}  # libav's names
_BY_DESCRIPTOR = sys.platform != "win32"  # there, the decoders' C library has other descriptors than Python's
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

    `speakers` are the names of the channels' loudspeakers, see `downmix.channel_weights`; empty where the file does not
    name them.
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
    """Read the header of an audio file, and at most the first frame of its sound.

    Raises AudioError if the file cannot be opened or contains no audio.
    """
    with open_audio(Path(path)) as file:
        return file.header


class AudioFile:
    """An open audio file, whose sound is decoded at its own rate; see `open_audio`.

    `header` has the properties that the header declares. `truncated` tells whether the file is cut off; it is valid
    after the last block. `decoded_seconds` is the position up to which the file is decoded.
    """

    header: Probe

    def __init__(self, path: Path, descriptor: int, stack: contextlib.ExitStack) -> None:
        self._path, self._descriptor, self._stack = path, descriptor, stack
        self._size = os.fstat(descriptor).st_size
        self._start = bitstream.tags_end(descriptor)
        if self._start >= self._size or pread(descriptor, 3, 0) == b"ID3":
            self._start = 0  # the decoders skip ID3 tags themselves
        self._container = ""
        self._first = 0  # number of the first sample to yield
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
        patches = bitstream.repairs(self._descriptor, self._size)
        self._view: bitstream.View | None = None
        if patches or self._start or not _BY_DESCRIPTOR:
            self._view = bitstream.View(self._descriptor, self._start, self._size, patches)
        try:
            sound = self._stack.enter_context(_SndFile(self._view or self._descriptor, closefd=False))
        except soundfile.LibsndfileError as error:
            raise DecoderError(error) from error
        if sound.frames == 0:  # empty, or its header was written before the length was known: libav reads it
            raise DecoderError("no frames")
        if not _LOWEST_RATE_HZ <= sound.samplerate <= _HIGHEST_RATE_HZ:
            raise DecoderError(f"{sound.samplerate} Hz")
        if sound.format == "OGG" and bitstream.ogg_counts_back(self._descriptor, self._size):
            raise DecoderError("its last page contradicts those before it")
        frame = bitstream.first_flac_frame(self._descriptor) if sound.format == "FLAC" else None
        if frame and (frame.sample_rate_hz or sound.samplerate, frame.channels) != (sound.samplerate, sound.channels):
            raise DecoderError("its frames have another rate or other channels")
        self._container = bitstream.CONTAINERS.get(sound.format, "")
        declared_seconds = sound.frames / sound.samplerate
        # libsndfile uses the file's size instead of the header's and reports that only in extra_info
        if patched := _PATCHED_SIZE.search(sound.extra_info):
            header_bytes, file_bytes = int(patched[1]), int(patched[2])
            if file_bytes < header_bytes < bitstream.UNKNOWN_SIZE_BYTES:
                declared_seconds *= header_bytes / max(file_bytes, 1)
                self._is_damaged = not self._container
        declared = _plausible(declared_seconds, self._size)
        self.header = Probe(declared, sound.samplerate, sound.channels, f"{sound.format}, {sound.subtype_info}")
        self._sndfile = sound

    def _open_libav(self) -> None:
        import av  # the import takes 0.25 s, and most songs do not need it

        os.lseek(self._descriptor, 0, os.SEEK_SET)
        try:
            if self._start or not _BY_DESCRIPTOR:
                opened = _open_container(bitstream.View(self._descriptor, self._start, self._size))
            else:
                opened = _open_container("fd:", fd=str(self._descriptor))
            container = self._stack.enter_context(opened)
        except (av.FFmpegError, OSError) as error:
            if "moov atom not found" in str(error):  # an m4a or mp4 has its index at the end
                message = "breaks off before its index: was it copied or downloaded whole?"
                raise AudioError(self._path, Reason.DAMAGED, message) from error
            if bitstream.tags_end(self._descriptor) > self._size:
                message = "breaks off in its tag, before any sound: was it copied or downloaded whole?"
                raise AudioError(self._path, Reason.DAMAGED, message) from error
            message = f"is not in a format that can be decoded, {_EXPECTED}"
            raise AudioError(self._path, Reason.UNSUPPORTED, message) from error
        self._container = bitstream.CONTAINERS.get(container.format.name, container.format.name)
        track, start = self._begin_libav(container)
        if start is None and self._container == "mp4":  # its edit list removes the whole track
            whole = bitstream.View(self._descriptor, 0, self._size)
            container = self._stack.enter_context(_open_container(whole, ignore_editlist="1"))
            track, start = self._begin_libav(container)
        tracks = container.streams.audio
        rate = start.sample_rate_hz if start else track.rate
        channels = len(start.samples) if start else track.channels
        if not rate or not channels or not _LOWEST_RATE_HZ <= rate <= _HIGHEST_RATE_HZ:
            message = f"is damaged: its header declares {channels} channels at a sampling rate of {rate} Hz"
            raise AudioError(self._path, Reason.DAMAGED, message)
        if start:
            self._opened = itertools.chain([start], self._opened)
        self.header = Probe(
            _plausible(container.duration / av.time_base, self._size) if container.duration else None,
            rate,
            channels,
            f"{container.format.long_name}, {track.codec_context.codec.long_name}",
            tracks.index(track) + 1,
            len(tracks),
        )

    def _begin_libav(self, container: InputContainer) -> tuple[AudioStream, Block | None]:
        """Choose a track and decode its first block, which shows its rate and channels."""
        if not container.streams.audio:
            raise AudioError(self._path, Reason.NO_AUDIO, "has no audio stream")
        track = _played(container)
        if track is None:
            raise AudioError(self._path, Reason.UNSUPPORTED, "holds sound in a coding that libav does not know")
        self._opened = self._decoded(container, track)
        try:
            return track, next(self._opened, None)
        except DecoderError as error:
            message = f"is damaged: decoding failed at its start ({error})"
            raise AudioError(self._path, Reason.DAMAGED, message) from error

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
        cut = bitstream.breaks_off(self._descriptor, self._size, self._container)
        self.truncated = self._is_damaged if cut is None else cut

    def _whole(self) -> Iterator[Block]:
        """Decode from sample `_first` on, or from an earlier one."""
        if self._sndfile is None:
            starts = bitstream.links(self._descriptor, self._size, self._container)
            if len(starts) == 1:
                yield from self._opened
            else:
                yield from self._linked(starts)
            return
        decoded = yield from self._read_sndfile(self._sndfile, self._first)
        position = self._view.position if self._view else os.lseek(self._descriptor, 0, os.SEEK_CUR)
        failed, declared = bool(self._sndfile.error), self._sndfile.frames
        if position >= self._size and decoded == declared and not failed and self._container == "flac":
            return
        starts = bitstream.undecoded(self._descriptor, self._size, self._container, position, decoded)
        if failed and self._container == "mpeg":  # libsndfile drops the last of what it decoded
            starts = bitstream.links(self._descriptor, self._size, self._container)
        if not starts:
            self._is_damaged = self._is_damaged or (failed and not self._container)
            if failed and not decoded:
                raise DecoderError(soundfile.LibsndfileError(self._sndfile.error).error_string)
            return
        if not starts[0]:  # decode from the beginning, skip the samples that libsndfile returned
            self._first, self.decoded_seconds = max(self._first, decoded), 0.0
        yield from self._linked(starts)

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

    def _linked(self, starts: Sequence[int]) -> Iterator[Block]:
        """Decode the concatenated files that begin at `starts`."""
        import av

        for start, end in zip(starts, [*starts[1:], self._size], strict=True):
            view = bitstream.View(self._descriptor, start, end)
            try:
                with _open_container(view) as container:
                    if track := _played(container):
                        yield from self._decoded(container, track)
            except (av.FFmpegError, OSError, DecoderError):
                self._is_damaged = self._is_damaged or self._container != "mpeg"  # in mp3 it may be a tag

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
    """Open an audio file with the first decoder that can read its content; the file is closed on exit.

    Raises AudioError if the file cannot be opened or contains no audio.
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
            raise unreadable(path, error) from error
        yield AudioFile(path, file.fileno(), stack)


def _open_container(source: Any, **options: str) -> InputContainer:
    """Open a source and nothing else: a playlist must not lead to other files or to the network."""
    import av

    av.logging.set_level(av.logging.PANIC)
    # accept metadata that is not UTF-8; PyAV 19 has no such argument and always does so
    lenient = {"metadata_errors": "replace"} if hasattr(av.container.Container, "metadata_errors") else {}
    return av.open(source, options={**options, "protocol_whitelist": "fd"}, **lenient)


def _played(container: InputContainer) -> AudioStream | None:
    """Return the track that media players choose: the first that is marked as default, otherwise the first."""
    from av.stream import Disposition

    known = [track for track in container.streams.audio if track.codec_context is not None]
    return next((track for track in known if track.disposition & Disposition.default), known[0] if known else None)


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
