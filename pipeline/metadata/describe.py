"""Text for the contents of a store: states, artifacts, errors, input paths, model status."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from rich.markup import escape

from tfx_feeder.common.durations import format_elapsed
from tfx_feeder.common.errors import DataError
from tfx_feeder.pipeline.metadata import models
from tfx_feeder.pipeline.metadata.models import ModelVersion
from tfx_feeder.pipeline.metadata.slice_results import gate_report_of
from tfx_feeder.pipeline.metadata.types import (
    CACHED,
    CANCELED,
    COMPLETE,
    FAILED,
    RESULT_PROPERTY,
    RUNNING,
    Artifact,
    Execution,
)
from tfx_feeder.schemas import gate_report
from tfx_feeder.schemas.evaluation import ALL_EXAMPLES, EvaluationResult, SliceRow, read_evaluation
from tfx_feeder.schemas.gate_report import with_decision
from tfx_feeder.schemas.properties import WITHDRAWN

REPORT_SEPARATOR = "-and-"
"""Text between two runs in the name of a report."""
_STATES = {
    COMPLETE: "[green]complete[/]",
    CACHED: "[dim]cached[/]",
    FAILED: "[bold red]failed[/]",
    RUNNING: "[yellow]running[/]",
    CANCELED: "[yellow]canceled[/]",
}
_BLESSED = {True: "[green]blessed[/]", False: "[red]not blessed[/]", None: "not evaluated"}
NO_ERROR_TEXT = (
    "ML Metadata contains no error message. See the log of the orchestrator that ran the pipeline."
)
# Execution properties that name external inputs.
_SOURCES = (
    "schema_file",
    "artifact_uri",
    "module_file",
    "module_path",
    "model_fn",
    "run_fn",
    "trainer_fn",
    "preprocessing_fn",
)


@dataclass(frozen=True, slots=True)
class ArtifactSummary:
    """Summary of an artifact.

    Args:
        id: Id in the store.
        type_name: Name of the artifact type, such as ``Model``.
        uri: Location of the files.
        created_at: Time of registration; UTC.
        state: ``LIVE``, ``DELETED`` and so on; empty if none was recorded.
        files_missing: True if the files are known not to exist.
        facts: Noteworthy facts, such as ``span 3``.
        properties: Declared and custom properties.
    """

    id: int
    type_name: str
    uri: str
    created_at: datetime
    state: str
    files_missing: bool
    facts: tuple[str, ...]
    properties: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Type and id, such as ``Model 32``; markup."""
        return f"{escape(self.type_name)} {self.id}"

    @property
    def label(self) -> str:
        """Name and facts; markup."""
        facts = f" ({escape(', '.join(self.facts))})" if self.facts else ""
        return f"{self.name}{facts}{' [red]files missing[/]' if self.files_missing else ''}"


def summarize(artifact: Artifact) -> ArtifactSummary:
    """Returns the summary of an artifact."""
    return ArtifactSummary(
        id=artifact.id,
        type_name=artifact.type_name,
        uri=artifact.uri,
        created_at=artifact.created_at,
        state=artifact.state,
        files_missing=artifact.files_missing,
        facts=tuple(_facts(artifact)),
        properties=artifact.properties,
    )


def report_stem(run_ids: Iterable[str]) -> str:
    """Returns the file name of a report without suffix, safe in paths and URLs."""
    names = (re.sub(r"[^\w.-]+", "-", run_id, flags=re.ASCII).strip(".-") for run_id in run_ids)
    return REPORT_SEPARATOR.join(names)


def count_epochs(count: int) -> str:
    """Returns a number of epochs as text, such as ``1 epoch``."""
    return "1 epoch" if count == 1 else f"{count} epochs"


def state_label(name: str) -> str:
    """Returns the text for a state; markup."""
    return _STATES.get(name) or escape(name.lower())


def elapsed(name: str, seconds: float, since: datetime) -> str:
    """Returns the run time of an execution or a run as text.

    Args:
        name: Name of the state; a cached execution has no run time.
        seconds: Time from registration to the last state change.
        since: Time of registration; the start of what is still running.
    """
    if name == CACHED:
        return ""
    if name == RUNNING:
        return f"{format_elapsed((datetime.now(timezone.utc) - since).total_seconds())} so far"
    return format_elapsed(seconds)


