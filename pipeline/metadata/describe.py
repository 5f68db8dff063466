"""Words for what a store holds: states, artifacts, errors, where files were read from."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any
from urllib.parse import urlsplit

from rich.markup import escape

from tfx_feeder.common.durations import format_elapsed
from tfx_feeder.pipeline.metadata import models
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
from tfx_feeder.schemas.properties import WITHDRAWN

_STATES = {
    COMPLETE: "[green]complete[/]",
    CACHED: "[dim]cached[/]",
    FAILED: "[bold red]failed[/]",
    RUNNING: "[yellow]running[/]",
    CANCELED: "[yellow]cancelled[/]",
}
_DELETED = ("DELETED", "MARKED_FOR_DELETION")
NO_ERROR_TEXT = (
    "ML Metadata holds no text of the error. It stands in the log of whatever ran the pipeline."
)
# Properties of executions that name what was read from outside the store.
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
class Item:
    """An artifact in brief.

    Args:
        id: In the store.
        type_name: Such as ``Model``.
        uri: Where its files are.
        created: When it was registered; UTC.
        state: ``LIVE``, ``DELETED`` and so on; empty where none was written.
        gone: Whether its files are not there any more. Files on other machines count as there.
        facts: What is worth knowing about it, such as ``span 3``.
        properties: Declared and custom ones.
    """

    id: int
    type_name: str
    uri: str
    created: datetime
    state: str
    gone: bool
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
        return f"{self.name}{facts}{' [red]files gone[/]' if self.gone else ''}"


def item(artifact: Artifact) -> Item:
    """Describes an artifact in brief."""
    return Item(
        id=artifact.id,
        type_name=artifact.type_name,
        uri=artifact.uri,
        created=artifact.created,
        state=artifact.state,
        gone=files_gone(artifact),
        facts=tuple(_facts(artifact)),
        properties=artifact.properties,
    )


def files_gone(artifact: Artifact) -> bool:
    """Says whether the files of an artifact are known not to be there."""
    if artifact.state in _DELETED:
        return True
    return is_local(artifact.uri) and not artifact.path.exists()


def is_local(uri: str) -> bool:
    """Says whether a URI names something on this machine."""
    return bool(uri) and urlsplit(uri).scheme in ("", "file")


def state(name: str) -> str:
    """Returns the word for a state; markup."""
    return _STATES.get(name) or escape(name.lower())


def elapsed(name: str, seconds: float, since: datetime) -> str:
    """Returns how long something in a state took, or has been taking."""
    if name == CACHED:
        return ""
    if name == RUNNING:
        return f"{format_elapsed((datetime.now(timezone.utc) - since).total_seconds())} so far"
    return format_elapsed(seconds)


def error(execution: Execution) -> str:
    """Returns what is known about why an execution failed; empty where it did not."""
    if execution.state != FAILED:
        return ""
    try:
        return str(json.loads(execution.properties[RESULT_PROPERTY])["resultMessage"])
    except (KeyError, TypeError, ValueError):
        return NO_ERROR_TEXT


def sources(execution: Execution) -> Iterator[tuple[str, str]]:
    """Yields what an execution read from outside the store, as pairs of a word and a path.

    Those are input files, modules and functions, as the properties name them.
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
            yield "blessed" if properties.get("blessed") else "not blessed"
        case models.PUSHED:
            version = properties.get("pushed_version")
            yield f"version {version}" if properties.get("pushed") else "not pushed"
        case "InfraBlessing" if "blessing_status" in properties:
            yield str(properties["blessing_status"]).lower().replace("_", " ")
        case models.HISTORY:
            if "epochs" in properties:
                yield f"{properties['epochs']} epochs"
        case models.MODEL:
            if properties.get(WITHDRAWN):
                yield f"withdrawn: {properties[WITHDRAWN]}"
