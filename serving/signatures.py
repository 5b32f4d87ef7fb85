"""Signatures of the SavedModel: records, mel images and waveforms.

Every signature returns the model's outputs, `probabilities` (float32 [n, genres]) and, where it has one, `distance`
(float32 [n]), and `genres` (string [n, genres], the genre names in the order of the probabilities).
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from tumbao.components.ingest.mel import mel_image
from tumbao.components.ingest.records import parse_images
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.model_info import ARCHITECTURE_FILE, ASSETS_FOLDER, PROBABILITIES

EXAMPLES = "serving_default"  # serialized tf.Examples with the feature `image`; the Evaluator calls this signature
IMAGE = "image"  # mel images, uint8 RGB
WAVEFORM = "waveform"  # fragments of audio, float32 mono

GENRES = "genres"


class Servable(tf.Module):
    """A Keras model, images [n, height, width, 3] in 0..255 → `model_info.PROBABILITIES` and others, with signatures.

    The weights of `first`, a part of the model, come before the others. The model is excluded from TensorFlow's
    tracking and its variables are tracked instead: a SavedModel that tracks a Keras 3 model makes the TFLite converter
    abort the process.
    """

    def __init__(self, model: keras.Model, first: keras.Model, genres: Sequence[str], spec: MelSpec) -> None:
        super().__init__()
        self._setattr_tracking = False
        self._model = model
        self._spec = spec
        self._genres = list(genres)
        self._setattr_tracking = True
        variables = {id(variable): variable for variable in (*first.variables, *model.variables)}
        self.weights = [variable.value for variable in variables.values()]

    def _answer(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = self._model(images, training=False)
        outputs = outputs if isinstance(outputs, dict) else {PROBABILITIES: outputs}
        names = tf.tile(tf.constant([self._genres]), [tf.shape(outputs[PROBABILITIES])[0], 1])
        return {**outputs, GENRES: names}

    def signatures(self) -> dict[str, tf.types.experimental.ConcreteFunction]:
        """Trace the signatures `EXAMPLES`, `IMAGE` and `WAVEFORM`."""
        spec = self._spec

        def examples(examples: tf.Tensor) -> dict[str, tf.Tensor]:
            return self._answer(tf.ensure_shape(parse_images(examples), [None, *spec.image_shape]))

        def image(image: tf.Tensor) -> dict[str, tf.Tensor]:
            return self._answer(image)

        def waveform(waveform: tf.Tensor) -> dict[str, tf.Tensor]:
            return self._answer(mel_image(waveform, spec))

        signatures = {
            EXAMPLES: (examples, tf.TensorSpec([None], tf.string, name="examples")),
            IMAGE: (image, tf.TensorSpec([None, *spec.image_shape], tf.uint8, name=IMAGE)),
            WAVEFORM: (waveform, tf.TensorSpec([None, spec.fragment_samples], tf.float32, name=WAVEFORM)),
        }
        return {name: tf.function(one).get_concrete_function(form) for name, (one, form) in signatures.items()}


def save(
    model: keras.Model, folder: str, genres: Sequence[str], spec: MelSpec, final: keras.Model | None = None
) -> None:
    """Save a model for serving, with its architecture in `assets.extra`; see `Servable`.

    `model` returns probabilities; `final` is the model that is served, of which it is a part (by default, all of it).
    """
    servable = Servable(final or model, model, genres, spec)
    tf.saved_model.save(servable, folder, signatures=servable.signatures())
    tf.io.gfile.makedirs(f"{folder}/{ASSETS_FOLDER}")
    with tf.io.gfile.GFile(f"{folder}/{ASSETS_FOLDER}/{ARCHITECTURE_FILE}", "w") as file:
        file.write(model.to_json())
