"""Profiles are reused only if nothing that affects them has changed."""

from pathlib import Path

import pytest

from tfx_feeder.components.feeder_trainer.schedules.time_model import StepProfile, StepTime
from tfx_feeder.components.feeder_trainer.strategy_selection.profile_cache import (
    ProfileCache,
    fingerprint,
)

PROFILE = StepProfile(1.5, {32: StepTime(0.01, 0.001, 20)}, eval_s=0.25, seconds=2.0)


def test_a_cached_profile_is_marked_as_reused_and_has_no_cost(tmp_path: Path) -> None:
    cache = ProfileCache(tmp_path / "profiles")
    assert cache.read("a") is None

    cache.write("a", PROFILE)

    assert cache.read("a") == StepProfile(1.5, PROFILE.step_s, 0.25, 0.0, 0.0, reused=True)
    assert cache.read("b") is None
    assert [path.name for path in (tmp_path / "profiles").iterdir()] == ["a.json"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"start_s": 1}', '{"steps": 3}'])
def test_a_damaged_file_is_ignored(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)

    assert ProfileCache(tmp_path).read("a") is None


def test_without_a_folder_nothing_is_kept() -> None:
    cache = ProfileCache(None)
    cache.write("a", PROFILE)

    assert cache.read("a") is None


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
