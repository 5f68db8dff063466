"""SliceGen as it is declared."""

import pytest
from tfx import v1 as tfx

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.slice_gen.component import SliceGen
from tfx_feeder.components.slice_gen.options import LossOptions, SliceGenOptions
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


def test_a_model_without_a_loss_is_refused() -> None:
    with pytest.raises(ConfigError, match="LossOptions"):
        SliceGen(**CHANNELS, model=MODEL, options=SliceGenOptions(slices=("form",)))
