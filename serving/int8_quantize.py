"""A float32 .tflite → the same model with integer weights, whose convolutions compute in integers throughout.

TensorFlow's converter gives integers to every tensor, so the last layer's values and the probabilities come in steps:
on the demo library's model 1.1 and 1/256, and all but the nearest genre get 0. The AI Edge Quantizer can leave that
end alone: convolutions and pooling, where the time goes, are given fixed ranges; dense layers have integer weights and
find the range of their input each time; everything else stays as it was.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tumbao.serving.flatbuffer import pack, unpack


def int8_quantize(content: bytes, images: np.ndarray, advance: Callable[[], None]) -> bytes:
    """Quantize an image model; TensorFlow has to be imported before, or the quantizer misses a part of NumPy.

    Parameters
    ----------
    content : bytes
        A .tflite in float32 with a signature `image`.
    images : np.ndarray [shape=(n, height, width, 3), dtype=uint8]
        What the ranges come from: the smallest and the largest value that each tensor has on any of them.
    advance : callable
        Called after each image.

    Returns
    -------
    quantized : bytes
        A .tflite with the same input and output.
    """
    from ai_edge_quantizer import calibrator, quantizer, recipe_manager
    from ai_edge_quantizer.qtyping import QuantGranularity, TFLOperationName
    from ai_edge_quantizer.utils.qsv_utils import min_max_update

    recipe = recipe_manager.RecipeManager()
    for operation in (
        TFLOperationName.CONV_2D,
        TFLOperationName.DEPTHWISE_CONV_2D,
        TFLOperationName.AVERAGE_POOL_2D,
        TFLOperationName.MAX_POOL_2D,
    ):
        recipe.add_static_config(".*", operation, activation_num_bits=8, weight_num_bits=8)
    recipe.add_dynamic_config(  # one scale a layer: older runtimes know no other
        ".*", TFLOperationName.FULLY_CONNECTED, num_bits=8, granularity=QuantGranularity.TENSORWISE
    )
    mode = calibrator.CalibrationMode.CALIBRATION_PROFILER_BASED
    ranges = calibrator.Calibrator(content, num_threads=1, mode=mode, qsv_update_func=min_max_update)
    for image in images:
        ranges.calibrate({"image": [{"image": image[np.newaxis]}]}, recipe)
        advance()
    made = quantizer.Quantizer(content, recipe.get_quantization_recipe()).quantize(ranges.get_model_qsvs())
    model = unpack(bytes(made.quantized_model))
    for operator in model.subgraphs[0].operators:
        if isinstance(operator.builtinOptions, schema.FullyConnectedOptionsT):
            operator.builtinOptions.asymmetricQuantizeInputs = True  # no value is negative after a ReLU
    return pack(model)
