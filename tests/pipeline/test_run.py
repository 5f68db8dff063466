"""What a run decides before it starts; the runs themselves are in tests/e2e."""

from pathlib import Path

import pytest

from tfx_feeder.components.common.errors import ConfigError
from tfx_feeder.pipeline.data_sets import DataSet

pytestmark = pytest.mark.slow  # The module imports TFX.

SPANS = DataSet("digits", Path("data"), ("0", "1"), spans=(1, 2, 3))
WITHOUT = DataSet("mine", Path("data"), ("0", "1"))


@pytest.fixture(scope="module")
def run():
    from tfx_feeder.pipeline import run

    return run


@pytest.mark.parametrize(
    ("wanted", "done", "chosen"),
    [
        (None, set(), 1),
        (None, {1}, 2),
        (None, {2}, 1),
        (None, {1, 2, 3}, 3),
        (2, {1, 2, 3}, 2),
    ],
)
def test_next_span_is_the_first_that_is_not_done(run, wanted, done, chosen):
    assert run.choose_span(SPANS, wanted, done) == chosen


def test_data_without_spans_have_none_to_choose(run):
    assert run.choose_span(WITHOUT, None, set()) is None


def test_schedule_is_short_unless_told(run):
    assert run.choose_schedule(None, full=False).steps_per_epoch == 40
    assert run.choose_schedule(None, full=True).steps_per_epoch == 200
    assert str(run.choose_schedule("0.1:8x2", full=False)) == "0.1:8x2ep"


def test_full_and_own_schedule_exclude_each_other(run):
    with pytest.raises(ConfigError, match="either"):
        run.choose_schedule("0.1:8x2", full=True)


def test_blessed_model_is_resolved_among_the_older_ones():
    from tfx.types import standard_artifacts

    from tfx_feeder.pipeline.resolvers import BlessedBefore

    def artifact(kind, id_, **properties):
        made = kind()
        made.id = id_
        for key, value in properties.items():
            made.set_int_custom_property(key, value)
        return made

    models = [artifact(standard_artifacts.Model, id_) for id_ in (1, 3, 5, 7)]
    blessings = [
        artifact(standard_artifacts.ModelBlessing, 10 + id_, current_model_id=id_, blessed=blessed)
        for id_, blessed in ((1, 1), (3, 1), (5, 0), (7, 1))
    ]

    def resolve(before):
        subject = artifact(standard_artifacts.Examples, before)
        inputs = {"before": [subject], "model": list(models), "blessing": list(blessings)}
        found = BlessedBefore().resolve_artifacts(None, inputs)
        assert found["before"] == [subject]
        return [model.id for model in found["model"]]

    assert resolve(before=9) == [7]
    assert resolve(before=7) == [3]
    assert resolve(before=6) == [3]
    assert resolve(before=3) == [1]
    assert resolve(before=1) == []
