"""All notations of schedules and policies parse to the same values."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.schedules import (
    BatchSizeRamp,
    BatchWarmup,
    GradientNoiseScale,
    IncreaseBatchOnPlateau,
    LearningRateDecay,
    PiecewiseConstantDecay,
)
from tfx_feeder.components.feeder_trainer.schedules.parser import (
    POLICIES,
    PRESETS,
    parse_schedule,
    serialize_schedule,
)
from tfx_feeder.components.feeder_trainer.schedules.policy import make_plan
from tfx_feeder.components.feeder_trainer.schedules.preview import preview
from tfx_feeder.components.feeder_trainer.schedules.schedule import Schedule

TEXTS = [
    (
        "0.01:32x10, 5e-3:64x2000steps @200",
        Schedule([(0.01, 32, 10), (0.005, 64, "2000steps")], steps_per_epoch=200),
    ),
    ("on_plateau 0.01:32x30 max=512", IncreaseBatchOnPlateau((0.01, 32, 30), 512)),
    (
        "on_plateau 1e-2:32x900ex monitor=val_auc max=512 factor=4 patience=5 min_delta=1e-3 "
        "mode=max min_lr=1e-5 optimizer=adam @ 20",
        IncreaseBatchOnPlateau(
            (0.01, 32, "900ex"), 512, "val_auc", 4, 5, 1e-3, "max", 1e-5, "adam", 20
        ),
    ),
    ("noise_scale 0.01:32x30 min=16 max=512", GradientNoiseScale((0.01, 32, 30), 16, 512)),
    (
        "noise_scale 0.01 : 32 x 30 max = 512 min=16 mode=apply factor=4 patience=3 "
        "lr_rule=linear@5",
        GradientNoiseScale((0.01, 32, 30), 16, 512, "apply", 4, 3, "linear", 5),
    ),
    (
        "decay_to_batch 0.1:32x30 max=512",
        BatchSizeRamp(LearningRateDecay("cosine", 0.1), 32, 30, max_batch_size=512),
    ),
    (
        "decay_to_batch 0.1:32x30 max=512 decay=exponential final=0.5 optimizer=adam factor=4 @9",
        BatchSizeRamp(LearningRateDecay("exponential", 0.1, 0.5), 32, 30, 512, "adam", 4, 9),
    ),
    (
        "batch_warmup 0.01:32x30 end=256 over=2000steps",
        BatchWarmup((0.01, 32, 30), 256, "2000steps"),
    ),
    (
        "batch_warmup 0.01:32x30 end=256 over=2 factor=4 lr_rule=none @9",
        BatchWarmup((0.01, 32, 30), 256, 2, 4, "none", 9),
    ),
]
VALUES = [value for _, value in TEXTS] + [
    BatchSizeRamp(PiecewiseConstantDecay([0, 50], [0.1, 0.01]), 32, "100steps", max_batch_size=512)
]


@pytest.mark.parametrize(("text", "value"), TEXTS)
def test_text(text: str, value: Any) -> None:
    assert parse_schedule(text) == value


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_every_form_round_trips(value: Any, tmp_path: Path) -> None:
    as_yaml, as_json = tmp_path / "schedule.yaml", tmp_path / "schedule.json"
    as_yaml.write_text(yaml.safe_dump(value.to_dict()))
    as_json.write_text(json.dumps(value.to_dict(), indent=2))

    assert parse_schedule(value) is value
    assert parse_schedule(value.to_dict()) == value
    assert parse_schedule(serialize_schedule(value)) == value
    assert parse_schedule(str(as_yaml)) == value
    assert parse_schedule(str(as_json)) == value


@pytest.mark.parametrize(("old", "new"), [("advise", "report"), ("act", "apply")])
def test_modes_of_earlier_releases_are_still_read(old: str, new: str) -> None:
    policy = GradientNoiseScale((0.01, 32, 30), 16, 512, new)
    stored = json.dumps(policy.to_dict() | {"mode": old})

    assert parse_schedule(stored) == policy
    assert parse_schedule(f"noise_scale 0.01:32x30 min=16 max=512 mode={old}") == policy
    assert json.loads(serialize_schedule(stored))["mode"] == new


def test_a_list_of_phases() -> None:
    phases = [(0.01, 32, 10), (0.005, 64, "100steps")]

    assert parse_schedule(phases) == parse_schedule(json.dumps(phases)) == Schedule(phases)


def test_yaml_may_contain_text_and_short_numbers(tmp_path: Path) -> None:
    file = tmp_path / "schedule.yml"
    file.write_text("phases:\n- [1e-2, 32, 10]\n- [5e-3, 64, 10ep]\n")
    assert parse_schedule(str(file)) == Schedule([(0.01, 32, 10), (0.005, 64, 10)])

    file.write_text("on_plateau 0.01:32x30 max=512\n")
    assert parse_schedule(str(file)) == IncreaseBatchOnPlateau((0.01, 32, 30), 512)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_fit_ordinary_data(name: str) -> None:
    assert preview(parse_schedule(name), num_examples=1000).rows


def test_every_policy_has_a_preset() -> None:
    assert set(POLICIES) < set(PRESETS)


@pytest.mark.parametrize(
    ("text", "expected", "character"),
    [
        ("on_platau 0.01:32x30 max=512", "a learning rate or a policy: decay_to_batch", 1),
        ("on_plateau 0.01;32x30 max=512", "':' between", 16),
        ("on_plateau 0.01:32x30 maxi=512", "an option: max, monitor", 23),
        ("on_plateau 0.01:32x30 max=512 max=64", "an option: monitor, factor", 31),
        ("on_plateau 0.01:32x30 max 512", "'=' after max", 27),
        ("on_plateau 0.01:32x30 max=", "the value of max", 27),
        ("on_plateau 0.01:32x30, 0.1:64x30", "an option", 22),
        ("on_plateau 0.01:32x30 max=512 @", "the steps per epoch", 32),
        ("on_plateau 0.01:32x30 @20 max=512", "the end", 27),
    ],
)
def test_errors_point_at_the_character(text: str, expected: str, character: int) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_schedule(text)

    message, shown, pointer = str(raised.value).splitlines()
    assert expected in message
    assert f"at character {character}" in message
    assert shown == f"  {text}"
    assert pointer == " " * (character + 1) + "^"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("on_plateau 0.01:32x30", "max=…"),
        ("on_plateau 0.01:32x30 max=many", "an integer of 32 or more"),
        ("batch_warmup 0.01:32x30 end=512 over=5days", "a number of epochs, or text"),
        ("nowhere.yaml", "No such file"),
        ("{", "YAML or JSON"),
        ({"policy": "cosine"}, "one of decay_to_batch"),
        ({"policy": "on_plateau", "start": [0.01, 32, 30]}, "start, max_batch_size, and any of"),
        ({"policy": "noise_scale", "start": [1, 2, 3], "min": 1, "max": 9, "x": 0}, "any of start"),
        (7, "a Schedule, a list"),
    ],
)
def test_rejects(value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_schedule(value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"self.yaml", "schedule"),
        (b"2001-99-99", "YAML or JSON"),
        (b"{1: 2, a: 3}", "the keys phases"),
        (b"{policy: on_plateau, 1: 2, a: 3}", "on_plateau"),
        (
            b"{policy: decay_to_batch, lr_schedule: {steps: 1, rates: [1]}, batch_size: 1, "
            b"length: 1, max_batch_size: 2}",
            "lr_schedule",
        ),
        (
            b"{policy: decay_to_batch, lr_schedule: {steps: [0, a], rates: [1, 1]}, batch_size: 1, "
            b"length: 1, max_batch_size: 2}",
            "lr_schedule",
        ),
        (
            b"{policy: batch_warmup, start: [0.1, 1, 1], scaling: [1], max_batch_size: 2}",
            "batch_warm",
        ),
        (b"&a [*a, *a]", "schedule phase"),
        (b"[" * 5_000, "YAML or JSON"),
        (b'{"a":' * 5_000, "YAML or JSON"),
        ("0.01:32x10 ü".encode("latin-1"), "a readable file in UTF-8"),
        ("0.01:32x10".encode("utf-16"), "a readable file in UTF-8"),
        (b"x" * 70_000, "at most 65,536 characters"),
        (
            b"&a [x"
            + b"".join(
                b", &%c [%s]" % (98 + i, b", ".join([b"*%c" % (97 + i)] * 9)) for i in range(9)
            )
            + b"]",
            "schedule phase",
        ),
    ],
)
def test_a_file_that_holds_no_schedule_is_one_error(
    content: bytes, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("self.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        parse_schedule("self.yaml")
    assert len(str(caught.value)) < 2_000


@pytest.mark.parametrize("name", ["a\0b.yaml", "x" * 300 + ".yaml", "folder.yaml", "fifo.yaml"])
def test_a_path_that_is_no_file_is_one_error(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder.yaml").mkdir()
    os.mkfifo("fifo.yaml")
    with pytest.raises(ConfigError, match="a readable file"):
        parse_schedule(name)


@pytest.mark.parametrize(
    "text",
    [
        "0.01:32x" + "1" * 5_000,
        "0.01:" + "1" * 5_000 + "x1",
        "0.01:32x1 @" + "1" * 5_000,
        "0.01:1000000001x1",
        "on_plateau 0.01:32x30 max=" + "1" * 5_000,
        '{"phases": [[' + "1" * 400 + ", 32, 1]]}",
        '{"phases": [[0.1, ' + "1" * 400 + ", 1]]}",
        '{"phases": [[0.1, 1, ' + "1" * 400 + "]]}",
        '{"phases": [[0.1, 1, 1]], "steps_per_epoch": ' + "1" * 400 + "}",
        '{"phases": [[0.1, 1, 1]], "steps_per_epoch": ' + "1" * 5_000 + "}",
        " " * 40_000 + "0.01:32x10, ?" + " " * 10_000,
    ],
)
def test_numbers_and_lines_without_end_are_one_error(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_schedule(text)
    assert len(str(caught.value)) < 2_000


@pytest.mark.parametrize(
    "text",
    ["0.01:32x1000000000", "0.01:1x1000000steps @1", "decay_to_batch 0.01:32x99999999 max=64"],
)
def test_more_epochs_than_a_plan_holds_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="100,000 ep"):
        make_plan(parse_schedule(text), 1_000)
