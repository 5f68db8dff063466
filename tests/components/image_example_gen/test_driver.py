"""Spans, versions and dates of local folders."""

from pathlib import Path
from typing import Any

import pytest
from tfx.proto import example_gen_pb2, range_config_pb2

from tfx_feeder.components.image_example_gen.driver import create_input_processor


def _processor(base: Path, pattern: str, span: int | None = None) -> Any:
    at = None
    if span is not None:
        static = range_config_pb2.StaticRange(start_span_number=span, end_span_number=span)
        at = range_config_pb2.RangeConfig(static_range=static)
    split = example_gen_pb2.Input.Split(name="all", pattern=pattern)
    return create_input_processor(str(base), [split], at)


def _resolve(base: Path, pattern: str, span: int | None = None) -> tuple[int, int | None, str]:
    processor = _processor(base, pattern, span)
    found = processor.resolve_span_and_version()
    assert processor.get_input_fingerprint(*found).startswith("split:all,num_files:1,")
    return (*found, processor.get_pattern_for_span_version(pattern, *found))


def _make(base: Path, *names: str) -> Path:
    for name in names:
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_text("x")
    return base


def test_the_latest_span_or_the_requested_one(tmp_path: Path) -> None:
    base = _make(tmp_path, "span-2/a", "span-10/a", "span-old/a")
    assert _resolve(base, "span-{SPAN}/*") == (10, None, "span-10/*")
    assert _resolve(base, "span-{SPAN}/*", 2) == (2, None, "span-2/*")
    assert _resolve(base, "*-{SPAN}/[ab]", 2) == (2, None, "*-2/[ab]")
    with pytest.raises(ValueError, match="of span 3"):
        _resolve(base, "span-{SPAN}/*", 3)


@pytest.mark.parametrize("name", ["my[photos]", "star*x", "plain"])
def test_leading_zeros_are_found_in_a_folder_with_any_name(tmp_path: Path, name: str) -> None:
    _make(tmp_path / "star_OTHER_x", "span-99/a")
    base = _make(tmp_path / name, "span-001/a", "span-002/a")
    assert _resolve(base, "span-{SPAN}/*") == (2, None, "span-002/*")
    assert _resolve(base, "span-{SPAN}/*", 1) == (1, None, "span-001/*")
    assert _resolve(base, "span-{SPAN:3}/*", 1) == (1, None, "span-001/*")


def test_the_same_span_twice_is_not_guessed(tmp_path: Path) -> None:
    base = _make(tmp_path, "span-1/a", "span-01/a")
    with pytest.raises(ValueError, match="the same span"):
        _resolve(base, "span-{SPAN}/*", 1)


def test_versions_and_dates(tmp_path: Path) -> None:
    base = _make(tmp_path, "span-1/v-2/a", "span-1/v-10/a", "2024-02-30/a", "2024-03-01/a")
    assert _resolve(base, "span-{SPAN}/v-{VERSION}/*") == (1, 10, "span-1/v-10/*")
    days = 19_783  # from 1970-01-01
    assert _resolve(base, "{YYYY}-{MM}-{DD}/*") == (days, None, "2024-03-01/*")
    assert _resolve(base, "{YYYY}-{MM}-{DD}/*", days) == (days, None, "2024-03-01/*")


def test_without_a_span(tmp_path: Path) -> None:
    assert _resolve(_make(tmp_path, "a"), "*") == (0, None, "*")
