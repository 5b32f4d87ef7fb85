"""Quantization of a float32 .tflite model to integer weights and integer convolutions.

TensorFlow's converter quantizes every tensor, so that logits and probabilities are coarse: on the demo library's model
their steps are 1.1 and 1/256, and all genres but the first get 0. The AI Edge Quantizer can leave the last layers as
they are: convolutions and pooling, which take most of the time, get fixed ranges; dense layers have integer weights and
compute the range of their input at run time; everything else is unchanged.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tumbao.serving.flatbuffer import pack, unpack


def int8_quantize(content: bytes, images: np.ndarray, advance: Callable[[], None]) -> bytes:
    """Quantize an image model, a .tflite in float32 with a signature `image`.

    The range of each tensor is its minimum and maximum over the images, uint8 [n, height, width, 3]. `advance` is
    called after each image. TensorFlow has to be imported before, or the quantizer lacks a part of NumPy.
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
    recipe.add_dynamic_config(  # one scale per layer: older runtimes support nothing else
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
