"""A probe is found again where nothing that it depends on has changed, and only there."""

from pathlib import Path

import pytest

from tfx_feeder.components.feeder_trainer.schedules.time_model import StepProfile, StepTime
from tfx_feeder.components.feeder_trainer.strategy_selection.profile_cache import (
    ProfileCache,
    fingerprint,
)

PROBE = StepProfile(1.5, {32: StepTime(0.01, 0.001, 20)}, eval_s=0.25, seconds=2.0)


def test_a_kept_probe_says_that_it_is_reused_and_cost_nothing(tmp_path: Path) -> None:
    store = ProfileCache(tmp_path / "probes")
    assert store.read("a") is None

    store.write("a", PROBE)

    assert store.read("a") == StepProfile(1.5, PROBE.step_s, 0.25, 0.0, 0.0, reused=True)
    assert store.read("b") is None
    assert [path.name for path in (tmp_path / "probes").iterdir()] == ["a.json"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"start_s": 1}', '{"steps": 3}'])
def test_a_damaged_file_is_no_probe(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)

    assert ProfileCache(tmp_path).read("a") is None


def test_without_a_folder_nothing_is_kept() -> None:
    store = ProfileCache(None)
    store.write("a", PROBE)

    assert store.read("a") is None


def test_the_fingerprint_follows_every_part() -> None:
    parts = {"code": "abc", "sizes": (32, 64), "machine": {"CPU": "x", "cores": 2}}

    assert fingerprint(parts) == fingerprint(dict(reversed(parts.items())))
    for changed in (
        {"code": "abd"},
        {"sizes": (32,)},
        {"machine": {"CPU": "x", "cores": 4}},
        {"more": 1},
    ):
        assert fingerprint({**parts, **changed}) != fingerprint(parts)
