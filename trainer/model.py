"""Backbone and head joined into one network, and its table of layers."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras


@dataclasses.dataclass(frozen=True)
class LayerRow:
    """One row of the table of layers: `kind` is the layer's class, `shape` that of its output for one image."""

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    trainable: bool


def joined(backbone: keras.Model, head: keras.Model) -> keras.Model:
    """Join backbone and head into one model, which shares their weights.

    Images [n, height, width, 3], RGB, uint8 or float in 0..255 → probabilities float32 [n, genres]. The layers of a
    sequential head are added one by one; any other head is nested as a model.
    """
    import keras

    if not isinstance(head, keras.Sequential):
        return keras.Model(backbone.input, head(backbone.output), name="tumbao")
    outputs = backbone.output
    for layer in head.layers:
        outputs = layer(outputs)
    return keras.Model(backbone.input, outputs, name="tumbao")


def without_loops(head: keras.Model) -> keras.Model:
    """Unroll recurrent layers, whose loops TFLite cannot convert, with a copy of the weights."""
    import keras

    recurrent = (keras.layers.LSTM, keras.layers.GRU)
    if not any(isinstance(layer, recurrent) for layer in head.layers):
        return head

    def unrolled(layer: keras.layers.Layer) -> keras.layers.Layer:
        if isinstance(layer, recurrent):
            return type(layer).from_config({**layer.get_config(), "unroll": True})
        return layer.__class__.from_config(layer.get_config())

    result = keras.models.clone_model(head, clone_function=unrolled)
    result.set_weights(head.get_weights())
    return result


def layer_table(model: keras.Model) -> list[LayerRow]:
    """List the layers of a model without nested models in the order of computation, the input first."""
    return [
        LayerRow(
            name=layer.name,
            kind=type(layer).__name__,
            shape=tuple(layer.output.shape[1:]),
            parameters=layer.count_params(),
            trainable=bool(layer.trainable_weights),
        )
        for layer in model.layers
    ]
