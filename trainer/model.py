"""Heads of dense layers, and the network joined of backbone and head."""

from __future__ import annotations

from typing import Any

from tumbao.serving.model_info import DISTANCE, PROBABILITIES
from tumbao.serving.song import SMALLEST_PROBABILITY
from tumbao.trainer.lazy import keras
from tumbao.trainer.training import Training


def features_input(shape: tuple[int, ...]) -> Any:
    """Create the float32 input "features" of a head; `shape` is that of one fragment's features."""
    return keras.Input(shape, dtype="float32", name="features")


def dense_layers(genres: int, training: Training) -> list[keras.layers.Layer]:
    """Build the end of a head: a dense layer for each of `units`, each followed by its dropout, and the softmax."""

    def dense(index: int, width: int, activation: str) -> keras.layers.Layer:
        return keras.layers.Dense(
            width,
            activation,
            kernel_initializer=keras.initializers.GlorotUniform(training.seed + index),
            kernel_regularizer=keras.regularizers.L2(training.l2) if training.l2 else None,
            name=f"dense_{index}" if index else "dense",
            dtype="float32",
        )

    layers: list[keras.layers.Layer] = []
    for index, width in enumerate(training.units):
        layers.append(dense(index, width, "relu"))
        if training.dropout:
            layers.append(keras.layers.Dropout(training.dropout, seed=training.seed + index))
    return [*layers, dense(len(training.units), genres, "softmax")]


def dense_head(shape: tuple[int, ...], genres: int, training: Training) -> keras.Model:
    """Build the paper's head: features float32 [n, *shape] → probabilities [n, genres], always in float32."""
    flatten = keras.layers.Flatten(name="flatten", dtype="float32")
    return keras.Sequential([features_input(shape), flatten, *dense_layers(genres, training)], name="head")


def joined(backbone: keras.Model, head: keras.Model) -> keras.Model:
    """Join backbone and head into one model, which shares their weights.

    Images [n, height, width, 3], RGB, uint8 or float in 0..255 → probabilities float32 [n, genres]. The layers of a
    sequential head are added one by one; any other head is nested as a model.
    """
    if not isinstance(head, keras.Sequential):
        return keras.Model(backbone.input, head(backbone.output), name="tumbao")
    outputs = backbone.output
    for layer in head.layers:
        outputs = layer(outputs)
    return keras.Model(backbone.input, outputs, name="tumbao")


def last_layer(model: keras.Model) -> tuple[list[keras.KerasTensor], keras.layers.Layer]:
    """Return the inputs of the last layer, and this layer; if a model comes last, those of its last layer."""
    history = model.outputs[0]._keras_history  # not layer.input, since a layer may be called in several models
    last = history.operation
    called = last._inbound_nodes[history.node_index].input_tensors
    if isinstance(last, keras.Model):
        inside, innermost = last_layer(last)
        return keras.tree.flatten(keras.Model(last.inputs, inside)(called)), innermost
    return keras.tree.flatten(called), last


def last_features(model: keras.Model) -> keras.KerasTensor | None:
    """Return the input [n, d] of a model's last dense layer; None if the model does not end in one."""
    (features, *_), last = last_layer(model)
    return features if isinstance(last, keras.layers.Dense) and len(features.shape) == 2 else None


def final_model(model: keras.Model, temperature: float, distance: keras.Model | None) -> keras.Model:
    """Add the temperature and a second output to a model that returns probabilities.

    Returns a model with the same inputs and the outputs `probabilities`, float32 [n, genres], scaled as by
    `serving.calibration.temper`, and `distance`, float32 [n], of the input of the last dense layer. Without `distance`
    there is only the first.
    """
    logarithms = keras.ops.log(keras.ops.maximum(model.outputs[0], SMALLEST_PROBABILITY))
    outputs = {PROBABILITIES: keras.ops.softmax(logarithms * (1 / temperature))}
    if distance is not None:
        outputs[DISTANCE] = distance(last_features(model))
    return keras.Model(model.inputs[0], outputs, name="tumbao")


def without_loops(head: keras.Model) -> keras.Model:
    """Unroll recurrent layers, whose loops TFLite cannot convert, with a copy of the weights."""
    recurrent = (keras.layers.LSTM, keras.layers.GRU)
    if not any(isinstance(layer, recurrent) for layer in head.layers):
        return head

    def unrolled(layer: keras.layers.Layer) -> keras.layers.Layer:
        changed = {"unroll": True} if isinstance(layer, recurrent) else {}
        return type(layer).from_config({**layer.get_config(), **changed})

    result = keras.models.clone_model(head, clone_function=unrolled)
    result.set_weights(head.get_weights())
    return result
