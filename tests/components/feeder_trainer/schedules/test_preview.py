"""The preview: the same figures that training will have, drawn so that one can read them."""

import io
import json

import pytest
from rich.console import Console

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.schedules.parser import parse_schedule
from tfx_feeder.components.feeder_trainer.schedules.preview import Preview, PreviewRow, preview
from tfx_feeder.pipeline.cli.step_curves import Curve, StepCurves

REFERENCE = "0.01:32x10, 0.005:64x10, 0.0025:128x10"


def drawn(what: object, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(what)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


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


def test_refuses_what_training_would_refuse() -> None:
    with pytest.raises(ConfigError, match="at most the 100 examples"):
        shown(REFERENCE, num_examples=100)
    with pytest.raises(ConfigError, match="each of 33 replicas"):
        shown(REFERENCE, replicas=33)


def test_adaptive_policies_show_their_start_and_say_what_is_decided_later() -> None:
    for name in ("on_plateau", "noise_scale"):
        begun = shown(name)
        assert [row.epochs for row in begun.rows] == [30]
        assert "batch" in begun.description
        text = " ".join(drawn(begun))
        assert " ".join(begun.description.split()[-3:]) in " ".join(text.split())


def test_static_policies_show_all_their_phases() -> None:
    compiled = shown("decay_to_batch 0.1:32x10 max=128 decay=exponential final=0.125")

    assert [row.batch_size for row in compiled.rows] == [32, 64, 128]
    assert sum(row.examples for row in compiled.rows) == 500_000
    assert not compiled.description


def test_is_json() -> None:
    whole = json.loads(json.dumps(shown(REFERENCE).to_dict()))

    assert [PreviewRow(**row) for row in whole["rows"]] == list(shown(REFERENCE).rows)


def test_table_names_the_share_of_each_replica() -> None:
    header, first, *_ = drawn(shown(REFERENCE, replicas=3))

    assert header.endswith("per replica")
    assert first.endswith("32        10-11")


@pytest.mark.parametrize("width", [40, 80, 200])
def test_drawing_fits_the_terminal(width: int) -> None:
    assert max(map(len, drawn(shown("decay_to_batch"), width))) <= width


def test_curves() -> None:
    curves = [Curve("rate", [0.01, 0.005]), Curve("batch", [32, 128])]

    assert drawn(StepCurves(curves, lengths=[300, 100], x_title="examples"), width=27) == [
        "",
        "rate",
        " 0.01 ┤───────────────╮",
        "      │               │",
        "0.005 ┤               ╰────",
        "",
        "batch",
        "  128 ┤               ╭────",
        "      │               │",
        "      │               │",
        "      │               │",
        "   32 ┤───────────────╯",
        "      └────────────────────",
        "       0    examples    400",
    ]


def test_a_constant_is_one_line() -> None:
    lines = drawn(StepCurves([Curve("rate", [0.1, 0.1])], [1, 1], "examples"), width=20)

    assert lines[2] == "0.1 ┤" + "─" * 15
    assert lines[3].startswith("    └")


def test_a_small_change_shows_and_a_large_one_fits() -> None:
    assert Curve("batch", [32, 33]).rows() == [2, 0]
    assert Curve("batch", [1, 2**30]).rows() == [8, 0]
