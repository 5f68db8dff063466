"""Facts about a run or a model as flat names with values, for comparison."""
# Message classes are created at run time.
# pyright: reportAttributeAccessIssue=false

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from tfx_feeder.common.errors import DataError, FeederError
from tfx_feeder.components.feeder_trainer.schedules.parser import parse_schedule
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.models import (
    BLESSING,
    EVALUATION,
    EXAMPLES,
    HISTORY,
    MODEL,
    PUSHED,
    SLICES,
    ModelVersion,
)
from tfx_feeder.pipeline.metadata.types import COMPLETE, SUCCEEDED, Artifact, Execution, Run
from tfx_feeder.schemas import training_history
from tfx_feeder.schemas.evaluation import read_evaluation
from tfx_feeder.schemas.training_history import GIT_COMMIT, GIT_DIRTY

SECTIONS = (
    "outcome",
    "data",
    "schema",
    "code",
    "schedule",
    "strategy",
    "properties",
    "training",
    "metrics",
    "environment",
)
"""Sections of the facts, in display order."""

Value: TypeAlias = str | int | float | bool
Fact: TypeAlias = tuple[tuple[str, str], Value]
"""Section and name, and the value."""

_COUNT, _FINAL = "num_examples_", "final_"
_SCHEMA, _SCHEMA_FILE = "Schema", "schema.pbtxt"
_OF_TRANSFORM = ("pre_transform_schema", "post_transform_schema")
"""Schemas that Transform derives from its inputs; changes of these say nothing more."""
BASE_MODEL = ("training", "base model")
"""Section and name of the base model of a training."""
_HASH_DIGITS = 16
"""Hexadecimal digits of a hash, as in the code fingerprints."""
_CODE = (
    "code_fingerprint",
    "model_fn",
    "module_file",
    "module_path",
    "preprocessing_fn",
    "run_fn",
    "trainer_fn",
)
_OF_EXAMPLES = ("span", "version", "range_config", "input_fingerprint")
"""Execution properties that the properties of its Examples repeat."""
_OF_EXECUTION = ("code_fingerprint", "policy", "strategy")
"""History properties that its execution repeats."""
_OF_TFX = ("is_external", "tfx_version")


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts about a run or a model.

    Args:
        subject: Name of the subject, such as ``run 2026-11-24T08:46:58.936349``.
        values: Values by section and name.
        notes: Messages about files that could not be read.
    """

    subject: str
    values: Mapping[tuple[str, str], Value]
    notes: tuple[str, ...] = ()


def facts_of_run(run: Run) -> Facts:
    """Collects the facts about a run."""
    made = (execution for execution in run.executions if execution.state in SUCCEEDED)
    return _gather(f"run {run.id}", made, (("outcome", "state"), run.state.lower()))


def facts_of_model(lineage: Lineage, version: ModelVersion) -> Facts:
    """Collects the facts about a model: its lineage, evaluation and deployment.

    Args:
        lineage: Lineage of the store.
        version: The model.
    """
    model = version.model
    origins = lineage.upstream([model.id], stop_at=[MODEL]).executions.values()
    # An execution that reads the model under another key is about another model. So is SliceGen,
    # which searches the blessed model.
    consumers = (
        execution
        for execution in lineage.consumers([model.id]).executions.values()
        if execution.state == COMPLETE
        and model in execution.inputs.get("model", ())
        and not execution.output_of_type(SLICES)
    )
    trained = (("outcome", "trained by run"), version.run_id)
    return _gather(f"model {model.id}", [*origins, *consumers], trained)


def flatten(value: Any, path: str = "") -> Iterator[tuple[str, Value]]:
    """Yields the leaves of a nested value with their paths, such as ``splits[0].name``.

    A string that contains a JSON object or list is flattened too. Nulls and empty values are
    skipped.

    Args:
        value: Any JSON value.
        path: Path of the value itself.
    """
    if isinstance(value, str) and value[:1] in ("{", "["):
        with suppress(ValueError):
            value = json.loads(value)
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from flatten(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from flatten(item, f"{path}[{index}]")
    elif value not in (None, "", "null"):
        yield path, value if isinstance(value, bool | int | float) else str(value)


def _gather(subject: str, executions: Iterable[Execution], *known: Fact) -> Facts:
    in_order = sorted(executions, key=lambda execution: execution.id)
    sources = {e.node for e in in_order if any(map(_is_source, e.output_artifacts))}
    schemas = {e.node for e in in_order if _makes_schema(e)}
    values, notes = dict(known), []
    for execution in in_order:
        values |= _settings(execution)
        suffix = f" of {execution.node}" if len(sources) > 1 else ""
        for artifact in execution.output_artifacts:
            values |= _properties(artifact, suffix)
        suffix = f" of {execution.node}" if len(schemas) > 1 else ""
        for artifact in _artifacts_to_read(execution):
            try:
                values |= _read_files(artifact, suffix)
            except (FeederError, OSError) as error:
                notes.append(str(error))
    return Facts(subject, values, tuple(notes))


def _artifacts_to_read(execution: Execution) -> Iterator[Artifact]:
    for key, artifacts in execution.outputs.items():
        if key not in _OF_TRANSFORM:
            yield from artifacts


def _makes_schema(execution: Execution) -> bool:
    return any(artifact.type_name == _SCHEMA for artifact in _artifacts_to_read(execution))


def _is_source(artifact: Artifact) -> bool:
    """Returns True for Examples that an ExampleGen ingested."""
    return artifact.type_name == EXAMPLES and "input_fingerprint" in artifact.properties


def _settings(execution: Execution) -> Iterator[Fact]:
    """Yields the execution properties, and the base model."""
    for name, value in sorted(execution.properties.items()):
        if name == "schedule":
            yield ("schedule", execution.node), _format_schedule(value)
        elif name not in _OF_EXAMPLES and not name.startswith("__"):
            for path, leaf in flatten(value, name):
                yield _locate(execution.node, name, path), leaf
    for artifact in execution.inputs.get("base_model", ()):
        yield BASE_MODEL, f"model {artifact.id}"


def _locate(node: str, name: str, path: str) -> tuple[str, str]:
    if path.rpartition(".")[2] in _CODE:
        return "code", f"{node}.{path}"
    return "strategy" if name == "strategy" else "properties", f"{node}.{path}"


def _format_schedule(schedule: Any) -> str:
    """Returns a schedule in its text notation if it is one of this suite."""
    try:
        return str(parse_schedule(schedule))
    except FeederError:
        return str(schedule)


def _properties(artifact: Artifact, suffix: str) -> Iterator[Fact]:
    """Yields facts from the properties of an output."""
    properties = artifact.properties
    if "tfx_version" in properties:
        yield ("environment", "tfx"), properties["tfx_version"]
    if _is_source(artifact):
        for name, value in _source(properties):
            yield ("data", f"{name}{suffix}"), value
    elif artifact.type_name == HISTORY:
        for name, value in sorted(properties.items()):
            if name.startswith(_FINAL):
                yield ("metrics", f"training: {name.removeprefix(_FINAL)}"), value
            elif name not in (*_OF_EXECUTION, *_OF_TFX):
                yield ("code" if name in (GIT_COMMIT, GIT_DIRTY) else "training", name), value
    elif artifact.type_name == BLESSING:
        yield ("outcome", "blessed"), bool(properties.get("blessed"))
        if "baseline_model_id" in properties:
            yield ("outcome", "compared with"), f"model {properties['baseline_model_id']}"
    elif artifact.type_name == PUSHED and properties.get("pushed"):
        yield ("outcome", "pushed version"), properties.get("pushed_version", "")


def _source(properties: Mapping[str, Any]) -> Iterator[tuple[str, Value]]:
    """Yields the span of Examples, the split sizes and the input fingerprints.

    TFX writes a fingerprint as ``split:all,num_files:1,total_bytes:41550,xor_checksum:17955``, one
    line for each split of the input.
    """
    if "span" in properties:
        yield "span", properties["span"]
    for name, value in sorted(properties.items()):
        if name.startswith(_COUNT):
            yield f"examples in {name.removeprefix(_COUNT)}", value
    for line in str(properties["input_fingerprint"]).splitlines():
        split, _, rest = line.removeprefix("split:").partition(",")
        for part in rest.split(","):
            name, _, value = part.partition(":")
            yield f"input {split}: {name.replace('_', ' ')}", value


def _read_files(artifact: Artifact, suffix: str) -> list[Fact]:
    """Returns facts from the files of an artifact; none for most types.

    Args:
        artifact: The artifact.
        suffix: Suffix of the names of a schema's facts.
    """
    reader = _READERS.get(artifact.type_name)
    if reader is None:
        return []
    if artifact.files_missing:
        raise DataError(f"The files of {artifact.type_name} {artifact.id} are missing.")
    facts = reader(artifact.path)
    return [
        ((section, f"{name}{suffix}" if section == "schema" else name), value)
        for (section, name), value in facts
    ]


def _schema(folder: Path) -> Iterator[Fact]:
    content = (folder / _SCHEMA_FILE).read_bytes()
    yield ("schema", "hash"), hashlib.sha256(content).hexdigest()[:_HASH_DIGITS]
    try:
        schema = text_format.Parse(content, schema_pb2.Schema())
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise DataError(f"{folder / _SCHEMA_FILE} is not a schema: {error}") from error
    for feature in schema.feature:
        name = feature.name
        feature.ClearField("name")
        yield ("schema", f"feature {name}"), text_format.MessageToString(feature, as_one_line=True)


def _history(folder: Path) -> Iterator[Fact]:
    for name, value in training_history.read(folder).environment.items():
        yield ("code" if name in (GIT_COMMIT, GIT_DIRTY) else "environment", name), value


def _evaluation(folder: Path) -> Iterator[Fact]:
    for row in read_evaluation(folder).rows:
        yield ("metrics", f"{row.metric} on {row.slice}"), row.candidate


_READERS: Mapping[str, Callable[[Path], Iterator[Fact]]] = {
    EVALUATION: _evaluation,
    HISTORY: _history,
    _SCHEMA: _schema,
}
