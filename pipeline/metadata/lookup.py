"""Looks up runs, models and artifacts by the names that users type."""

from collections.abc import Iterable, Mapping

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.models import (
    BLESSING,
    MODEL,
    PUSHED,
    ModelVersion,
    served_ids,
    to_model_versions,
)
from tfx_feeder.pipeline.metadata.types import Artifact, Run
from tfx_feeder.schemas.properties import WITHDRAWN

_MAX_ID_DIGITS = 18
_SHOWN = 5
"""Number of candidates listed in an error message."""


def find_run(lineage: Lineage, text: str) -> Run:
    """Finds a run.

    Args:
        lineage: Lineage of the store.
        text: Id of the run, a unique prefix of it, ``latest`` or ``previous``.

    Raises:
        ConfigError: No run or several runs match.
    """
    ids = lineage.run_ids()
    recent = {"latest": ids[-1:], "previous": ids[-2:-1]}
    matching = recent[text] if text in recent else _matching(text, ids)
    run = lineage.run(matching[0]) if len(matching) == 1 else None
    if run is None:
        raise _unknown("run", text, matching or ids)
    return run


def find_model(lineage: Lineage, text: str) -> ModelVersion:
    """Finds a model.

    Args:
        lineage: Lineage of the store.
        text: Id of the model, a version that it was pushed as, the id of the run that trained it
            or a unique prefix of that, ``latest``, ``live``, or ``blessed`` for the last blessed
            model that is not withdrawn.

    Raises:
        ConfigError: No model or several models match.
    """
    models = {model.id: model for model in lineage.artifacts(MODEL)}
    for found in (_by_word, _by_number, _by_run):
        ids = sorted({model for model in found(lineage, text, models) if model in models})
        if len(ids) == 1:
            return to_model_versions(lineage, [models[ids[0]]])[0]
        if ids:
            raise _unknown("model", text, map(str, ids))
    raise _unknown("model", text, (str(model) for model in models))


def find_artifact(lineage: Lineage, text: str) -> Artifact:
    """Finds an artifact.

    Args:
        lineage: Lineage of the store.
        text: Id or URI of the artifact.

    Raises:
        ConfigError: No artifact matches.
    """
    found = lineage.artifact(int(text)) if is_id(text) else None
    if found is None:
        uri = text.rstrip("/")
        found = next((a for a in reversed(lineage.artifacts()) if a.uri.rstrip("/") == uri), None)
    if found is None:
        raise ConfigError(
            "artifact",
            received=text,
            expected="the id or URI of an artifact in the store",
            fix="List them with `tfx-feeder artifacts`.",
        )
    return found


def is_id(text: str) -> bool:
    """Returns True if a text is a number that ML Metadata can hold as an id."""
    return text.isdecimal() and len(text) <= _MAX_ID_DIGITS


def _by_word(lineage: Lineage, text: str, models: Mapping[int, Artifact]) -> Iterable[int]:
    if text == "latest":
        return list(models)[-1:]
    if text == "blessed":
        blessings = [b for b in lineage.artifacts(BLESSING) if b.properties.get("blessed")]
        blessed = [b.properties.get("current_model_id", 0) for b in blessings]
        return [i for i in blessed if i in models and not models[i].properties.get(WITHDRAWN)][-1:]
    if text == "live":
        # With several serving locations, the one with the latest push.
        return _pushed_models(lineage, sorted(served_ids(lineage))[-1:])
    return []


def _by_number(lineage: Lineage, text: str, models: Mapping[int, Artifact]) -> Iterable[int]:
    if is_id(text) and int(text) in models:
        return [int(text)]
    versions = [a.id for a in lineage.artifacts(PUSHED) if _version(a) == text]
    return _pushed_models(lineage, versions)


def _by_run(lineage: Lineage, text: str, models: Mapping[int, Artifact]) -> Iterable[int]:
    matching = _matching(text, lineage.run_ids())
    if len(matching) > 1:
        raise _unknown("model", text, matching)
    runs = filter(None, map(lineage.run, matching))
    return [artifact.id for run in runs for artifact in run.outputs(MODEL)]


def _version(pushed: Artifact) -> str | None:
    return pushed.properties.get("pushed_version") if pushed.properties.get("pushed") else None


def _pushed_models(lineage: Lineage, pushed: list[int]) -> list[int]:
    graph = lineage.upstream(pushed, stop_at=(MODEL, BLESSING))
    producers = filter(None, map(graph.producer, pushed))
    return [artifact.id for producer in producers for artifact in producer.input_artifacts]


def _matching(text: str, ids: list[str]) -> list[str]:
    return [text] if text in ids else [run_id for run_id in ids if text and run_id.startswith(text)]


def _unknown(kind: str, text: str, existing: Iterable[str]) -> ConfigError:
    names = list(existing)
    shown = ", ".join(names[-_SHOWN:])
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ConfigError(
        kind,
        received=text,
        expected=f"one of {shown}{more}" if names else f"none: the store has no {kind}",
        fix=f"List them with `tfx-feeder {kind}s`." if names else "Run a pipeline first.",
    )
