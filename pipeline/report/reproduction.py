"""What it takes to do a run again: commands, versions, seeds, hashes, settings."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tfx_feeder.components.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.schedule import Schedule
from tfx_feeder.components.feeder_trainer.scheduling.notation import read_schedule, write_schedule
from tfx_feeder.pipeline.inspection.models import ModelVersion
from tfx_feeder.pipeline.records import Execution, Run
from tfx_feeder.pipeline.report.facts import Missing, Reproduction
from tfx_feeder.schemas.training_history import History

REFERENCE_MODEL = "tfx_feeder.pipeline.cifar10.create_model"
LONGEST_SETTING = 4_000
"""Characters of a setting that are shown."""
_HASH = re.compile(r"fingerprint|checksum|sha256|module_path|git_|commit", re.IGNORECASE)
_SEED = re.compile(r"(^|[._])seed$", re.IGNORECASE)
_HIDDEN = re.compile(r"^__|^(is_external|tfx_version|stats_dashboard_link)$")
_PACKAGES = {"tfx_feeder": "tfx-feeder"}


def reproduce(
    run: Run, model: ModelVersion | None, history: History | Missing, store: str
) -> Reproduction:
    """Gathers what it takes to do a run again.

    Args:
        run: With the artifacts of its executions.
        model: Its model.
        history: The training of the model.
        store: As the user names it.
    """
    environment = {} if isinstance(history, Missing) else dict(history.environment)
    found = [*_of_executions(run), *_of_artifacts(run)]
    versions = {n: v for n, v in environment.items() if v[:1].isdigit()}
    tfx = {str(v) for _, name, v in _of_artifacts(run) if name == "tfx_version"}
    pins = versions | ({"tfx": ", ".join(sorted(tfx))} if tfx else {})
    hashes = {n: v for n, v in environment.items() if n not in versions}
    for node, name, value in found:
        # The same hash stands in an execution and in what it made.
        if value and _HASH.search(name) and str(value) not in hashes.values():
            hashes[f"{node}: {name}"] = str(value)
    return Reproduction(
        commands=tuple(_commands(run, model, pins, store)),
        pins=dict(sorted(pins.items())),
        seeds={f"{node}: {name}": str(v) for node, name, v in found if _SEED.search(name)},
        hashes=hashes,
        settings={e.node: settings for e in run.executions if (settings := _settings(e))},
    )


def _commands(
    run: Run, model: ModelVersion | None, pins: Mapping[str, str], store: str
) -> Iterator[tuple[str, str]]:
    packages = {_PACKAGES.get(n, n): v for n, v in pins.items() if n != "python" and "," not in v}
    if packages:
        python = f" on Python {pins['python']}" if "python" in pins else ""
        wanted = " ".join(f"{name}=={version}" for name, version in sorted(packages.items()))
        yield f"The same packages{python}", f"pip install {wanted}"
    again = _runner_command(run)
    if again:
        yield "The same run", again
    look = f"--store {shlex.quote(store)}"
    yield "This page", f"tfx-feeder report {shlex.quote(run.id)} {look}"
    if model is not None:
        yield "Why its model was pushed, or not", f"tfx-feeder why {model.model.id} {look}"
        yield "What it was made of", f"tfx-feeder lineage {model.model.id} {look}"
    if model is not None and model.pushes:
        pushed = shlex.quote(model.pushes[-1].destination)
        yield "Whether the pushed files are unchanged", f"tfx-feeder verify {pushed}"


def _runner_command(run: Run) -> str | None:
    """The command line of the reference pipeline; ``None`` for any other."""
    by_type = {e.type_name.rpartition(".")[2]: e.properties for e in run.executions}
    reader, trainer = by_type.get("ImageExampleGen"), by_type.get("FeederTrainer")
    if not reader or not trainer or trainer.get("model_fn") != REFERENCE_MODEL:
        return None
    folder = Path(str(reader.get("input_base", "")))
    # Built-in data lie below the root, under their name.
    data = folder.name if folder.parent.name == "data" else str(folder)
    options = {"data": data, "span": reader.get("span")}
    try:
        schedule = read_schedule(str(trainer["schedule"]))
        fixed = isinstance(schedule, Schedule)
        options["schedule"] = str(schedule) if fixed else write_schedule(schedule)
        strategy = json.loads(trainer["strategy"])
    except (ConfigError, KeyError, ValueError):
        return None
    options["strategy"] = strategy.get("name")
    for name in ("cluster", "learning_rate_rule", "time_to_train", "max_cost"):
        options[name.replace("_", "-")] = strategy.get(name)
    words = [f"--{n} {shlex.quote(str(v))}" for n, v in options.items() if v not in (None, "none")]
    costs = strategy.get("device_cost_per_hour", {}).items()
    words += [f"--cost {shlex.quote(f'{name}={value}')}" for name, value in costs]
    words += [f"--candidate {shlex.quote(name)}" for name in strategy.get("candidates", ())]
    return " ".join(["python local_runner.py", *words])


def _settings(execution: Execution) -> Mapping[str, str]:
    shown = {
        name: _text(value)[:LONGEST_SETTING]
        for name, value in sorted(execution.properties.items())
        if not _HIDDEN.search(name)
    }
    return {name: text for name, text in shown.items() if text not in ("", "null", "{}", "[]")}


def _text(value: Any) -> str:
    parsed = _parsed(value)
    return json.dumps(parsed, indent=2, ensure_ascii=False) if parsed != value else str(value)


def _parsed(value: Any) -> Any:
    """Returns what JSON in a text means; anything else as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _of_executions(run: Run) -> Iterator[tuple[str, str, Any]]:
    """Yields node, name and value of all settings, nested ones too."""
    for execution in run.executions:
        for name, value in execution.properties.items():
            for path, leaf in _leaves(name, _parsed(value)):
                yield execution.node, path, leaf


def _of_artifacts(run: Run) -> Iterator[tuple[str, str, Any]]:
    for execution in run.executions:
        for group in execution.outputs.values():
            for artifact in group:
                for name, value in artifact.properties.items():
                    yield f"{artifact.type_name} {artifact.id}", name, value


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(f"{name}.{key}", inner)
    else:
        yield name, value
