"""Previews match the figures of the training."""

import json

import pytest

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.schedules.parser import parse_schedule
from tfx_feeder.components.feeder_trainer.schedules.preview import Preview, PreviewRow, preview

REFERENCE = "0.01:32x10, 0.005:64x10, 0.0025:128x10"


def shown(text: str, num_examples: int = 50_000, replicas: int = 1) -> Preview:
    return preview(parse_schedule(text), num_examples, replicas)


def test_rows() -> None:
    assert shown(REFERENCE).rows == (
        PreviewRow(0, 10, 500_000, 15_630, 0.01, 32),
        PreviewRow(1, 10, 500_000, 7_820, 0.005, 64),
        PreviewRow(2, 10, 500_000, 3_910, 0.0025, 128),
    )


def test_steps_per_epoch() -> None:
    assert [row.steps for row in shown(f"{REFERENCE} @200").rows] == [2000] * 3


def test_rejects_what_training_would_reject() -> None:
    with pytest.raises(ConfigError, match="at most the 100 examples"):
        shown(REFERENCE, num_examples=100)
    with pytest.raises(ConfigError, match="each of 33 replicas"):
        shown(REFERENCE, replicas=33)


def test_adaptive_policies_show_their_start_and_describe_their_decisions() -> None:
    for name in ("on_plateau", "noise_scale"):
        begun = shown(name)
        assert [row.epochs for row in begun.rows] == [30]
        assert "batch" in begun.description


def test_static_policies_show_all_their_phases() -> None:
    compiled = shown("decay_to_batch 0.1:32x10 max=128 decay=exponential final=0.125")

    assert [row.batch_size for row in compiled.rows] == [32, 64, 128]
    assert sum(row.examples for row in compiled.rows) == 500_000
    assert not compiled.description


def test_is_json() -> None:
    whole = json.loads(json.dumps(shown(REFERENCE).to_dict()))

    assert [PreviewRow(**row) for row in whole["rows"]] == list(shown(REFERENCE).rows)
