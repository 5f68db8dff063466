"""Words for what a store holds."""

from datetime import datetime, timezone

import pytest

from tfx_feeder.pipeline.metadata import describe
from tfx_feeder.pipeline.metadata.types import Artifact, Execution

LONG_AGO = datetime(2026, 1, 1, tzinfo=timezone.utc)


def execution(state="COMPLETE", **properties):
    return Execution(1, "Node", "some.Node", "p", "1", state, LONG_AGO, LONG_AGO, properties)


def artifact(type_name="Model", uri="/nowhere", state="LIVE", **properties):
    return Artifact(1, type_name, str(uri), properties, LONG_AGO, state)


@pytest.mark.parametrize(
    ("made", "facts"),
    [
        (artifact("Examples", span=3, num_examples_train=1200), ["span 3", "1,200 train"]),
        (artifact("Examples"), []),
        (artifact("ModelBlessing", blessed=1), ["blessed"]),
        (artifact("ModelBlessing", blessed=0), ["not blessed"]),
        (artifact("ModelBlessing"), ["nothing decided"]),
        (artifact("tfx_feeder.GateReport", passed=3, refused=1), ["1 refused, 3 passed"]),
        (artifact("tfx_feeder.GateReport", baseline="same model"), ["same model"]),
        (artifact("tfx_feeder.Slices", slices_declared=9, remarks=1), ["9 declared"]),
        (artifact("InfraBlessing", blessing_status="INFRA_NOT_BLESSED"), ["infra not blessed"]),
        (artifact("InfraBlessing"), []),
        (artifact("PushedModel", pushed=1, pushed_version="7"), ["version 7"]),
        (artifact("PushedModel", pushed=0), ["not pushed"]),
        (artifact("Model", withdrawn="too slow"), ["withdrawn: too slow"]),
    ],
)
def test_facts_of_an_artifact(made, facts):
    assert list(describe.summarize(made).facts) == facts


def test_files_are_gone_only_where_that_is_known(tmp_path):
    assert not artifact(uri=tmp_path).files_missing
    assert artifact(uri=tmp_path / "gone").files_missing
    assert artifact(uri=tmp_path, state="DELETED").files_missing
    assert not artifact(uri="gs://bucket/model").files_missing
    assert artifact(uri=f"file://{tmp_path}/gone").files_missing


def test_error_is_what_tfx_recorded():
    failed = execution("FAILED", __execution_result__='{"resultMessage": "no disk"}')
    assert describe.error_message(failed) == "no disk"
    assert describe.error_message(execution()) == ""


@pytest.mark.parametrize("recorded", ["", "no JSON", "[]", '{"code": 2}', 7])
def test_error_that_was_not_recorded_is_admitted(recorded):
    failed = execution("FAILED", __execution_result__=recorded)
    assert describe.error_message(failed) == describe.NO_ERROR_TEXT


def test_sources_are_files_and_functions():
    config = '{"splits": [{"name": "a", "pattern": "a/*"}, {"name": "b", "pattern": "b/*"}]}'
    read = execution(input_base="/data", input_config=config, run_fn="null", module_file="/m.py")
    assert list(describe.external_sources(read)) == [
        ("input files", "/data/a/*"),
        ("input files", "/data/b/*"),
        ("module file", "/m.py"),
    ]


def test_sources_elsewhere_and_odd_settings_are_named_as_they_are():
    read = execution(input_base="gs://bucket/data", input_config='{"splits": [{"pattern": "a*"}]}')
    assert list(describe.external_sources(read)) == [("input files", "gs://bucket/data/a*")]
    assert list(describe.external_sources(execution(input_base="/d", input_config="?"))) == [
        ("input files", "/d")
    ]
