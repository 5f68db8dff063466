"""Evaluator that leaves out a baseline which can no longer be evaluated."""

# Node processes import this module, and importing tfx.v1 loads cloud clients, which takes seconds.
# TFX declares no exports in its public modules.
# pyright: reportPrivateImportUsage=false

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf
from absl import logging
from tfx import types
from tfx.components.evaluator import component, executor
from tfx.components.util import examples_utils
from tfx.dsl.components.base import executor_spec
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils
from tfx.utils import io_utils, path_utils

from tfx_feeder.components.evaluator.runnable import EXAMPLES_TRIED, failure
from tfx_feeder.schemas.properties import BASELINE_FAILURE

_BASELINE = "baseline_model"
_SAVED_MODELS = ("", "tf_keras", "tf_generic")
"""Types of a ``tfma.ModelSpec`` that are loaded as SavedModels with signatures."""
_Artifacts = dict[str, list[types.Artifact]]


class Executor(executor.Executor):
    """Executor of the Evaluator that tries the baseline on some examples first."""

    def Do(
        self, input_dict: _Artifacts, output_dict: _Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        """Evaluates as the stock Evaluator does, without the baseline if it fails.

        Args:
            input_dict: Input artifacts by key.
            output_dict: Output artifacts by key.
            exec_properties: Execution properties by name.
        """
        if input_dict.get(_BASELINE):
            reason = _baseline_failure(input_dict, exec_properties)
            if reason:
                logging.warning("The baseline is not evaluated: %s.", reason)
                input_dict = {**input_dict, _BASELINE: []}
                for artifact in output_dict["evaluation"]:
                    artifact.set_string_custom_property(BASELINE_FAILURE, reason)
        super().Do(input_dict, output_dict, exec_properties)


class Evaluator(component.Evaluator):
    """Stock Evaluator, except that a baseline which cannot be evaluated does not end the run.

    A blessed model may need features that the examples no longer have, or have another signature.
    The stock Evaluator fails then, in every run. This one tries the baseline on a few examples; if
    it fails, the candidate is evaluated alone, and the property ``baseline_failure`` of the
    evaluation tells why. EvalGate reports it, and decides by ``Gate(when_baseline_fails=...)``.
    """

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)


def _baseline_failure(inputs: _Artifacts, exec_properties: Mapping[str, Any]) -> str:
    specs = _model_specs(exec_properties)
    spec = next((each for each in specs if each.get("is_baseline")), next(iter(specs), {}))
    if spec.get("model_type", "") not in _SAVED_MODELS:
        return ""
    model = artifact_utils.get_single_instance(inputs[_BASELINE])
    folder = path_utils.serving_model_path(model.uri, path_utils.is_old_model_artifact(model))
    splits = json.loads(exec_properties.get("example_splits") or "null") or ["eval"]
    return failure(folder, spec, _some_examples(inputs["examples"], splits))


def _model_specs(exec_properties: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the model specs with names in snake case, whatever the message was written with."""
    config = json.loads(exec_properties.get("eval_config") or "{}")
    specs = config.get("model_specs", config.get("modelSpecs", []))
    return [{_snake_case(name): value for name, value in spec.items()} for spec in specs]


def _snake_case(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name)


def _some_examples(examples: Sequence[types.Artifact], splits: Sequence[str]) -> list[bytes]:
    """Returns some serialized Examples; none if the records are of another type."""
    if any(
        examples_utils.get_payload_format(artifact) != example_gen_pb2.FORMAT_TF_EXAMPLE
        for artifact in examples
    ):
        return []
    return list(itertools.islice(_records(examples, splits), EXAMPLES_TRIED))


def _records(examples: Sequence[types.Artifact], splits: Sequence[str]) -> Iterator[bytes]:
    for split in splits:
        for uri in artifact_utils.get_split_uris(list(examples), split):
            for path in sorted(tf.io.gfile.glob(io_utils.all_files_pattern(uri))):
                compression = "GZIP" if path.endswith(".gz") else ""
                dataset = tf.data.TFRecordDataset(path, compression_type=compression)
                yield from dataset.as_numpy_iterator()
