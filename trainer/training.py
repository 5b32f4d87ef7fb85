"""How a head is trained: every setting in one frozen value, whose defaults are the paper's."""

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
        Passes over the training split; rounds of boosting where the head is boosted.
    batch : int
        Fragments in a batch.
    learning_rate : float
        Adam's, at the beginning.
    schedule : str
        What becomes of the learning rate: `constant`, or `cosine`, down to 0 at the end.
    patience : int
        Epochs without a better one after which training ends; 0 never ends it early.
    class_weights : str
        `auto` weighs genres by their number of fragments, `none` does not.
    units : tuple of int
        Width of each dense layer before the softmax, in heads that are made of dense layers.
    dropout : float
        Share of what each hidden layer gives that is left out at random while training, in 0..1.
    l2 : float
        Weight of the squared kernels in the loss.
    label_smoothing : float
        Share of each label that is spread over all genres, in 0..1.
    mixup : float
        Both parameters of the beta distribution by which pairs of fragments are mixed; 0 mixes none.
    augment : int
        Copies of each training fragment with bands and times masked (SpecAugment), beside the fragment itself.
    fine_tune : int
        Epochs after those, in which VGG-16's last block learns too, at a tenth of the learning rate.
    seed : int
        Of initial weights, shuffling, mixing and masking.

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
        object.__setattr__(self, "units", tuple(self.units))  # JSON knows lists only
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
