import os
import time

import pytest

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.pipeline.span_folders import span_pattern, spans_in, stable_spans
from tfx_feeder.pipeline.workspace import prepare_root


def test_a_dangling_link_does_not_hold_a_span_back(tmp_path):
    (tmp_path / "span-1").mkdir()
    (tmp_path / "span-1/gone.png").symlink_to("nowhere")
    assert stable_spans(tmp_path, time.time() + 1) == (1,)
    assert stable_spans(tmp_path, time.time() - 60) == ()


def test_links_are_not_followed_in_circles(tmp_path):
    for name in ("span-1", "span-2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").symlink_to("..")
        (tmp_path / name / "b").symlink_to("..")
    assert stable_spans(tmp_path, time.time() + 1) == (1, 2)


def test_spans_with_leading_zeros(tmp_path):
    for name in ("span-01", "span-10", "span-x", "span-²", "span-" + "1" * 5_000):
        if len(name) < 255:
            (tmp_path / name).mkdir()
    assert spans_in(tmp_path) == (1, 10)
    assert span_pattern(tmp_path, 1) == "span-01/*"


@pytest.mark.parametrize("name", ["runs [1]", "a*b", "what?", os.fsdecode(b"caf\xe9")])
def test_a_root_that_tfx_would_read_as_a_pattern_is_refused(tmp_path, name):
    with pytest.raises(ConfigError, match="root: expected a path in UTF-8 without"):
        prepare_root(tmp_path / name)
    assert not list(tmp_path.iterdir())
