"""All models by name."""

from __future__ import annotations

import difflib

from tumbao.schema.errors import UserError
from tumbao.trainer.models.adaboost import ADABOOST
from tumbao.trainer.models.musicnn_models import CNN_LSTM, MUSICNN_PEER
from tumbao.trainer.models.spec import Peer
from tumbao.trainer.models.spectrogram_nets import CNN, CRNN, FCN, LSTM, LSTM_ATTENTION
from tumbao.trainer.models.vgg import VGG16_AVG_PEER, VGG16_GAP_PEER, VGG16_PEER

_ALL = (
    VGG16_PEER,
    VGG16_AVG_PEER,
    LSTM,
    LSTM_ATTENTION,
    ADABOOST,
    *FCN,
    CNN_LSTM,
    MUSICNN_PEER,
    CNN,
    VGG16_GAP_PEER,
    CRNN,
)

PEERS = {one.name: one for one in _ALL}
"""The paper's first."""

PAPER = VGG16_PEER.name
"""The name of the paper's."""


def peer(name: str) -> Peer:
    """Find a model.

    Parameters
    ----------
    name : str
        Its name.

    Returns
    -------
    peer : Peer
        The model.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    if name not in PEERS:
        near = difflib.get_close_matches(name, PEERS, n=1)
        guess = f" Did you mean {near[0]}?" if near else ""
        raise UserError(f"Expected a model out of {', '.join(PEERS)}. Received: {name!r}.{guess}")
    return PEERS[name]
