"""Collects what is needed to reproduce a run: commands, versions, seeds, hashes, settings."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.schedules.parser import parse_schedule, serialize_schedule
from tfx_feeder.components.feeder_trainer.schedules.schedule import Schedule
from tfx_feeder.pipeline.metadata.env import without_password
from tfx_feeder.pipeline.metadata.facts import facts_of_run
from tfx_feeder.pipeline.metadata.models import ModelVersion
from tfx_feeder.pipeline.metadata.types import Execution, Run
from tfx_feeder.pipeline.report.facts import Reproduction, Unavailable, read_files
from tfx_feeder.schemas import model_card

REFERENCE_MODELS = (
    "tfx_feeder.pipeline.model.create_model",
    "tfx_feeder.pipeline.cifar10.create_model",  # Release 0.1.0.
)
MAX_SETTING_CHARS = 4_000
"""Maximum displayed length of a setting."""
_CARD = "tfx_feeder.ModelCard"
_SEED = re.compile(r"(^|[._])seed$", re.IGNORECASE)
_PACKAGES = {"tfx_feeder": "tfx-feeder"}


def collect_reproduction(run: Run, model: ModelVersion | None, store: str) -> Reproduction:
    """Collects what is needed to reproduce a run.

    Args:
        run: Run with the artifacts of its executions.
        model: Model of the run; ``None`` if it has none.
        store: Name of the store as the user gave it.
    """
    facts = facts_of_run(run).values
    pins = {name: str(v) for (section, name), v in facts.items() if section == "environment"}
    card = read_files(next(run.outputs(_CARD), None), model_card.read)
    return Reproduction(
        commands=tuple(_commands(run, model, pins, store)),
        pins=dict(sorted(pins.items())),
        seeds={name: str(v) for (_, name), v in facts.items() if _SEED.search(name)},
        hashes={
            _subject(section, name): str(value)
            for (section, name), value in facts.items()
            if section == "code"
            or (section, name) == ("schema", "hash")
            or _is_input(section, name)
        },
        files={} if isinstance(card, Unavailable) else card.files,
        settings={e.node: settings for e in run.executions if (settings := _settings(e))},
    )


def _is_input(section: str, name: str) -> bool:
    return section == "data" and name.startswith("input ")


def _subject(section: str, name: str) -> str:
    return name.replace("_", " ") if section == "code" else f"{section}: {name}"


def _commands(
    run: Run, model: ModelVersion | None, pins: Mapping[str, str], store: str
) -> Iterator[tuple[str, str]]:
    packages = {_PACKAGES.get(n, n): v for n, v in pins.items() if n != "python"}
    if packages:
        python = f" on Python {pins['python']}" if "python" in pins else ""
        pinned = [shlex.quote(f"{name}=={version}") for name, version in sorted(packages.items())]
        yield f"The same packages{python}", f"pip install {' '.join(pinned)}"
    command = _runner_command(run)
    if command:
        yield "The same run", command
    # Readers of the page set the password in the environment.
    store_option = f"--store {shlex.quote(without_password(store, mask=''))}"
    yield "This page", f"tfx-feeder report {shlex.quote(run.id)} {store_option}"
    if model is not None:
        yield "Why the model was pushed or not", f"tfx-feeder why {model.model.id} {store_option}"
        yield "Lineage of the model", f"tfx-feeder lineage {model.model.id} {store_option}"
    if model is not None and model.pushes:
        pushed = shlex.quote(model.pushes[-1].destination)
        yield "Integrity of the pushed files", f"tfx-feeder verify {pushed}"


def _runner_command(run: Run) -> str | None:
    """Returns the command line of the reference pipeline; ``None`` for any other pipeline."""
    by_type = {e.type_name.rpartition(".")[2]: e.properties for e in run.executions}
    reader, trainer = by_type.get("ImageExampleGen"), by_type.get("FeederTrainer")
    if not reader or not trainer or trainer.get("model_fn") not in REFERENCE_MODELS:
        return None
    folder = Path(str(reader.get("input_base", "")))
    # Built-in data sets are stored below the root, under their name.
    data = folder.name if folder.parent.name == "data" else str(folder)
    try:
        schedule = parse_schedule(str(trainer["schedule"]))
        strategy = json.loads(trainer["strategy"])
    except (ConfigError, KeyError, ValueError):
        return None
    name = strategy.get("name")
    options = [
        ("data", data),
        ("span", reader.get("span")),
        (
            "schedule",
            str(schedule) if isinstance(schedule, Schedule) else serialize_schedule(schedule),
        ),
        ("strategy", name),
        *(
            (option.replace("_", "-"), strategy.get(option))
            for option in ("cluster", "lr_scaling", "time_to_train", "max_cost")
        ),
        # Key of earlier versions, which had no effect on asynchronous parameter servers.
        ("lr-scaling", strategy.get("learning_rate_rule") if name != "parameter_server" else None),
        *(("device-cost", f"{n}={v}") for n, v in strategy.get("device_cost_per_hour", {}).items()),
        *(("candidate", name) for name in strategy.get("candidates", ())),
    ]
    arguments = [f"--{n} {shlex.quote(str(v))}" for n, v in options if v not in (None, "none")]
    return " ".join(["python local_runner.py", *arguments])


def _settings(execution: Execution) -> Mapping[str, str]:
    shown = {
        name: _text(value)[:MAX_SETTING_CHARS]
        for name, value in sorted(execution.properties.items())
        if not name.startswith("__")
    }
    return {name: text for name, text in shown.items() if text not in ("", "null", "{}", "[]")}


def _text(value: Any) -> str:
    """Returns JSON text indented, and any other value as plain text."""
    try:
        return json.dumps(json.loads(value), indent=2, ensure_ascii=False)
    except (TypeError, ValueError):
        return str(value)
