"""Requests of users resolve to configurations."""

from pathlib import Path

import pytest

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.pipeline.datasets import Dataset
from tfx_feeder.pipeline.runner.configure import select_schedule, select_span

SPANS = Dataset("digits", Path("data"), ("0", "1"), spans=(1, 2, 3))
WITHOUT = Dataset("mine", Path("data"), ("0", "1"))


@pytest.mark.parametrize(
    ("requested", "done", "selected"),
    [
        (None, set(), 1),
        (None, {1}, 2),
        (None, {2}, 1),
        (None, {1, 2, 3}, 3),
        (2, {1, 2, 3}, 2),
    ],
)
def test_next_span_is_the_first_that_is_not_done(requested, done, selected):
    assert select_span(SPANS, requested, done) == selected


def test_data_without_spans_have_none_to_select():
    assert select_span(WITHOUT, None, set()) is None


def test_schedule_is_short_unless_told():
    assert select_schedule(None, full=False).steps_per_epoch == 40
    assert select_schedule(None, full=True).steps_per_epoch == 200
    assert str(select_schedule("0.1:8x2", full=False)) == "0.1:8x2ep"


def test_full_and_own_schedule_exclude_each_other():
    with pytest.raises(ConfigError, match="either"):
        select_schedule("0.1:8x2", full=True)
