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
        How many weights it has.
    trainable : bool
        Whether training changes them.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    trainable: bool


def joined(backbone: keras.Model, head: keras.Model) -> keras.Model:
    """Join the two halves, which share their weights with the result.

    Parameters
    ----------
    backbone : keras.Model
        Images to features, as a `Backbone` builds it.
    head : keras.Model
        Features to probabilities, as `ModelSpec.head_for` builds it.

    Returns
    -------
    keras.Model
        Images [n, height, width, 3], RGB, uint8 or float in 0..255, to probabilities [n, genres], float32; layer for
        layer where the head is a sequence, with the head as a model inside it where it is not.
    """
    import keras

    if not isinstance(head, keras.Sequential):
        return keras.Model(backbone.input, head(backbone.output), name="tumbao")
    outputs = backbone.output
    for layer in head.layers:
        outputs = layer(outputs)
    return keras.Model(backbone.input, outputs, name="tumbao")


def without_loops(head: keras.Model) -> keras.Model:
    """Write out the loops of recurrent layers, which TFLite cannot convert.

    Parameters
    ----------
    head : keras.Model
        As `ModelSpec.head_for` builds it.

    Returns
    -------
    keras.Model
        The same model with a copy of its weights; where nothing recurs, the model itself.
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
    """List the layers of a model in the order in which they compute.

    Parameters
    ----------
    model : keras.Model
        A model without models inside, as `joined` builds it.

    Returns
    -------
    list of LayerRow
        One row a layer, the input first; the parameters of the rows add up to the model's.
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
