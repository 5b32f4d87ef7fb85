"""Evaluator: TFX's own, which also accepts an empty baseline."""

from __future__ import annotations

from typing import Any

from tfx import types
from tfx import v1 as tfx
from tfx.components.evaluator import executor
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.types.standard_component_specs import BASELINE_MODEL_KEY

from tumbao.components.served_baseline import has_model


class EvaluatorExecutor(executor.Executor):
    """Evaluates a model, against a baseline if there is one."""

    def Do(  # noqa: N802 - TFX names it so
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Evaluate the model; the folder of the baseline model may be empty."""
        found = [model for model in input_dict.get(BASELINE_MODEL_KEY, []) if has_model(model)]
        others = {key: artifacts for key, artifacts in input_dict.items() if key != BASELINE_MODEL_KEY}
        super().Do(others | ({BASELINE_MODEL_KEY: found} if found else {}), output_dict, exec_properties)


class Evaluator(tfx.components.Evaluator):
    """TFX's Evaluator with our executor."""

    EXECUTOR_SPEC = BeamExecutorSpec(EvaluatorExecutor)
