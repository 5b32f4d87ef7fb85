"""Specification of a model: a frozen backbone, a trainable head, and its settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tumbao.schema.errors import UserError
from tumbao.trainer.backbones import Backbone
from tumbao.trainer.dataset import Fragments
from tumbao.trainer.lazy import keras
from tumbao.trainer.training import Training

Shape = tuple[int, ...]

Head = Callable[[Shape, int, Training], "keras.Model"]
"""Shape of a fragment's features, number of genres and settings → model: features float32 [n, *shape] → probabilities
float32 [n, genres]."""

TrainHead = Callable[[Fragments, Fragments, Training, Sequence[str]], "tuple[keras.Model, dict[str, Any]]"]
"""Splits for training and validation, settings and genres → head and history, for heads without gradients."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A model that the pipeline can train."""

    name: str
    after: str  # authors of the idea
    summary: str
    backbone: Backbone
    head: Head  # with initial weights from the settings' seed
    option_of: str = ""  # the model of which this is another size
    training: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # its own defaults of `Training`
    precisions: tuple[str, ...] = ("float16", "dynamic", "int8")  # of the exported TFLite files
    train: TrainHead | None = None  # if the head is not trained by gradients
    used: tuple[str, ...] = tuple(field.name for field in dataclasses.fields(Training))  # settings that matter
    tuned_backbone: Backbone | None = None  # the network divided earlier, so that the last block can be fine-tuned
    tuned_head: Head | None = None

    def settings(self, **values: Any) -> Training:
        """Return the settings of a training: the model's defaults, with some values replaced.

        Fine-tuning of a backbone that has no block to tune raises a UserError.
        """
        training = Training(**{**self.training, **values})
        if training.fine_tune and self.tuned_backbone is None:
            raise UserError(
                "Expected fine_tune 0 with a model whose backbone has no block that can be tuned. "
                f"Received: fine_tune={training.fine_tune} with {self.name}"
            )
        return training

    def backbone_for(self, training: Training) -> Backbone:
        """Return the part of the network that is frozen with these settings."""
        return self.tuned_backbone if training.fine_tune and self.tuned_backbone else self.backbone

    def head_for(self, shape: Shape, genres: int, training: Training) -> keras.Model:
        """Build the head that belongs to `backbone_for`."""
        build = self.tuned_head if training.fine_tune and self.tuned_head else self.head
        return build(shape, genres, training)
