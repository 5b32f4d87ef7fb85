"""Mix the channels of a file down to mono.

The mix is the weighted mean of the channels; for mono and stereo the weights are equal. Two corrections are chosen for
each second of the file: channels that cancel each other are inverted, and a constant offset is subtracted. Between two
seconds with different corrections the mix is cross-faded. `resample_reference.mix` and the `mix` of audio.js do the
same.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import numpy as np

from tumbao.components.ingest.audio_file import Block, DecoderError

_MIN_POWER = 0.5  # of the mix, as a share of the power that uncorrelated channels would give it
_MAX_OFFSET_POWER = 0.5  # of a constant offset, as a share of the mix's power
_MAX_SAMPLES = 1 << 23  # of all channels in a second: 8 channels at 1 MHz; above that no corrections
_FADES_A_SECOND = 20

_WEIGHTS = {
    **dict.fromkeys(("FL", "FR", "FLC", "FRC", "BC"), 1.0),
    "FC": 2**0.5,
    **dict.fromkeys(("BL", "BR", "SL", "SR"), 0.5**0.5),
    **dict.fromkeys(("LFE", "LFE2"), 0.0),
}
"""ITU-R BS.775, for two channels mixed to one: a centre is in both at -3 dB, a surround in one at -3 dB."""

_SPEAKERS = {
    3: "FL FR FC",
    4: "FL FR BL BR",
    5: "FL FR FC BL BR",
    6: "FL FR FC LFE BL BR",
    7: "FL FR FC LFE BC SL SR",
    8: "FL FR FC LFE BL BR SL SR",
}
"""Number of channels → speakers in the order of WAVE, FLAC and Web Audio, for files that do not name them."""


def channel_weights(channels: int, speakers: Sequence[str] = ()) -> np.ndarray:
    """Return the weights of a file's channels in the mix, float64 [channels]; they sum to 1.

    The weights are equal if the layout is unknown. An unknown loudspeaker has the weight of front left.
    """
    names = speakers if len(speakers) == channels else _SPEAKERS.get(channels, "").split()
    weights = np.array([_WEIGHTS.get(name, 1.0) for name in names])
    if not weights.any():  # no names, or only low-frequency channels
        weights = np.ones(channels)
    return weights / weights.sum()


def downmix(blocks: Iterator[Block]) -> Iterator[tuple[np.ndarray, int]]:
    """Yield the mono mix, float32 [n], and its sampling rate in Hz, second by second.

    `blocks` must begin at a whole second of the file. A mix is shorter at the end and before a change of rate or
    channels, and empty for an empty block. A `DecoderError` of `blocks` is raised again after all samples before it.
    """
    previous: Block | None = None
    gains, offset = np.empty(0), 0.0
    for second in _seconds(map(_bounded, blocks)):
        window, rate = second.samples, second.sample_rate_hz
        if not window.size:
            yield np.empty(0, np.float32), rate
            continue
        same = previous is not None and _kind(second) == _kind(previous)
        mix_before = (gains, offset)
        if not same or window.shape[1] == rate:  # a shorter rest keeps the corrections of the second before
            gains, offset = _mix(window, channel_weights(len(window), second.speakers))
        mono = _apply(window, gains, offset)
        if same and not (offset == mix_before[1] and np.array_equal(gains, mix_before[0])):
            fade = np.arange(1, rate // _FADES_A_SECOND + 1, dtype=np.float32) / (rate // _FADES_A_SECOND)
            before = _apply(window[:, : len(fade)], *mix_before)
            mono[: len(fade)] = before + fade * (mono[: len(fade)] - before)
        previous = second
        yield mono, rate


def _bounded(block: Block) -> Block:
    """Mix a block without corrections if a second of its channels would take too much memory."""
    if len(block.samples) * block.sample_rate_hz <= _MAX_SAMPLES:
        return block
    weights = channel_weights(len(block.samples), block.speakers).astype(np.float32)
    return block._replace(samples=(weights @ block.samples)[np.newaxis], speakers=())


def _kind(block: Block) -> tuple[int, int, tuple[str, ...]]:
    return len(block.samples), block.sample_rate_hz, block.speakers


def _seconds(blocks: Iterator[Block]) -> Iterator[Block]:
    """Join blocks to whole seconds; the rest at the end, or before a block of another kind, is shorter."""
    held: list[Block] = []
    missing, failure = 0, None

    def joined() -> Block:
        return held[0]._replace(samples=np.concatenate([block.samples for block in held], axis=1))

    try:
        for block in blocks:
            if not block.samples.size:  # keeps the worker's timeout from being reached
                yield block
                continue
            if held and _kind(block) != _kind(held[0]):
                yield joined()
                held = []
            missing = missing if held else block.sample_rate_hz
            while block.samples.shape[1] >= missing:
                held.append(block._replace(samples=block.samples[:, :missing]))
                yield joined()
                held, block = [], block._replace(samples=block.samples[:, missing:])
                missing = block.sample_rate_hz
            if block.samples.size:
                held.append(block)
                missing -= block.samples.shape[1]
    except DecoderError as error:
        failure = error
    if held:
        yield joined()
    if failure:
        raise failure


def _mix(window: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, float]:
    """Choose the gain of each channel and the offset of their mix."""
    with np.errstate(invalid="ignore"):  # the caller rejects samples that are not finite
        centred = window.astype(np.float64)
        means = centred.mean(axis=1)
        centred -= means[:, np.newaxis]
        covariance = centred @ centred.T / centred.shape[1]
        gains = weights.copy()
        if weights @ covariance @ weights < _MIN_POWER * (weights**2 @ covariance.diagonal()):
            for channel in range(1, len(gains)):
                if gains[:channel] @ covariance[:channel, channel] < 0:
                    gains[channel] *= -1
        offset = float(gains @ means)
        if offset**2 <= _MAX_OFFSET_POWER * (gains @ covariance @ gains):
            offset = 0.0
    return gains, offset


def _apply(window: np.ndarray, gains: np.ndarray, offset: float) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        weighted = (np.float32(gain) * channel for gain, channel in zip(gains, window, strict=True))
        mono = functools.reduce(np.add, weighted)
        return mono - np.float32(offset) if offset else mono
