"""What a model is: a frozen backbone, a head that learns, and how it learns."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tumbao.schema.errors import UserError
from tumbao.trainer.backbones import Backbone
from tumbao.trainer.training import Training

if TYPE_CHECKING:
    import keras

    from tumbao.trainer.dataset import Fragments

Shape = tuple[int, ...]

Head = Callable[[Shape, int, Training], "keras.Model"]
"""Shape of the features, number of genres and settings → model: features float32 [n, *shape] → probabilities."""

Learn = Callable[["Fragments", "Fragments", Training], "tuple[keras.Model, dict[str, Any]]"]
"""Training split, validation split and settings → head and history, for heads that gradients do not train."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A model that the pipeline can train.

    Parameters
    ----------
    name : str
        What it is called by.
    after : str
        Whose idea it is.
    summary : str
        What it is, in one line.
    backbone : Backbone
        The frozen half.
    head : Head
        Builds the half that learns, with weights drawn by the settings' seed.
    option_of : str
        Name of the model of which this is another size; empty for a model of its own.
    training : mapping of str to Any
        Settings of `Training` that are this model's own; the others are the paper's.
    precisions : tuple of str
        In which the TFLite files come; one that does not answer as the model does is left out.
    learn : Learn or None
        How it learns, where it is not by gradients.
    tuned_backbone, tuned_head : Backbone and Head, or None
        The same network divided earlier, so that the backbone's last block can be tuned; None where it cannot.
    """

    name: str
    after: str
    summary: str
    backbone: Backbone
    head: Head
    option_of: str = ""
    training: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    precisions: tuple[str, ...] = ("float16", "dynamic", "int8")
    learn: Learn | None = None
    tuned_backbone: Backbone | None = None
    tuned_head: Head | None = None

    def settings(self, **asked: Any) -> Training:
        """Give the settings of a training.

        Parameters
        ----------
        **asked : Any
            Settings of `Training` that are wanted otherwise than the model has them by itself.

        Returns
        -------
        training : Training
            The settings.

        Raises
        ------
        ValueError
            If a value is out of its range, or the model's backbone cannot be tuned.
        """
        training = Training(**{**self.training, **asked})
        if training.fine_tune and self.tuned_backbone is None:
            raise UserError(
                "Expected fine_tune 0 with a model whose backbone has no block that can be tuned. "
                f"Received: fine_tune={training.fine_tune} with {self.name}"
            )
        return training

    def backbone_for(self, training: Training) -> Backbone:
        """Give the backbone, which is shorter where its last block is tuned.

        Parameters
        ----------
        training : Training
            The settings.

        Returns
        -------
        backbone : Backbone
            What is frozen under these settings.
        """
        return self.tuned_backbone if training.fine_tune and self.tuned_backbone else self.backbone

    def head_for(self, shape: Shape, genres: int, training: Training) -> keras.Model:
        """Build the head.

        Parameters
        ----------
        shape : tuple of int
            Shape of one fragment's features.
        genres : int
            How many genres there are, at least 2.
        training : Training
            The settings.

        Returns
        -------
        keras.Model
            Features float32 [n, *shape] → probabilities [n, genres], float32, each row summing to 1.

        Raises
        ------
        ValueError
            If there are fewer than 2 genres.
        """
        if genres < 2:
            raise ValueError(f"A head needs at least 2 genres to tell apart. Received: genres={genres}")
        build = self.tuned_head if training.fine_tune and self.tuned_head else self.head
        return build(shape, genres, training)
