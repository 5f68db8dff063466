"""Executor of EvalGate."""

import json
from pathlib import Path
from typing import Any

from absl import logging
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils

from tfx_feeder.common.mounts import local_path
from tfx_feeder.components.eval_gate.gate import Gate
from tfx_feeder.components.eval_gate.verdict import decide
from tfx_feeder.schemas import gate_report
from tfx_feeder.schemas import slices as slices_format
from tfx_feeder.schemas.file_record import PROPERTY, FileRecord, seal
from tfx_feeder.schemas.model_comparison import read_comparison
from tfx_feeder.schemas.properties import BASELINE_FAILURE

_Artifacts = dict[str, list[types.Artifact]]
_BLESSED, _NOT_BLESSED = "BLESSED", "NOT_BLESSED"
_REASON_CHARACTERS = 1_000


class Executor(base_executor.BaseExecutor):
    """Judges an evaluation by the gate; see ``EvalGate``."""

    def Do(
        self, input_dict: _Artifacts, output_dict: _Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        """Writes the blessing, as the stock Evaluator does, and the report.

        Raises:
            ConfigError: The evaluation lacks a metric or slice of the gate.
            DataError: The evaluation or the slices cannot be read.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        model = artifact_utils.get_single_instance(input_dict["model"])
        baseline = next(iter(input_dict.get("baseline_model", ())), None)
        evaluation = artifact_utils.get_single_instance(input_dict["evaluation"])
        report = decide(
            read_comparison(Path(local_path(evaluation.uri))),
            Gate.from_dict(json.loads(exec_properties["gate"])),
            has_baseline=baseline is not None,
            same_model=baseline is not None and _is_same(model, baseline),
            origins=_origins(input_dict),
            baseline_failure=evaluation.get_string_custom_property(BASELINE_FAILURE),
        )
        logging.info("%s: %s", "Blessed" if report.blessed else "Not blessed", report.reason)
        [blessing], [written] = output_dict["blessing"], output_dict["gate_report"]
        _write_blessing(blessing, report.blessed, model, baseline)
        if "current_component_id" in exec_properties:
            component = exec_properties["current_component_id"]
            blessing.set_string_custom_property("component_id", component)
        gate_report.write(report, local_path(written.uri))
        written.set_int_custom_property("blessed", int(report.blessed))
        written.set_string_custom_property("reason", report.reason[:_REASON_CHARACTERS])
        written.set_string_custom_property("baseline", report.baseline)
        for verdict in gate_report.VERDICTS:
            written.set_int_custom_property(verdict, report.count(verdict))
        seal(output_dict)


def _write_blessing(
    blessing: types.Artifact,
    blessed: bool,
    model: types.Artifact,
    baseline: types.Artifact | None,
) -> None:
    blessing.set_string_custom_property("current_model", model.uri)
    blessing.set_int_custom_property("current_model_id", model.id)
    if baseline is not None:
        blessing.set_string_custom_property("baseline_model", baseline.uri)
        blessing.set_int_custom_property("baseline_model_id", baseline.id)
    blessing.set_int_custom_property("blessed", int(blessed))
    folder = Path(local_path(blessing.uri))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / (_BLESSED if blessed else _NOT_BLESSED)).write_text("")


def _is_same(model: types.Artifact, baseline: types.Artifact) -> bool:
    """Returns True for one artifact, or for files that are known to be equal."""
    if model.id == baseline.id or model.uri == baseline.uri:
        return True
    recorded = [artifact.get_string_custom_property(PROPERTY) for artifact in (model, baseline)]
    record = FileRecord.parse(recorded[0])
    return bool(record and record.sha256) and recorded[0] == recorded[1]


def _origins(inputs: _Artifacts) -> dict[str, str]:
    artifact = next(iter(inputs.get("slices", ())), None)
    if artifact is None:
        return {}
    document = slices_format.read(local_path(artifact.uri))
    return {found.name: found.origin for found in document.slices}
