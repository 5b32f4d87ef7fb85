"""A pushed model as a Keras model, with access to its layers, activations and gradients."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from scipy.special import softmax

from tumbao.components.ingest import progress
from tumbao.components.ingest.mel import palette
from tumbao.schema.errors import UserError
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.model_info import ARCHITECTURE_FILE, DISTANCE, ModelInfo
from tumbao.serving.predict import find_assets
from tumbao.trainer.model import last_layer

_SMALLEST = 1e-37  # lower limit of probabilities; float32 cannot represent much smaller values
BATCH = 8  # images per call of a network


@dataclasses.dataclass(frozen=True)
class Network:
    """A model with access to its layers."""

    info: ModelInfo
    model: keras.Model  # images float32 [n, height, width, 3], RGB in 0..255 → probabilities float32 [n, genres]
    saved_model: str = ""  # folder of the SavedModel, which has the outputs that `model` lacks

    @property
    def genres(self) -> tuple[str, ...]:
        """Names in the order of the outputs."""
        return self.info.genres

    @property
    def spec(self) -> MelSpec:
        """Parameters of the images that the model takes."""
        return self.info.mel

    @functools.cached_property
    def last_layer(self) -> tuple[list[keras.KerasTensor], keras.Model]:
        """The inputs of the last layer, and the model with logits as output; see `split_last_layer`."""
        return split_last_layer(self.model)

    @property
    def logits_model(self) -> keras.Model:
        """The model with logits as output."""
        return self.last_layer[1]

    @functools.cached_property
    def genre_gradient(self) -> InputGradient:
        """Gradient of a genre's log-odds with respect to the levels; raises NoGradientError if none is found."""
        return input_gradient(self.logits_model, self.spec, lambda logits, genre: log_odds(logits, genre)[0])

    def distance(self, image: np.ndarray) -> float:
        """Compute the distance of an image, uint8 [height, width, 3], from the training songs."""
        return float(self._served.signatures["image"](image=tf.constant(image[np.newaxis]))[DISTANCE][0])

    @functools.cached_property
    def _served(self) -> tf.Module:
        return tf.saved_model.load(self.saved_model)

    def activations(self, images: Iterable[np.ndarray], count: int, step: str) -> Activations:
        """Compute the activations of `count` images (RGB in 0..255); `step` is the name of the progress step."""
        inputs, logits_model = self.last_layer
        model = keras.Model(logits_model.inputs, [logits_model.output, *inputs])
        infer = tf.function(lambda images: model(images, training=False))
        progress.start(step, count)
        rest, vectors, scores = iter(images), [], []
        while batch := list(islice(rest, BATCH)):
            logits, *hidden = (output.numpy() for output in infer(np.stack(batch).astype(np.float32)))
            vectors.append(np.concatenate([one.reshape(len(batch), -1) for one in hidden], axis=1))
            scores.append(logits)
            progress.advance(step, len(batch))
        return Activations(np.concatenate(vectors), np.concatenate(scores))


def log_odds(logits: tf.Tensor, genre: int | tf.Tensor) -> tf.Tensor:
    """Compute the log-odds of a genre: logits float32 [n, genres] → float32 [n]."""
    others = tf.where(tf.range(tf.shape(logits)[1]) == genre, -np.inf, logits)
    return logits[:, genre] - tf.reduce_logsumexp(others, axis=1)


def split_last_layer(model: keras.Model) -> tuple[list[keras.KerasTensor], keras.Model]:
    """Return the inputs of the last layer, and a model with logits as output, which shares the layers of the model.

    Without a dense softmax layer at the end, logits are the logarithms of the probabilities.
    """
    hidden, last = last_layer(model)
    if isinstance(last, keras.layers.Dense) and last.activation is keras.activations.softmax:
        linear = keras.layers.Dense.from_config({**last.get_config(), "activation": "linear", "name": "scores"})
        logits = linear(hidden[0])
        linear.set_weights(last.get_weights())
    else:
        logarithm = keras.layers.Lambda(lambda shares: keras.ops.log(keras.ops.maximum(shares, _SMALLEST)))
        logits = logarithm(model.output)
    return hidden, keras.Model(model.input, logits)


