"""The model card's file: exact, versioned, strict JSON."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest

from tfx_feeder.common.errors import DataError
from tfx_feeder.schemas.evaluation import SliceRow
from tfx_feeder.schemas.model_card import (
    FILE_NAME,
    VERSION,
    EvaluationSummary,
    LineageEntry,
    ModelCardDocument,
    TrainingSummary,
    read,
    write,
)


def _card(**changes: Any) -> ModelCardDocument:
    card = ModelCardDocument(
        pushed_version="1700000000",
        destination="/serving/größe/1700000000",
        pipeline="p",
        run_id="r",
        created_at="2026-01-01T00:00:00+00:00",
        files={"saved_model.pb": "ab", "variables/variables.index": "cd"},
        lineage=(
            LineageEntry("examples", 4, "Examples", "/examples/4", span=4),
            LineageEntry("examples", 9, "Examples", "/examples/9", span=2),
            LineageEntry("model", 10, "Model", "/model/10"),
        ),
        evaluation=EvaluationSummary(
            blessed=True,
            missed=(),
            rows=(SliceRow("all examples", 3, "accuracy", 0.9, 0.8),),
            eval_config={"metricsSpecs": []},
        ),
        training=TrainingSummary(
            schedule={"phases": []},
            policy="schedule",
            strategy="sequential",
            num_examples=3,
            started_at="2026-01-01T00:00:00+00:00",
            seconds=1.5,
            epochs=1,
            metrics={"loss": 0.1},
            code_fingerprint="ef",
            environment={"git_commit": "01", "git_dirty": "no"},
        ),
        intended_slices=("label",),
        reason="a person said so",
    )
    return dataclasses.replace(card, **changes)


@pytest.mark.parametrize("card", [_card(), _card(evaluation=None, training=None, reason="")])
def test_round_trip_is_exact(tmp_path: Path, card: ModelCardDocument) -> None:
    path = write(card, tmp_path / "new")
    assert path == tmp_path / "new" / FILE_NAME
    assert read(path.parent) == card


def test_it_tells_its_spans_and_what_it_was_made_of() -> None:
    card = _card()
    assert card.spans == (2, 4)
    assert card.origin("examples") == card.lineage[0]
    assert card.origin("baseline") is None


def test_numbers_that_json_lacks_survive(tmp_path: Path) -> None:
    row = SliceRow("all examples", None, "mse", math.inf, -math.inf)
    card = _card()
    assert card.evaluation
    assert card.training
    card = dataclasses.replace(
        card,
        evaluation=dataclasses.replace(card.evaluation, rows=(row,)),
        training=dataclasses.replace(card.training, metrics={"loss": math.inf}),
    )
    path = write(card, tmp_path)
    assert "Infinity" not in path.read_text()
    assert read(tmp_path) == card


@pytest.mark.parametrize("key", ["files", "lineage", "evaluation", "pushed_version"])
def test_a_damaged_file_is_refused(tmp_path: Path, key: str) -> None:
    path = write(_card(), tmp_path)
    document = json.loads(path.read_text())
    document[key] = 3
    if key == "pushed_version":
        del document[key]
    path.write_text(json.dumps(document))
    with pytest.raises(DataError, match=f"{FILE_NAME} is damaged"):
        read(tmp_path)


def test_a_newer_version_asks_for_an_upgrade(tmp_path: Path) -> None:
    path = write(_card(), tmp_path)
    path.write_text(path.read_text().replace(f'"version": {VERSION}', f'"version": {VERSION + 1}'))
    with pytest.raises(DataError, match=f"has version {VERSION + 1}.* Upgrade"):
        read(tmp_path)
