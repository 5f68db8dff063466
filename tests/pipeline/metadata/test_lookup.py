"""Runs, models and artifacts are found by what people call them."""

import pytest

from tests.mlmd_store import StoreBuilder
from tfx_feeder.common.errors import ConfigError
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.lookup import find_artifact, find_model, find_run


@pytest.fixture
def made(tmp_path):
    """Returns the ids of what two runs made; each blessed its model."""
    store = StoreBuilder(tmp_path / "metadata.sqlite")
    found = []
    for span, run_id in enumerate(("2026-01-01T10", "2026-01-02T10"), start=1):
        run = store.whole_run(run_id, span=span)
        name = {"pushed_version": f"1{span}", "pushed_destination": f"/serving/1{span}"}
        version = store.artifact("PushedModel", pushed=1, **name)
        blessing = store.artifact("ModelBlessing", blessed=1, current_model_id=run["model"])
        store.execution(
            store.run(f"evaluation {span}"),
            "Pusher",
            "COMPLETE",
            {"model": run["model"], "model_blessing": blessing},
            {"pushed_model": version},
        )
        found.append(run["model"])
    return store, found


@pytest.fixture
def lineage(made, tmp_path):
    return Lineage.open(tmp_path)


@pytest.mark.parametrize(
    ("text", "which"),
    [
        ("latest", 1),
        ("blessed", 1),
        ("live", 1),
        ("11", 0),
        ("12", 1),
        ("2026-01-01T10", 0),
        ("2026-01-02", 1),
    ],
)
def test_model_by_word_version_and_run(made, lineage, text, which):
    assert find_model(lineage, text).model.id == made[1][which]


def test_model_by_id(made, lineage):
    assert find_model(lineage, str(made[1][0])).model.id == made[1][0]


def test_withdrawn_model_is_not_the_blessed_one(made, tmp_path):
    store, (first, second) = made
    [model] = store.client.get_artifacts_by_id([second])
    model.custom_properties["withdrawn"].string_value = "wrong"
    store.client.put_artifacts([model])
    assert find_model(Lineage.open(tmp_path), "blessed").model.id == first


@pytest.mark.parametrize("text", ["2026", "nothing", "", "999"])
def test_ambiguous_or_unknown_model_is_rejected_with_a_hint(lineage, text):
    with pytest.raises(ConfigError, match="tfx-feeder models"):
        find_model(lineage, text)


def test_run_by_id_beginning_and_word(lineage):
    assert find_run(lineage, "2026-01-01").id == "2026-01-01T10"
    assert find_run(lineage, "latest").id == "evaluation 2"
    assert find_run(lineage, "previous").id == "2026-01-02T10"
    with pytest.raises(ConfigError, match="2026-01-01T10, 2026-01-02T10"):
        find_run(lineage, "2026")


def test_artifact_by_id_and_uri(made, lineage):
    first = made[1][0]
    assert find_artifact(lineage, str(first)).id == first
    assert find_artifact(lineage, "/somewhere/Model/").type_name == "Model"
    with pytest.raises(ConfigError, match="tfx-feeder artifacts"):
        find_artifact(lineage, "/nowhere")


def test_store_without_models_says_what_to_do(tmp_path):
    StoreBuilder(tmp_path / "metadata.sqlite")
    with pytest.raises(ConfigError, match="Run a pipeline first"):
        find_model(Lineage.open(tmp_path), "latest")
