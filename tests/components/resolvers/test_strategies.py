"""Resolver strategies: earlier blessed models, and artifacts by id."""

import pytest
from tfx import v1 as tfx

from tests.mlmd_store import StoreBuilder
from tfx_feeder.common.errors import DataError
from tfx_feeder.components.resolvers.strategies import (
    ArtifactsById,
    LatestBlessedModelBefore,
    StatisticsOfTrainingData,
)
from tfx_feeder.schemas.file_record import seal

_artifacts = tfx.types.standard_artifacts


def _artifact(kind, number, **properties):
    artifact = kind()
    artifact.id = number
    for name, value in properties.items():
        set_property = "set_int" if isinstance(value, int) else "set_string"
        getattr(artifact, f"{set_property}_custom_property")(name, value)
    return artifact


def _blessed_before(limit, *, withdrawn=()):
    """Resolves among models 1, 3 and 5, of which 3 and 5 are blessed."""
    marks = {number: {"withdrawn": "it was wrong"} for number in withdrawn}
    models = [_artifact(_artifacts.Model, n, **marks.get(n, {})) for n in (1, 3, 5)]
    blessings = [
        _artifact(_artifacts.ModelBlessing, n + 1, current_model_id=n, blessed=int(n > 1))
        for n in (1, 3, 5)
    ]
    subject = _artifact(_artifacts.Model, limit)
    found = LatestBlessedModelBefore().resolve_artifacts(
        None, {"before": [subject], "model": models, "blessing": blessings}
    )
    return [model.id for model in found["model"]]


def test_the_latest_blessed_model_before_the_subject_is_found():
    assert _blessed_before(9) == [5]
    assert _blessed_before(5) == [3]
    assert _blessed_before(3) == []


def test_withdrawn_models_are_passed_over():
    assert _blessed_before(9, withdrawn=[5]) == [3]
    assert _blessed_before(9, withdrawn=[3, 5]) == []


def test_models_whose_files_are_damaged_are_passed_over(tmp_path):
    models, damaged = [], {5: "saved_model.pb", 7: "variables.index"}
    for number in (1, 3, 5, 7, 9):
        model = _artifact(_artifacts.Model, number)
        model.uri = str(tmp_path / str(number))
        if number != 9:
            (tmp_path / str(number)).mkdir()
            for name in ("saved_model.pb", "variables.index"):
                (tmp_path / str(number) / name).write_text("content")
            seal({"model": [model]})
        models.append(model)
    (tmp_path / "5" / damaged[5]).write_text("")
    (tmp_path / "7" / damaged[7]).write_text("flipped")  # Of the same size.
    blessings = [
        _artifact(_artifacts.ModelBlessing, 20 + n, current_model_id=n, blessed=1)
        for n in (1, 3, 5, 7, 9)
    ]
    inputs = {"before": [_artifact(_artifacts.Model, 10)], "model": models, "blessing": blessings}
    found = LatestBlessedModelBefore().resolve_artifacts(None, inputs)
    assert [model.id for model in found["model"]] == [3]
    assert [blessing.id for blessing in found["blessing"]] == [23]


def test_artifacts_are_found_by_id_in_the_order_asked_for():
    examples = [_artifact(_artifacts.Examples, number) for number in (1, 2, 3)]
    found = ArtifactsById({"examples": [3, 1]}).resolve_artifacts(None, {"examples": examples})
    assert [artifact.id for artifact in found["examples"]] == [3, 1]


def test_an_artifact_that_the_pipeline_lacks_is_named():
    with pytest.raises(DataError, match="no artifact 7 to use as examples"):
        ArtifactsById({"examples": [7]}).resolve_artifacts(None, {"examples": []})


def test_a_model_that_is_not_blessed_is_passed_over():
    models = [_artifact(_artifacts.Model, n) for n in (1, 3, 5, 7)]
    blessings = [
        _artifact(_artifacts.ModelBlessing, 10 + n, current_model_id=n, blessed=blessed)
        for n, blessed in ((1, 1), (3, 1), (5, 0), (7, 1))
    ]

    def resolve(before):
        subject = _artifact(_artifacts.Examples, before)
        inputs = {"before": [subject], "model": list(models), "blessing": list(blessings)}
        found = LatestBlessedModelBefore().resolve_artifacts(None, inputs)
        assert found["before"] == [subject]
        return [model.id for model in found["model"]]

    assert {before: resolve(before) for before in (9, 7, 6, 3)} == {9: [7], 7: [3], 6: [3], 3: [1]}
    assert resolve(1) == []


def test_statistics_are_those_of_the_data_that_the_model_was_trained_on(tmp_path):
    store = StoreBuilder(tmp_path / "metadata.sqlite")
    earlier, later = (store.run(name) for name in ("1", "2"))
    made = {}
    for run, span, base in ((earlier, 1, None), (later, 2, 1)):
        raw, transformed = store.artifact("Examples", span=span), store.artifact("Examples")
        statistics, derived = (store.artifact("ExampleStatistics") for _ in range(2))
        model = store.artifact("Model")
        trained_on = {"examples": transformed} | ({"base_model": made[base][0]} if base else {})
        store.execution(run, "ImageExampleGen", outputs={"examples": raw})
        store.execution(
            run, "StatisticsGen", "COMPLETE", {"examples": raw}, {"statistics": statistics}
        )
        outputs = {"transformed_examples": transformed, "post_transform_stats": derived}
        store.execution(run, "Transform", "COMPLETE", {"examples": raw}, outputs)
        store.execution(run, "FeederTrainer", "COMPLETE", trained_on, {"model": model})
        made[span] = model, statistics, derived
    known = [
        _artifact(_artifacts.ExampleStatistics, number)
        for _, statistics, derived in made.values()
        for number in (statistics, derived)
    ]

    def resolve(*models):
        found = StatisticsOfTrainingData().resolve_artifacts(
            store.client,
            {"model": [_artifact(_artifacts.Model, n) for n in models], "statistics": known},
        )
        return [artifact.id for artifact in found["statistics"]]

    assert resolve(made[1][0]) == [made[1][1]]
    assert resolve(made[2][0]) == [made[2][1]]
    assert resolve() == []