def load(folder: str | Path) -> Network:
    """Rebuild a pushed model with its layers; `folder` is as in `predict.find_assets`."""
    assets = find_assets(folder, with_saved_model=True)
    info, file = ModelInfo.read(assets), assets / ARCHITECTURE_FILE
    from tumbao.trainer import boosting  # noqa: F401 - registers its layer

    try:
        model = keras.models.model_from_json(file.read_text(encoding="utf-8"))
        weights = tf.train.load_checkpoint(str(assets.parent / "variables" / "variables"))
        for index, variable in enumerate(model.variables):
            variable.assign(weights.get_tensor(f"weights/{index}/.ATTRIBUTES/VARIABLE_VALUE"))
    except (OSError, ValueError, TypeError, KeyError, tf.errors.OpError) as error:
        raise UserError(
            f"{assets.parent}: expected {file.name} and weights as pushed by `tumbao run`. Received: {error}"
        ) from error
    model.trainable = False
    return Network(info, model, str(assets.parent))


InputGradient = Callable[[np.ndarray, int], np.ndarray]
"""Levels float32 [height, width] in 0..255 and the index of an output → gradient [height, width]."""


class NoGradientError(ValueError):
    """No gradient is found from a model's output to its input image."""


def input_gradient(
    model: keras.Model, spec: MelSpec, measure: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
) -> InputGradient:
    """Build the gradient of `measure` with respect to the levels; models that invert the colours start behind that.

    `measure` takes the output for one image [1, ...] and the index of an output, and returns one number.
    """
    size = spec.image_shape[:2]
    takes = [one for one in model.operations if type(one).__name__ == "Take" and one.output.shape[1:] == size]
    inner = keras.Model(takes[0].output, model.output) if takes else None
    shape = size if takes else (None, None)

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32), tf.TensorSpec([], tf.int32)], autograph=False)
    def gradient_fn(levels: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
        batch = levels[tf.newaxis]
        outputs = inner(batch / 255.0, training=False) if inner else model(colour_levels(batch, spec), training=False)
        (gradient,) = tf.gradients(measure(outputs, index), levels)
        if gradient is None:
            raise NoGradientError(
                "No gradient of the model's output with respect to its input image is found, as with decision trees or "
                "with a nested model that inverts the colour map."
            )
        return gradient

    gradient_fn.get_concrete_function()
    return lambda levels, index: gradient_fn(levels, index).numpy()


def colour_levels(levels: tf.Tensor, spec: MelSpec) -> tf.Tensor:
    """Apply the colour map: levels float32 [..., height, width] in 0..255 → RGB float32 [..., height, width, 3].

    Fractional levels are interpolated between two palette entries, so that colours have a gradient.
    """
    colours = tf.constant(palette(spec), tf.float32)
    below = tf.clip_by_value(tf.floor(levels), 0.0, 254.0)
    share = (levels - tf.stop_gradient(below))[..., tf.newaxis]
    index = tf.cast(below, tf.int32)
    return tf.gather(colours, index) * (1 - share) + tf.gather(colours, index + 1) * share


def run_on_levels(model: keras.Model, levels: np.ndarray, spec: MelSpec) -> np.ndarray:
    """Run a network on levels uint8 [n, height, width] in batches: float32 [n, ...]."""
    batches = (levels[begin : begin + BATCH].astype(np.float32) for begin in range(0, len(levels), BATCH))
    return np.concatenate([model(colour_levels(batch, spec), training=False).numpy() for batch in batches])


@dataclasses.dataclass(frozen=True, eq=False)
class Activations:
    """Activations of a network for n images."""

    vectors: np.ndarray  # output of the last hidden layer, float32 [n, units]
    logits: np.ndarray  # float32 [n, genres], as of `split_last_layer`

    @property
    def answers(self) -> np.ndarray:
        """Index of the most probable genre, int64 [n]."""
        return self.logits.argmax(axis=1)

    @property
    def probabilities(self) -> np.ndarray:
        """Probability of each genre, float32 [n, genres]."""
        return softmax(self.logits, axis=1)
