"""Registry of all models by name."""

from __future__ import annotations

import difflib

from tumbao.schema.errors import UserError
from tumbao.trainer.models.adaboost import ADABOOST
from tumbao.trainer.models.musicnn_models import CNN_LSTM, MUSICNN_SPEC
from tumbao.trainer.models.spec import ModelSpec
from tumbao.trainer.models.spectrogram_nets import CNN, CRNN, FCN, LSTM, LSTM_ATTENTION
from tumbao.trainer.models.vgg import VGG16_AVG_SPEC, VGG16_GAP_SPEC, VGG16_SPEC

_ALL = (
    VGG16_SPEC,
    VGG16_AVG_SPEC,
    LSTM,
    LSTM_ATTENTION,
    ADABOOST,
    *FCN,
    CNN_LSTM,
    MUSICNN_SPEC,
    CNN,
    VGG16_GAP_SPEC,
    CRNN,
)

MODELS = {one.name: one for one in _ALL}
"""All models by name, the paper's first."""

PAPER = VGG16_SPEC.name
"""Name of the paper's model."""


def find_model(name: str) -> ModelSpec:
    """Look up a model by name; raise UserError if there is none."""
    if name not in MODELS:
        near = difflib.get_close_matches(name, MODELS, n=1)
        guess = f" Did you mean {near[0]}?" if near else ""
        raise UserError(f"Expected a model out of {', '.join(MODELS)}. Received: {name!r}.{guess}")
    return MODELS[name]
