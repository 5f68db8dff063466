"""SliceGen as it is declared."""

import json
from pathlib import Path

import pytest
from tfx import v1 as tfx

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.slice_gen.classifier_options import ClassifierTestOptions
from tfx_feeder.components.slice_gen.component import SliceGen
from tfx_feeder.components.slice_gen.log_options import LabelOptions
from tfx_feeder.components.slice_gen.options import ClusterOptions, LossOptions, SliceGenOptions
from tfx_feeder.schemas import artifacts

_standard = tfx.types.standard_artifacts
CHANNELS = {
    "examples": tfx.dsl.Channel(type=_standard.Examples),
    "schema": tfx.dsl.Channel(type=_standard.Schema),
    "statistics": tfx.dsl.Channel(type=_standard.ExampleStatistics),
}
MODEL = tfx.dsl.Channel(type=_standard.Model)


def test_outputs() -> None:
    component = SliceGen(**CHANNELS, options=SliceGenOptions(slices=("form",)))
    assert component.outputs["annotated_examples"].type is _standard.Examples
    assert component.outputs["slices"].type is artifacts.Slices
    assert component.outputs["drift_report"].type is artifacts.DriftReport
    assert artifacts.Slices.TYPE_NAME == "tfx_feeder.Slices"
    assert set(component.inputs) == set(CHANNELS)


def test_a_component_without_slices_is_refused() -> None:
    with pytest.raises(ConfigError, match="Declare one, or pass a model"):
        SliceGen(**CHANNELS, options=SliceGenOptions())
    SliceGen(**CHANNELS, model=MODEL, options=SliceGenOptions(loss=LossOptions("label")))


LABELS = SliceGenOptions(slices=("form",), labels=LabelOptions("id", "label"))


@pytest.mark.parametrize("kind", [_standard.InferenceResult, _standard.Examples])
def test_a_serving_log_is_an_artifact_of_two_types_or_a_path(kind: type) -> None:
    log = tfx.dsl.Channel(type=kind)
    component = SliceGen(**CHANNELS, serving_log=log, labels="/labels.csv", options=LABELS)
    assert log in component.inputs.values()
    assert json.loads(component.exec_properties["output_splits"]) == ["eval", "serving_skew"]
    of_folder = SliceGen(**CHANNELS, serving_log="/log", options=SliceGenOptions(slices=("form",)))
    assert of_folder.exec_properties["serving_log_path"] == "/log"
    assert set(of_folder.inputs) == set(CHANNELS)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"serving_log": ""}, "serving_log: expected the path"),
        (
            {"serving_log": MODEL, "labels": "l"},
            "serving_log: expected a channel of InferenceResult or Examples",
        ),
        ({"labels": "labels.csv"}, "Pass serving_log"),
        ({"serving_log": "log"}, "LabelOptions"),
        ({"serving_log": "log", "labels": 3}, "labels: expected the path"),
    ],
)
def test_a_wrong_log_is_refused_when_the_pipeline_is_built(wrong: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SliceGen(**CHANNELS, **wrong, options=LABELS)


def test_labels_without_a_description_of_the_join_are_refused() -> None:
    options = SliceGenOptions(slices=("form",))
    with pytest.raises(ConfigError, match="LabelOptions"):
        SliceGen(**CHANNELS, serving_log="log", labels="labels.csv", options=options)


def test_a_classifier_test_needs_examples_of_both_sides() -> None:
    examples, statistics = CHANNELS["examples"], CHANNELS["statistics"]
    options = SliceGenOptions(slices=("form",), classifier=ClassifierTestOptions())
    with pytest.raises(ConfigError, match="baseline_examples or serving_log"):
        SliceGen(**CHANNELS, baseline_statistics=statistics, options=options)
    with pytest.raises(ConfigError, match="ClassifierTestOptions"):
        SliceGen(
            **CHANNELS,
            baseline_statistics=statistics,
            baseline_examples=examples,
            options=SliceGenOptions(slices=("form",)),
        )
    made = SliceGen(
        **CHANNELS, baseline_statistics=statistics, baseline_examples=examples, options=options
    )
    assert json.loads(made.exec_properties["output_splits"]) == ["eval", "drift"]


def test_clusters_without_a_model_are_refused() -> None:
    options = SliceGenOptions(slices=("form",), clusters=ClusterOptions())
    with pytest.raises(ConfigError, match="a model whose embedding"):
        SliceGen(**CHANNELS, options=options)


def test_files_that_change_are_no_cache_hit(tmp_path: Path) -> None:
    def built() -> dict:
        made = SliceGen(**CHANNELS, serving_log=str(tmp_path), labels="gone.csv", options=LABELS)
        return dict(made.exec_properties)

    before = built()
    assert built() == before
    (tmp_path / "more").write_bytes(b"")
    assert built() != before


def test_a_model_without_a_loss_is_refused() -> None:
    with pytest.raises(ConfigError, match="LossOptions"):
        SliceGen(**CHANNELS, model=MODEL, options=SliceGenOptions(slices=("form",)))
