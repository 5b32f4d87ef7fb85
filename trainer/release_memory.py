"""Release of the memory of a head that is no longer needed."""

from __future__ import annotations

import keras
import tensorflow as tf


def forget(head: keras.Model) -> None:
    """Empty the variables of a head and its optimizer; it cannot be used afterwards.

    A graph of TensorFlow 2.16 and its operations reference each other in a way that Python's garbage collector does not
    see. So the graphs of a training outlive it, and with them the variables they read: 290 MB with the paper's head.
    """
    optimizer = getattr(head, "optimizer", None)  # there is none without gradient training
    for variable in [*head.variables, *(optimizer.variables if optimizer else ())]:
        tf.raw_ops.AssignVariableOp(resource=variable.value.handle, value=tf.zeros([0], variable.dtype))
