"""Settings of the training of a head; the defaults are the paper's."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt
from pydantic.dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Training:
    """Settings of one training; a value out of its range raises a ValueError."""

    epochs: int = Field(
        default=5, ge=1, description="Passes over the training split; boosting rounds where the head is boosted."
    )
    batch: int = Field(default=32, ge=1, description="Fragments in a batch.")
    learning_rate: float = Field(default=1e-3, gt=0, allow_inf_nan=False, description="Initial learning rate of Adam.")
    schedule: Literal["constant", "cosine"] = Field(
        default="constant", description="Learning rate schedule: `constant`, or `cosine`, which decays to 0."
    )
    patience: int = Field(
        default=0,
        ge=0,
        description="Number of epochs without improvement after which training stops; 0 never stops it early.",
    )
    class_weights: Literal["auto", "none"] = Field(
        default="auto", description="`auto` weights genres by their number of fragments, `none` does not."
    )
    units: tuple[PositiveInt, ...] = Field(
        default=(512, 64), description="Width of each dense layer before the softmax, in heads made of dense layers."
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Dropout rate after each hidden layer, in 0..1.")
    l2: float = Field(default=0.0, ge=0, description="Weight of the L2 penalty on kernels.")
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="Share of each label that is spread over all genres, in 0..1."
    )
    mixup: float = Field(
        default=0.0, ge=0, description="Both parameters of the beta distribution of mixup's weights; 0 disables mixup."
    )
    augment: int = Field(
        default=0,
        ge=0,
        description="Number of copies of each training fragment with masked bands and times (SpecAugment), beside the "
        "fragment itself.",
    )
    fine_tune: int = Field(
        default=0,
        ge=0,
        description="Additional epochs in which VGG-16's last block is trained too, at a tenth of the learning rate.",
    )
    seed: int = Field(default=7, description="Seed of initial weights, shuffling, mixing and masking.")
