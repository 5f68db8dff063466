"""What there is to say about a run or a model, as flat names with values, for comparing."""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

from tfx_feeder.common.errors import FeederError
from tfx_feeder.components.feeder_trainer.schedules.parser import parse_schedule
from tfx_feeder.pipeline.metadata import fact_files
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.models import (
    BLESSING,
    EXAMPLES,
    HISTORY,
    MODEL,
    PUSHED,
    ModelVersion,
)
from tfx_feeder.pipeline.metadata.types import COMPLETE, SUCCEEDED, Artifact, Execution, Run
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
"""Where facts belong, in the order in which they are shown."""

Value: TypeAlias = str | int | float | bool
Fact: TypeAlias = tuple[tuple[str, str], Value]
"""Section and name, and the value."""

_COUNT, _FINAL = "num_examples_", "final_"
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
"""Properties of an execution that those of its Examples tell too."""
_OF_EXECUTION = ("code_fingerprint", "policy", "strategy")
"""Properties of a history that its execution has too."""
_OF_TFX = ("is_external", "tfx_version")


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known about a run or a model.

    Args:
        subject: Which it is, such as ``run 2026-11-24T08:46:58.936349``.
        values: By section and name.
        notes: What could not be read, in sentences.
    """

    subject: str
    values: Mapping[tuple[str, str], Value]
    notes: tuple[str, ...] = ()


def facts_of_run(run: Run) -> Facts:
    """Gathers what the executions of a run say."""
    made = (execution for execution in run.executions if execution.state in SUCCEEDED)
    return _gather(f"run {run.id}", made, (("outcome", "state"), run.state.lower()))


def facts_of_model(lineage: Lineage, version: ModelVersion) -> Facts:
    """Gathers what led to a model, and what became of it."""
    model = version.model
    origins = lineage.upstream([model.id], stop_at=[MODEL]).executions.values()
    # What reads it under another key is about another model.
    users = (
        execution
        for execution in lineage.users([model.id]).executions.values()
        if execution.state == COMPLETE and model in execution.inputs.get("model", ())
    )
    trained = (("outcome", "trained by run"), version.run_id)
    return _gather(f"model {model.id}", [*origins, *users], trained)


def flatten(value: Any, path: str = "") -> Iterator[tuple[str, Value]]:
    """Yields the leaves of a nested value with their paths, such as ``splits[0].name``.

    Text that holds a JSON object or list is opened too; nulls and empty values are left out.
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
    sources = {execution.node for execution in in_order if any(map(_is_source, _made(execution)))}
    values, notes = dict(known), []
    for execution in in_order:
        values |= _settings(execution)
        suffix = f" of {execution.node}" if len(sources) > 1 else ""
        for artifact in _made(execution):
            values |= _properties(artifact, suffix)
            try:
                values |= fact_files.read(artifact)
            except (FeederError, OSError) as error:
                notes.append(str(error))
    return Facts(subject, values, tuple(notes))


def _made(execution: Execution) -> list[Artifact]:
    return [artifact for group in execution.outputs.values() for artifact in group]


def _is_source(artifact: Artifact) -> bool:
    """Whether Examples were read from outside, and not made of others."""
    return artifact.type_name == EXAMPLES and "input_fingerprint" in artifact.properties


def _settings(execution: Execution) -> Iterator[Fact]:
    """Yields what an execution was called with."""
    for name, value in sorted(execution.properties.items()):
        if name == "schedule":
            yield ("schedule", execution.node), _in_notation(value)
        elif name not in _OF_EXAMPLES and not name.startswith("__"):
            for path, leaf in flatten(value, name):
                yield _place(execution.node, name, path), leaf
    for artifact in execution.inputs.get("base_model", ()):
        yield ("training", "base model"), f"model {artifact.id}"


def _place(node: str, name: str, path: str) -> tuple[str, str]:
    if path.rpartition(".")[2] in _CODE:
        return "code", f"{node}.{path}"
    return "strategy" if name == "strategy" else "properties", f"{node}.{path}"


def _in_notation(schedule: Any) -> str:
    """Writes a schedule as a user would, where it is one of this suite."""
    try:
        return str(parse_schedule(schedule))
    except FeederError:
        return str(schedule)


def _properties(artifact: Artifact, suffix: str) -> Iterator[Fact]:
    """Yields what the properties of an output say."""
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
    """Yields the span of Examples, the sizes of their splits and the fingerprints of the input.

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
