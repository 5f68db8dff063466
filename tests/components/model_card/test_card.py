"""A card says what the records of a pushed model say, and hashes what is served."""

import hashlib
import json
from pathlib import Path

import pytest

from tests import factories
from tests.mlmd_store import write_evaluation
from tfx_feeder.common.errors import DataError
from tfx_feeder.components.model_card.card import PushedModelInfo, make_card, write_card
from tfx_feeder.schemas import model_card, training_history
from tfx_feeder.schemas.evaluation import SliceRow
from tfx_feeder.schemas.model_card import LineageEntry


@pytest.fixture
def pushed(tmp_path: Path) -> PushedModelInfo:
    served, archive = tmp_path / "serving" / "7", tmp_path / "archive"
    for folder in (served, archive):
        folder.mkdir(parents=True)
        (folder / "saved_model.pb").write_bytes(str(folder).encode())
    return PushedModelInfo(
        version="7",
        destination=str(served),
        archive=archive,
        pipeline="p",
        run_id="r",
        lineage=(LineageEntry("model", 3, "Model", "/model/3"),),
        blessed=True,
        evaluation=_evaluation(tmp_path / "evaluation"),
        history=_history(tmp_path / "history"),
        intended_slices=("label",),
        reason="a person said so",
    )


def _evaluation(folder: Path) -> Path:
    folder.mkdir()
    metrics = {"": {"": {"accuracy": 0.75}}}
    write_evaluation(folder, metrics, eval_config={"evalConfig": {"metricsSpecs": [{}]}})
    return folder


def _history(folder: Path) -> Path:
    environment = {"keras": "3", "git_commit": "01", "git_dirty": "yes"}
    history = factories.history(strategy="mirrored", num_examples=442, environment=environment)
    training_history.write(history, folder)
    return folder


def test_the_card_lies_beside_the_model_and_in_its_record(
    pushed: PushedModelInfo, tmp_path: Path
) -> None:
    card = write_card(pushed, tmp_path / "record")
    assert model_card.read(pushed.destination) == card
    assert model_card.read(tmp_path / "record") == card


def test_it_says_what_the_records_say(pushed: PushedModelInfo) -> None:
    card = make_card(pushed)
    assert (card.pushed_version, card.pipeline, card.run_id) == ("7", "p", "r")
    assert card.lineage == pushed.lineage
    assert (card.intended_slices, card.reason) == (("label",), "a person said so")
    assert card.evaluation
    assert card.evaluation.blessed
    assert card.evaluation.rows == (SliceRow("all examples", None, "accuracy", 0.75),)
    assert card.evaluation.eval_config == {"metricsSpecs": [{}]}
    assert card.training
    assert (card.training.strategy, card.training.num_examples) == ("mirrored", 442)
    assert card.training.environment["git_commit"] == "01"


def test_what_is_served_is_hashed_and_an_older_card_is_not_part_of_it(
    pushed: PushedModelInfo, tmp_path: Path
) -> None:
    first = write_card(pushed, tmp_path / "record")
    served = str(Path(pushed.destination)).encode()
    assert first.files == {"saved_model.pb": hashlib.sha256(served).hexdigest()}
    assert write_card(pushed, tmp_path / "record").files == first.files


def test_a_model_served_elsewhere_has_its_card_in_the_record(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    (archive / "saved_model.pb").write_bytes(b"graph")
    pushed = PushedModelInfo("v1", "projects/p/models/m/versions/v1", archive)
    card = write_card(pushed, tmp_path / "record")
    assert list(card.files) == ["saved_model.pb"]
    assert (card.evaluation, card.training) == (None, None)
    assert model_card.read(tmp_path / "record") == card


def test_an_evaluation_without_its_settings_has_none(pushed: PushedModelInfo) -> None:
    assert pushed.evaluation
    (pushed.evaluation / "eval_config.json").unlink()
    card = make_card(pushed)
    assert card.evaluation
    assert card.evaluation.eval_config == {}


@pytest.mark.parametrize("text", ["", "[]", json.dumps({"other": 1})])
def test_damaged_settings_are_an_error(pushed: PushedModelInfo, text: str) -> None:
    assert pushed.evaluation
    (pushed.evaluation / "eval_config.json").write_text(text)
    with pytest.raises(DataError, match=r"eval_config\.json"):
        make_card(pushed)
