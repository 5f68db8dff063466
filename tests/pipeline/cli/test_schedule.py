"""``tfx-feeder schedule preview``."""

import io
import json
import subprocess
import sys

import pytest
from click.testing import CliRunner
from rich.console import Console

from tfx_feeder.components.feeder_trainer.schedules.parser import parse_schedule
from tfx_feeder.components.feeder_trainer.schedules.preview import preview
from tfx_feeder.pipeline.cli.schedule import print_preview, schedule

REFERENCE = "0.01:32x10, 0.005:64x10, 0.0025:128x10"


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(schedule, ["preview", *arguments], env={"COLUMNS": "80"})
    return result.exit_code, result.output


def printed(text: str, replicas: int = 1, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    print_preview(preview(parse_schedule(text), 50_000, replicas), console)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_draws_table_and_curves() -> None:
    code, output = run(REFERENCE, "--examples", "50000")

    assert code == 0
    for part in (
        "27,360",
        "learning rate   logarithmic\n",
        "0.0025 ┤",
        "global batch size   logarithmic\n",
        "128 ┤",
        "1,500,000",
    ):
        assert part in output


def test_adaptive_policies_say_what_is_decided_later() -> None:
    for name in ("on_plateau", "noise_scale"):
        description = preview(parse_schedule(name), 50_000).description
        assert " ".join(description.split()[-3:]) in " ".join(" ".join(printed(name)).split())


def test_table_names_the_batch_of_each_replica() -> None:
    header, first, *_ = printed(REFERENCE, replicas=3)

    assert header.endswith("per replica")
    assert first.endswith("32        10-11")


def test_a_constant_is_one_line() -> None:
    lines = printed("0.1:32x10, 0.1:64x10")

    assert lines[lines.index("learning rate") + 1].startswith("0.1 ┤⠉⠉")
    assert lines[lines.index("learning rate") + 2] == ""


@pytest.mark.parametrize("width", [40, 80, 200])
def test_drawing_fits_the_terminal(width: int) -> None:
    assert max(map(len, printed("decay_to_batch", width=width))) <= width


def test_options_change_the_figures() -> None:
    code, output = run(
        REFERENCE, "--examples", "50000", "--steps-per-epoch", "200", "--replicas", "2", "--json"
    )
    shown = json.loads(output)

    assert code == 0
    assert [row["steps"] for row in shown["rows"]] == [2000, 2000, 2000]
    assert shown["replicas"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("0.01;32x10", "--examples", "100"), "    ^"),
        (("0.01:32x10", "--examples", "31"), "at most the 31 examples"),
        (("0.01:32x10", "--examples", "100", "--replicas", "33"), "each of 33 replicas"),
        (("0.01:32x10", "--examples", "0"), "--examples"),
        (("0.01:32x10",), "--examples"),
    ],
)
def test_errors_are_reported_without_a_traceback(arguments: tuple[str, ...], message: str) -> None:
    code, output = run(*arguments)

    assert code in (1, 2)
    assert message in output
    assert "Traceback" not in output


def test_is_a_light_command() -> None:
    script = (
        "import sys; from tfx_feeder.pipeline.cli.main import main\n"
        f"main(['schedule', 'preview', {REFERENCE!r}, '--examples', '50000'],"
        " standalone_mode=False)\n"
        "assert not {'tensorflow', 'keras', 'tfx'} & set(sys.modules)"
    )

    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
