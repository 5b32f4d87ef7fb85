"""A pushed model as a Keras model, with access to its layers and gradients."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import TYPE_CHECKING

from tumbao.schema.errors import UserError
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.model_info import ARCHITECTURE_FILE, ModelInfo
from tumbao.serving.predict import find_assets

if TYPE_CHECKING:
    import keras

    from tumbao.serving.explain.input_gradient import InputGradient

_SMALLEST = 1e-37
"""Lower limit of probabilities; float32 cannot represent much smaller values."""


@dataclasses.dataclass(frozen=True, eq=False)
class Opened:
    """A network with access to its last layer.

    `hidden` are the inputs of the last layer. `scores` maps images to logits float32 [n, genres], which still differ
    where probabilities are too close to 0 or 1. If the network does not end in a dense softmax layer, they are the
    logarithms of its probabilities.
    """

    hidden: list[keras.KerasTensor]
    scores: keras.Model


@dataclasses.dataclass(frozen=True)
class Network:
    """A model with access to its layers.

    `model` maps images float32 [n, height, width, 3], RGB in 0..255, to probabilities float32 [n, genres], the same as
    those of the pushed SavedModel; it is not trained any further. `fine_tuned` is True if the last block of the
    backbone was trained on music together with the layers after it.
    """

    info: ModelInfo
    model: keras.Model
    fine_tuned: bool = False

    @property
    def genres(self) -> tuple[str, ...]:
        """Names in the order of the outputs."""
        return self.info.genres

    @property
    def spec(self) -> MelSpec:
        """Parameters of the images that the model takes."""
        return self.info.mel

    @functools.cached_property
    def opened(self) -> Opened:
        """The model with access to its last layer."""
        return opened(self.model)

    @functools.cached_property
    def uphill(self) -> InputGradient:
        """Gradient of a genre's log-odds with respect to the levels; raises NoGradientError if none is found."""
        from tumbao.serving.explain.attribution import log_odds
        from tumbao.serving.explain.input_gradient import input_gradient

        return input_gradient(self.opened.scores, self.spec, lambda scores, genre: log_odds(scores, genre)[0])


def opened(model: keras.Model) -> Opened:
    """Expose the inputs of the last layer, and the logits; the result shares the layers of the model."""
    import keras

    hidden, last = _ending(model)
    if isinstance(last, keras.layers.Dense) and last.activation is keras.activations.softmax:
        linear = keras.layers.Dense.from_config({**last.get_config(), "activation": "linear", "name": "scores"})
        scores = linear(hidden[0])
        linear.set_weights(last.get_weights())
    else:
        logarithm = keras.layers.Lambda(lambda shares: keras.ops.log(keras.ops.maximum(shares, _SMALLEST)))
        scores = logarithm(model.output)
    return Opened(hidden, keras.Model(model.input, scores))


def _ending(model: keras.Model) -> tuple[list[keras.KerasTensor], keras.layers.Layer]:
    """Return the inputs of the last layer, and this layer; if a model comes last, those of its last layer."""
    import keras

    last = model.layers[-1]
    if isinstance(last, keras.Model):
        inside, innermost = _ending(last)
        # the layer listed before it is not necessarily its input
        called = last._inbound_nodes[model.outputs[0]._keras_history.node_index]
        return keras.tree.flatten(keras.Model(last.inputs, inside)(called.input_tensors)), innermost
    return keras.tree.flatten(last.input), last


def load(folder: str | Path) -> Network:
    """Rebuild a pushed model with its layers; `folder` is as in `predict.find_assets`.

    Raises ValueError if there is no model, or if it was pushed without its architecture.
    """
    assets = find_assets(folder, whole=True)
    info, file = ModelInfo.read(assets), assets / ARCHITECTURE_FILE
    if not file.is_file():
        raise UserError(
            f"Expected a model that tells its layers. Received: {assets.parent}, without {file.name}: an earlier "
            "version of tumbao pushed it. Train again with `tumbao run`."
        )
    import keras
    import tensorflow as tf

    from tumbao.trainer import boosting  # noqa: F401 - registers its layer

    try:
        model = keras.models.model_from_json(file.read_text(encoding="utf-8"))
        weights = tf.train.load_checkpoint(str(assets.parent / "variables" / "variables"))
        for index, variable in enumerate(model.variables):
            variable.assign(weights.get_tensor(f"weights/{index}/.ATTRIBUTES/VARIABLE_VALUE"))
    except (OSError, ValueError, TypeError, KeyError, tf.errors.OpError) as error:
        raise UserError(
            f"{assets.parent}: {file.name} and the weights do not make a model. Expected both as `tumbao run` pushed "
            f"them. Received: {error}"
        ) from error
    tuned = any(layer.name.startswith("block5_conv") and layer.trainable for layer in model.layers)
    model.trainable = False
    return Network(info, model, tuned)
