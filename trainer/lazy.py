"""Keras and TensorFlow, loaded at their first use: help texts and settings need names of models, but no network."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__all__ = ["keras", "ops", "tf"]

if TYPE_CHECKING:
    import keras
    import tensorflow as tf
    from keras import ops
else:

    class _LazyModule:
        """A module that is imported when one of its attributes is used."""

        def __init__(self, name: str) -> None:
            self._name = name

        def __getattr__(self, attribute: str) -> Any:
            return getattr(importlib.import_module(self._name), attribute)

    keras, ops, tf = _LazyModule("keras"), _LazyModule("keras.ops"), _LazyModule("tensorflow")
