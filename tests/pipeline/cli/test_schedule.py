"""``tfx-feeder schedule preview``."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from tfx_feeder.pipeline.cli.schedule import schedule

REFERENCE = "0.01:32x10, 0.005:64x10, 0.0025:128x10"


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(schedule, ["preview", *arguments], env={"COLUMNS": "80"})
    return result.exit_code, result.output


def test_draws_table_and_curves() -> None:
    code, output = run(REFERENCE, "--examples", "50000")

    assert code == 0
    for part in (
        "27,360",
        "learning rate\n",
        "0.0025 ┤",
        "global batch size\n",
        "128 ┤",
        "1,500,000",
    ):
        assert part in output


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
def test_errors_are_told_without_a_traceback(arguments: tuple[str, ...], message: str) -> None:
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
