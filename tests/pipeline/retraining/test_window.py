"""Windows of spans."""

import pytest

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.pipeline.retraining.window import Window
from tfx_feeder.pipeline.run_plan import SpanWeight


@pytest.mark.parametrize(
    ("text", "spans", "earlier"),
    [
        ("latest", [1, 2, 5], []),
        ("rolling:1", [1, 2, 5], []),
        ("rolling:2", [1, 2, 5], [(2, 1.0)]),
        ("rolling:9", [1, 2, 5], [(1, 1.0), (2, 1.0)]),
        ("all", [1, 2, 5], [(1, 1.0), (2, 1.0)]),
        ("weighted:0.5", [1, 2, 5], [(1, 0.25), (2, 0.5)]),
        ("all", [3], []),
        ("all", [], []),
    ],
)
def test_earlier_spans_are_the_newest_of_those_before(text, spans, earlier):
    assert Window.parse(text).earlier(spans) == tuple(SpanWeight(*part) for part in earlier)


def test_spans_of_which_almost_nothing_is_left_are_not_read():
    earlier = Window.parse("weighted:0.5").earlier(range(1, 100))
    assert [part.span for part in earlier] == [95, 96, 97, 98]


@pytest.mark.parametrize(
    "text", ["", "newest", "rolling", "rolling:0", "rolling:x", "weighted:0", "weighted:2", "all:3"]
)
def test_what_is_no_window_is_refused(text):
    with pytest.raises(ConfigError, match="window"):
        Window.parse(text)
