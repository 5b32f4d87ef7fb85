"""Backbone and head joined into one network, and its table of layers."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras


@dataclasses.dataclass(frozen=True)
class LayerRow:
    """One row of the table of layers.

    Attributes
    ----------
    name : str
        The layer's name.
    kind : str
        The layer's class, such as "Conv2D".
    shape : tuple of int
        Shape of its output for one image.
    parameters : int
        Number of weights.
    trainable : bool
        Whether training changes them.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    trainable: bool


def joined(backbone: keras.Model, head: keras.Model) -> keras.Model:
    """Join backbone and head into one model, which shares their weights.

    Parameters
    ----------
    backbone : keras.Model
        Images to features, as built by a `Backbone`.
    head : keras.Model
        Features to probabilities, as built by `ModelSpec.head_for`.

    Returns
    -------
    keras.Model
        Images [n, height, width, 3], RGB, uint8 or float in 0..255, to probabilities [n, genres], float32. The layers
        of a sequential head are added one by one; any other head is nested as a model.
    """
    import keras

    if not isinstance(head, keras.Sequential):
        return keras.Model(backbone.input, head(backbone.output), name="tumbao")
    outputs = backbone.output
    for layer in head.layers:
        outputs = layer(outputs)
    return keras.Model(backbone.input, outputs, name="tumbao")


def without_loops(head: keras.Model) -> keras.Model:
    """Unroll recurrent layers, whose loops TFLite cannot convert.

    Parameters
    ----------
    head : keras.Model
        As built by `ModelSpec.head_for`.

    Returns
    -------
    keras.Model
        The same model with a copy of its weights; without recurrent layers, the model itself.
    """
    import keras

    recurrent = (keras.layers.LSTM, keras.layers.GRU)
    if not any(isinstance(layer, recurrent) for layer in head.layers):
        return head

    def written_out(layer: keras.layers.Layer) -> keras.layers.Layer:
        if isinstance(layer, recurrent):
            return type(layer).from_config({**layer.get_config(), "unroll": True})
        return layer.__class__.from_config(layer.get_config())

    result = keras.models.clone_model(head, clone_function=written_out)
    result.set_weights(head.get_weights())
    return result


def layer_table(model: keras.Model) -> list[LayerRow]:
    """List the layers of a model in the order of computation.

    Parameters
    ----------
    model : keras.Model
        A model without nested models, as built by `joined` from a sequential head.

    Returns
    -------
    list of LayerRow
        One row for each layer, the input first; their parameters add up to the model's.
    """
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