def error_message(execution: Execution) -> str:
    """Returns the error message of a failed execution; empty for others."""
    if execution.state != FAILED:
        return ""
    try:
        return str(json.loads(execution.properties[RESULT_PROPERTY])["resultMessage"])
    except (KeyError, TypeError, ValueError):
        return NO_ERROR_TEXT


def external_sources(execution: Execution) -> Iterator[tuple[str, str]]:
    """Yields inputs of an execution from outside the store, as pairs of a word and a path.

    These are the input files, modules and functions that the properties name.
    """
    base = str(execution.properties.get("input_base", "")).rstrip("/")
    if base:
        for pattern in _patterns(execution.properties.get("input_config")):
            yield "input files", f"{base}/{pattern}" if pattern else base
    for name in _SOURCES:
        value = execution.properties.get(name)
        # TFX writes null as text.
        if value and value != "null":
            yield name.replace("_", " "), str(value)


def blessing_label(model: ModelVersion) -> str:
    """Returns the evaluation outcome of a model; markup."""
    return _BLESSED[model.blessed]


def status_label(model: ModelVersion) -> str:
    """Returns the most advanced status that a model reached; markup."""
    if model.withdrawn:
        return "[yellow]withdrawn[/]"
    if model.live:
        return "[bold green]live[/]"
    return "[green]pushed[/]" if model.pushes else blessing_label(model)


def status_details(model: ModelVersion) -> str:
    """Returns whether a model was blessed, pushed, withdrawn, and is live; markup."""
    parts = [blessing_label(model)]
    if model.pushes:
        parts.append(f"pushed as {escape(model.pushes[-1].version)}")
    if model.live:
        parts.append("[bold]live[/]")
    if model.withdrawn:
        parts.append("[yellow]withdrawn[/]")
    return ", ".join(parts)


def read_model_evaluation(model: ModelVersion) -> EvaluationResult:
    """Reads the last evaluation of a model.

    Raises:
        DataError: The model has no evaluation, or its files cannot be read.
    """
    evaluation = model.evaluation
    if evaluation is None:
        raise DataError(f"Model {model.model.id} has no evaluation.")
    if not evaluation.is_local:
        raise DataError(f"The evaluation is on another machine: {evaluation.uri}")
    result, report = read_evaluation(evaluation.path), gate_report_of(model)
    return with_decision(result, report) if report else result


def primary_metric(result: EvaluationResult) -> SliceRow | None:
    """Returns the first metric on all examples; the loss only if there is no other."""
    rows = [row for row in result.rows if row.slice == ALL_EXAMPLES]
    return next((row for row in rows if row.metric != "loss"), next(iter(rows), None))


def _patterns(input_config: Any) -> list[str]:
    try:
        return [split["pattern"] for split in json.loads(input_config)["splits"]]
    except (KeyError, TypeError, ValueError):
        return [""]


def _facts(artifact: Artifact) -> Iterator[str]:
    properties = artifact.properties
    match artifact.type_name:
        case models.EXAMPLES:
            if "span" in properties:
                yield f"span {properties['span']}"
            for name, count in sorted(properties.items(), reverse=True):
                if name.startswith("num_examples_"):
                    yield f"{count:,} {name.removeprefix('num_examples_')}"
        case models.BLESSING:
            # The Evaluator writes one that says nothing if it has no thresholds.
            decided = {1: "blessed", 0: "not blessed"}
            yield decided.get(properties.get("blessed", -1), "nothing decided")
        case models.PUSHED:
            version = properties.get("pushed_version")
            yield f"version {version}" if properties.get("pushed") else "not pushed"
        case "InfraBlessing" if "blessing_status" in properties:
            yield str(properties["blessing_status"]).lower().replace("_", " ")
        case models.GATE_REPORT:
            verdicts = (f"{properties[v]} {v}" for v in gate_report.VERDICTS if properties.get(v))
            yield ", ".join(verdicts) or str(properties.get("baseline", ""))
        case models.SLICES:
            yield from (
                f"{properties[name]} {name.removeprefix('slices_')}"
                for name in sorted(properties)
                if name.startswith("slices_")
            )
        case models.HISTORY:
            if "epochs" in properties:
                yield count_epochs(properties["epochs"])
        case models.MODEL:
            if properties.get(WITHDRAWN):
                yield f"withdrawn: {properties[WITHDRAWN]}"
