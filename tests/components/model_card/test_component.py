"""ModelCardGenerator as it is declared, and what its executor takes from artifacts."""

from pathlib import Path
from typing import Any

import pytest
from tfx import types
from tfx import v1 as tfx

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.common.mounts import VARIABLE
from tfx_feeder.components import ModelCardGenerator
from tfx_feeder.components.model_card.executor import Executor
from tfx_feeder.schemas import model_card
from tfx_feeder.schemas.artifacts import ModelCard as ModelCardArtifact

_artifacts = tfx.types.standard_artifacts


def _declare(**changes: Any) -> ModelCardGenerator:
    return ModelCardGenerator(
        pushed_model=tfx.dsl.Channel(type=_artifacts.PushedModel),
        model=tfx.dsl.Channel(type=_artifacts.Model),
        **changes,
    )


def test_all_but_what_was_pushed_is_optional() -> None:
    assert set(_declare().inputs) == {"pushed_model", "model"}


@pytest.mark.parametrize("slices", ["label", [""], [3]])
def test_slices_are_names(slices: Any) -> None:
    with pytest.raises(ConfigError, match="intended_slices: expected a list of slice names"):
        _declare(intended_slices=slices)


def test_its_type_is_one_that_kubeflow_takes() -> None:
    assert ModelCardArtifact.TYPE_NAME == "tfx_feeder.ModelCard"
    assert ModelCardArtifact.PROPERTIES is None


def _artifact(kind: type, uri: Path, number: int, **properties: int | str) -> types.Artifact:
    artifact = kind()
    artifact.uri, artifact.id = str(uri), number
    for name, value in properties.items():
        if isinstance(value, int):
            artifact.set_int_custom_property(name, value)
        else:
            artifact.set_string_custom_property(name, value)
    return artifact


def _run(inputs: dict[str, types.Artifact], record: Path, **properties: Any) -> Any:
    card = _artifact(ModelCardArtifact, record, 99)
    properties = {"intended_slices": '["label"]', "reason": None, **properties}
    lists = {key: [artifact] for key, artifact in inputs.items()}
    Executor().Do(lists, {"model_card": [card]}, properties)
    return card


def test_the_executor_tells_where_the_model_comes_from(tmp_path: Path) -> None:
    served = tmp_path / "7"
    served.mkdir()
    (served / "saved_model.pb").write_bytes(b"graph")
    inputs = {
        "model_blessing": _artifact(
            _artifacts.ModelBlessing,
            tmp_path,
            8,
            blessed=1,
            baseline_model_id=2,
            baseline_model="/model/2",
        ),
        "model": _artifact(_artifacts.Model, tmp_path, 5),
        "examples": _artifact(_artifacts.Examples, tmp_path, 4, span=3),
        "pushed_model": _artifact(
            _artifacts.PushedModel,
            tmp_path,
            9,
            pushed=1,
            pushed_version="7",
            pushed_destination=str(served),
        ),
    }
    record = _run(inputs, tmp_path / "record", reason="a person said so")

    card = model_card.read(served)
    assert [(row.role, row.id, row.span) for row in card.lineage] == [
        ("baseline", 2, None),
        ("examples", 4, 3),
        ("model", 5, None),
        ("model_blessing", 8, None),
        ("pushed_model", 9, None),
    ]
    assert card.intended_slices == ("label",)
    assert record.get_int_custom_property("pushed") == 1
    assert record.get_string_custom_property("pushed_version") == "7"
    assert record.get_string_custom_property("reason") == card.reason == "a person said so"


def test_nothing_pushed_means_no_card_and_no_failure(tmp_path: Path) -> None:
    inputs = {
        "pushed_model": _artifact(_artifacts.PushedModel, tmp_path, 9, pushed=0),
        "model": _artifact(_artifacts.Model, tmp_path, 5),
    }
    record = _run(inputs, tmp_path / "record")
    assert record.get_int_custom_property("pushed") == 0
    assert not (tmp_path / "record").exists()


def test_a_model_on_a_mounted_store_gets_its_card_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, f"gs://={tmp_path}/")
    (tmp_path / "pushed").mkdir()
    (tmp_path / "pushed" / "saved_model.pb").write_bytes(b"graph")
    pushed = _artifact(
        _artifacts.PushedModel, Path(), 9, pushed=1, pushed_destination="gs://serving/7"
    )
    pushed.uri = "gs://pushed"
    card = _artifact(ModelCardArtifact, Path(), 99)
    card.uri = "gs://record"
    properties = {"intended_slices": "[]", "reason": None}
    Executor().Do({"pushed_model": [pushed]}, {"model_card": [card]}, properties)
    assert model_card.read(tmp_path / "record").destination == "gs://serving/7"
