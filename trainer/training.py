"""Settings of the training of a head; the defaults are the paper's."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from tumbao.schema.errors import UserError

SCHEDULES = ("constant", "cosine")
CLASS_WEIGHTS = ("auto", "none")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """Settings of one training.

    Parameters
    ----------
    epochs : int
        Passes over the training split; boosting rounds where the head is boosted.
    batch : int
        Fragments in a batch.
    learning_rate : float
        Initial learning rate of Adam.
    schedule : str
        Learning rate schedule: `constant`, or `cosine`, which decays to 0.
    patience : int
        Number of epochs without improvement after which training stops; 0 never stops it early.
    class_weights : str
        `auto` weights genres by their number of fragments, `none` does not.
    units : tuple of int
        Width of each dense layer before the softmax, in heads made of dense layers.
    dropout : float
        Dropout rate after each hidden layer, in 0..1.
    l2 : float
        Weight of the L2 penalty on kernels.
    label_smoothing : float
        Share of each label that is spread over all genres, in 0..1.
    mixup : float
        Both parameters of the beta distribution of mixup's weights; 0 disables mixup.
    augment : int
        Number of copies of each training fragment with masked bands and times (SpecAugment), beside the fragment
        itself.
    fine_tune : int
        Additional epochs in which VGG-16's last block is trained too, at a tenth of the learning rate.
    seed : int
        Seed of initial weights, shuffling, mixing and masking.

    Raises
    ------
    ValueError
        If a value is out of its range.
    """

    epochs: int = 5
    batch: int = 32
    learning_rate: float = 1e-3
    schedule: str = "constant"
    patience: int = 0
    class_weights: str = "auto"
    units: tuple[int, ...] = (512, 64)
    dropout: float = 0.0
    l2: float = 0.0
    label_smoothing: float = 0.0
    mixup: float = 0.0
    augment: int = 0
    fine_tune: int = 0
    seed: int = 7

    def __post_init__(self) -> None:
        object.__setattr__(self, "units", tuple(self.units))  # JSON has lists only
        expected: Mapping[str, tuple[bool, str]] = {
            "epochs": (self.epochs >= 1, "at least 1"),
            "batch": (self.batch >= 1, "at least 1"),
            "learning_rate": (self.learning_rate > 0, "above 0"),
            "schedule": (self.schedule in SCHEDULES, " or ".join(SCHEDULES)),
            "patience": (self.patience >= 0, "0 or more"),
            "class_weights": (self.class_weights in CLASS_WEIGHTS, " or ".join(CLASS_WEIGHTS)),
            "units": (all(width >= 1 for width in self.units), "of at least 1 each"),
            "dropout": (0 <= self.dropout < 1, "at least 0 and below 1"),
            "l2": (self.l2 >= 0, "0 or more"),
            "label_smoothing": (0 <= self.label_smoothing < 1, "at least 0 and below 1"),
            "mixup": (self.mixup >= 0, "0 or more"),
            "augment": (self.augment >= 0, "0 or more"),
            "fine_tune": (self.fine_tune >= 0, "0 or more"),
        }
        for name, (holds, rule) in expected.items():
            if not holds:
                raise UserError(f"Expected {name} {rule}. Received: {name}={getattr(self, name)!r}")
