"""Thousands of invented texts and documents for every parser."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzzing import OUTCOMES, well_behaved
from tfx_feeder.common.durations import format_duration, parse_duration
from tfx_feeder.components.feeder_trainer.distribution.cluster import ClusterTask
from tfx_feeder.components.feeder_trainer.schedules.length import Length
from tfx_feeder.components.feeder_trainer.schedules.parser import parse_schedule
from tfx_feeder.components.feeder_trainer.schedules.preview import preview
from tfx_feeder.pipeline.orchestration import compiled_pipeline
from tfx_feeder.pipeline.orchestration.resources import Resources
from tfx_feeder.pipeline.retraining.policy import RunBudget
from tfx_feeder.pipeline.retraining.triggers import PerformanceDrop
from tfx_feeder.pipeline.retraining.window import Window
from tfx_feeder.schemas import model_card, training_history

PIECES = st.one_of(
    st.sampled_from(["0.01", "32", "10", "1e-3", "1e999", "nan", "-1", "0", "²", "١", "9" * 20]),
    st.sampled_from(["9" * 5_000, "1" * 400, "a" * 3_000, "[" * 2_000, "\0", "\x1b[2J", "\ud800"]),
    st.sampled_from(
        [":", "x", ",", "@", " ", "=", "/", "{", "}", "[", "]", '"', "-", "\n", "&a *a"]
    ),
    st.sampled_from(
        ["ep", "steps", "ex", "d", "h", "m", "s", "Gi", "Mi", "cpu:", "memory:", "GPU:"]
    ),
    st.sampled_from(["on_plateau", "noise_scale", "batch_warmup", "decay_to_batch", "max", "end"]),
    st.sampled_from(["rolling:", "weighted:", "latest", "accuracy>=", "loss<=", ".yaml", ".json"]),
    st.text(max_size=4),
)
TEXTS = st.lists(PIECES, max_size=12).map("".join)

PARSERS: dict[str, Callable[[str], Any]] = {
    "schedule": lambda text: preview(parse_schedule(text), 10_000),
    "length": Length.from_value,
    "duration": lambda text: format_duration(parse_duration("x", text)),
    "resources": Resources.parse,
    "budget": RunBudget.parse,
    "window": Window.parse,
    "performance": PerformanceDrop.parse,
    "TF_CONFIG": lambda text: ClusterTask.from_env({"TF_CONFIG": text}),
}


@pytest.mark.parametrize("name", PARSERS)
@settings(max_examples=600)
@given(TEXTS)
def test_invented_texts(name: str, text: str) -> None:
    with well_behaved():
        PARSERS[name](text)


NUMBERS = st.one_of(
    st.integers(-2, 40),
    st.integers(),
    st.sampled_from([10**400, -(10**400)]),  # Python refuses to read 5,000 digits.
    st.floats(),
)
LEAVES = st.none() | st.booleans() | NUMBERS | TEXTS
KEYS = st.sampled_from(
    [
        *("phases", "steps_per_epoch", "policy", "learning_rate", "batch_size", "length", "start"),
        *(
            "max_batch_size",
            "factor",
            "patience",
            "monitor",
            "mode",
            "lr_schedule",
            "kind",
            "final",
        ),
        *("steps", "rates", "optimizer", "min_delta", "end", "over", "scaling", "cluster", "task"),
    ]
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(KEYS | LEAVES, inner, max_size=5)
        | st.tuples(NUMBERS, NUMBERS, NUMBERS | TEXTS)
    ),
    max_leaves=12,
)
SCHEDULES = st.fixed_dictionaries(
    {"phases": st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), max_size=3) | VALUES},
    optional={"steps_per_epoch": NUMBERS, "x": VALUES},
)
NAMES = st.sampled_from(["decay_to_batch", "batch_warmup", "on_plateau", "noise_scale", "none"])
POLICIES = st.fixed_dictionaries(
    {"policy": NAMES},
    optional={
        "start": st.tuples(st.just(0.1), st.integers(1, 99), st.integers(1, 9)) | VALUES,
        "lr_schedule": st.just({"kind": "cosine", "learning_rate": 0.1, "final": 0.1}) | VALUES,
        "batch_size": st.just(32) | VALUES,
        "length": st.just("9ep") | VALUES,
        "max_batch_size": st.just(64) | VALUES,
        "end_batch_size": st.just(64) | VALUES,
        "steps_per_epoch": VALUES,
        "optimizer": VALUES,
        "factor": VALUES,
        "patience": VALUES,
        "mode": VALUES,
    },
)


@pytest.mark.slow
@settings(max_examples=2_000)
@given(VALUES | SCHEDULES | POLICIES)
def test_invented_schedules(value: Any) -> None:
    with well_behaved():
        preview(parse_schedule(value), 10_000)


@settings(max_examples=500)
@given(TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary(max_size=50))
def test_invented_schedule_files(content: bytes) -> None:
    with tempfile.NamedTemporaryFile(suffix=".yaml") as file:
        file.write(content)
        file.flush()
        with well_behaved():
            preview(parse_schedule(file.name), 10_000)


DOCUMENTS = {
    "history.json": ("tfx_feeder.training_history", training_history.read),
    "model_card.json": ("tfx_feeder.model_card", model_card.read),
    "pipeline.json": (
        compiled_pipeline.FORMAT,
        lambda folder: compiled_pipeline.read(folder / "pipeline.json"),
    ),
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize("name", DOCUMENTS)
@settings(max_examples=300)
@given(
    st.dictionaries(
        st.sampled_from(["pipeline", "resources", "epochs", "schema"]), JSON, max_size=4
    ),
    st.integers(0, 6),
    st.none() | TEXTS,
)
def test_invented_documents(
    name: str, content: dict[str, Any], version: int, text: str | None
) -> None:
    format_name, read = DOCUMENTS[name]
    document = json.dumps({"format": format_name, "version": version, **content})
    with tempfile.TemporaryDirectory() as folder:
        data = (document if text is None else text).encode("utf-8", "surrogatepass")
        Path(folder, name).write_bytes(data)
        with well_behaved():
            read(Path(folder))


def test_the_outcomes() -> None:
    print(f"fuzzed texts: {dict(OUTCOMES)}")
