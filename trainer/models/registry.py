"""Registry of all models by name."""

from __future__ import annotations

import difflib

from tumbao.schema.errors import UserError
from tumbao.trainer.models.adaboost import ADABOOST
from tumbao.trainer.models.musicnn_models import CNN_LSTM, MUSICNN_SPEC
from tumbao.trainer.models.spec import ModelSpec
from tumbao.trainer.models.spectrogram_nets import CNN, CRNN, FCN, LSTM, LSTM_ATTENTION
from tumbao.trainer.models.tumbao import TUMBAO
from tumbao.trainer.models.vgg import VGG16_AVG_SPEC, VGG16_GAP_SPEC, VGG16_SPEC

_ALL = (
    VGG16_SPEC,
    TUMBAO,
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


AUTO = "auto"
"""Stands for the paper's model and Tumbao's."""


def model_names(name: str) -> tuple[str, ...]:
    """Return the models that a setting stands for: one, several separated by commas, or those of `AUTO`.

    Raises UserError if there is no such model, or if one is named twice.
    """
    names = (PAPER, TUMBAO.name) if name == AUTO else tuple(one.strip() for one in name.split(","))
    for one in names:
        find_model(one)
    if len(set(names)) < len(names):
        raise UserError(f"Expected each model once. Received: {name!r}")
    return names


def find_model(name: str) -> ModelSpec:
    """Look up a model by name; raise UserError if there is none."""
    if name not in MODELS:
        near = difflib.get_close_matches(name, MODELS, n=1)
        guess = f" Did you mean {near[0]}?" if near else ""
        raise UserError(f"Expected a model out of {', '.join(MODELS)}. Received: {name!r}.{guess}")
    return MODELS[name]
