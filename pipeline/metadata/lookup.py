"""Finds the run, model or artifact that a user names."""

from collections.abc import Iterable, Mapping

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.models import (
    BLESSING,
    MODEL,
    PUSHED,
    ModelVersion,
    describe,
    served_ids,
)
from tfx_feeder.pipeline.metadata.types import SUCCEEDED, Artifact, Run
from tfx_feeder.schemas.properties import WITHDRAWN

_SHOWN = 5
"""How many of the things that there are an error names."""


def find_run(lineage: Lineage, text: str) -> Run:
    """Finds a run.

    Args:
        lineage: Of the store.
        text: Its id, the beginning of it, ``latest`` or ``previous``.

    Raises:
        ConfigError: There is no such run, or several.
    """
    ids = lineage.run_ids()
    recent = {"latest": ids[-1:], "previous": ids[-2:-1]}
    fitting = recent[text] if text in recent else _fitting(text, ids)
    run = lineage.run(fitting[0]) if len(fitting) == 1 else None
    if run is None:
        raise _unknown("run", text, fitting or ids)
    return run


def find_model(lineage: Lineage, text: str) -> ModelVersion:
    """Finds a model.

    Args:
        lineage: Of the store.
        text: Its id in the store, a version under which it was pushed, the id of the run that
            trained it or the beginning of that, ``latest``, ``live`` or ``blessed``: the last one
            that was and is not withdrawn.

    Raises:
        ConfigError: There is no such model, or several.
    """
    models = {model.id: model for model in lineage.artifacts(MODEL)}
    for found in (_by_word, _by_number, _by_run):
        ids = sorted({model for model in found(lineage, text, models) if model in models})
        if len(ids) == 1:
            return describe(lineage, [models[ids[0]]])[0]
        if ids:
            raise _unknown("model", text, map(str, ids))
    raise _unknown("model", text, (str(model) for model in models))


def find_artifact(lineage: Lineage, text: str) -> Artifact:
    """Finds an artifact by its id in the store or by its URI.

    Raises:
        ConfigError: There is no such artifact.
    """
    found = lineage.artifact(int(text)) if text.isdecimal() else None
    if found is None:
        uri = text.rstrip("/")
        found = next((a for a in reversed(lineage.artifacts()) if a.uri.rstrip("/") == uri), None)
    if found is None:
        raise ConfigError(
            "artifact",
            received=text,
            expected="the id or the URI of an artifact of the store",
            fix="`tfx-feeder artifacts` lists them.",
        )
    return found


def _by_word(lineage: Lineage, text: str, models: Mapping[int, Artifact]) -> Iterable[int]:
    if text == "latest":
        return list(models)[-1:]
    if text == "blessed":
        blessings = [b for b in lineage.artifacts(BLESSING) if b.properties.get("blessed")]
        blessed = [b.properties.get("current_model_id", 0) for b in blessings]
        return [i for i in blessed if i in models and not models[i].properties.get(WITHDRAWN)][-1:]
    if text == "live":
        # Of several places the one that was pushed to last.
        return _pushed_models(lineage, sorted(served_ids(lineage))[-1:])
    return []


def _by_number(lineage: Lineage, text: str, models: Mapping[int, Artifact]) -> Iterable[int]:
    if text.isdecimal() and int(text) in models:
        return [int(text)]
    versions = [a.id for a in lineage.artifacts(PUSHED) if _version(a) == text]
    return _pushed_models(lineage, versions)


def _by_run(lineage: Lineage, text: str, models: Mapping[int, Artifact]) -> Iterable[int]:
    fitting = _fitting(text, lineage.run_ids())
    if len(fitting) > 1:
        raise _unknown("model", text, fitting)
    made = (e for run_id in fitting for e in lineage.executions(run_id))
    return [
        artifact.id
        for execution in made
        if execution.state in SUCCEEDED
        for group in execution.outputs.values()
        for artifact in group
        if artifact.type_name == MODEL
    ]


def _version(pushed: Artifact) -> str | None:
    return pushed.properties.get("pushed_version") if pushed.properties.get("pushed") else None


def _pushed_models(lineage: Lineage, pushed: list[int]) -> list[int]:
    graph = lineage.upstream(pushed, stop_at=(MODEL, BLESSING))
    makers = [maker for artifact in pushed if (maker := graph.maker(artifact)) is not None]
    return [a.id for maker in makers for group in maker.inputs.values() for a in group]


def _fitting(text: str, ids: list[str]) -> list[str]:
    return [text] if text in ids else [run_id for run_id in ids if text and run_id.startswith(text)]


def _unknown(what: str, text: str, there: Iterable[str]) -> ConfigError:
    names = list(there)
    shown = ", ".join(names[-_SHOWN:])
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ConfigError(
        what,
        received=text,
        expected=f"one of {shown}{more}" if names else f"none: the store has no {what}",
        fix=f"`tfx-feeder {what}s` lists them." if names else "Run a pipeline first.",
    )
