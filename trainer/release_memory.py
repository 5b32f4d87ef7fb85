"""Gives back the memory of a head that nobody asks any more."""

from __future__ import annotations

import keras
import tensorflow as tf


def forget(head: keras.Model) -> None:
    """Empty a head's variables and its optimizer's; it can answer nothing afterwards.

    A graph of TensorFlow 2.16 and its operations hold each other where Python's garbage collector does not see it. So
    the graphs of a training outlive it, and with them the variables they read: 290 MB with the paper's head.

    Parameters
    ----------
    head : keras.Model
        A head whose answers are in.
    """
    optimizer = getattr(head, "optimizer", None)  # none where it was not learned by gradients
    for variable in [*head.variables, *(optimizer.variables if optimizer else ())]:
        tf.raw_ops.AssignVariableOp(resource=variable.value.handle, value=tf.zeros([0], variable.dtype))
