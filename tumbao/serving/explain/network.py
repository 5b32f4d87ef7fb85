"""A pushed model as a Keras model again: its layers can be looked into and it has gradients."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.model_info import ARCHITECTURE_FILE, ModelInfo
from tumbao.serving.predict import find_assets

if TYPE_CHECKING:
    import keras


@dataclasses.dataclass(frozen=True)
class Network:
    """A model to look into.

    Parameters
    ----------
    info : ModelInfo
        What the model says about itself.
    model : keras.Model
        Images float32 [n, height, width, 3], RGB in 0..255 → probabilities float32 [n, genres], the same as those of
        the pushed SavedModel; it is not trained any further.
    """

    info: ModelInfo
    model: keras.Model

    @property
    def genres(self) -> tuple[str, ...]:
        """Names in the order of the outputs."""
        return self.info.genres

    @property
    def spec(self) -> MelSpec:
        """Parameters of the images that the model takes."""
        return self.info.mel


def load(folder: str | Path) -> Network:
    """Build a pushed model anew, with its layers.

    Parameters
    ----------
    folder : str or Path
        A push folder, one version in it, or its `assets.extra`; see `predict.find_assets`.

    Returns
    -------
    network : Network
        The model.

    Raises
    ------
    ValueError
        If no model lies there, or one whose layers were not written down.
    """
    assets = find_assets(folder)
    info, file = ModelInfo.read(assets), assets / ARCHITECTURE_FILE
    if not file.is_file():
        raise ValueError(
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
        raise ValueError(
            f"{assets.parent}: {file.name} and the weights do not make a model. Expected both as `tumbao run` pushed "
            f"them. Received: {error}"
        ) from error
    model.trainable = False
    return Network(info, model)
