"""TFX lines that a machine can run."""

import pytest

from tfx_feeder.pipeline.cli.environment import LINES, Machine, this_machine

NEW_LINUX = Machine("Linux", "x86_64", (2, 39))
OLD_LINUX = Machine("Linux", "x86_64", (2, 36))


@pytest.mark.parametrize(
    ("machine", "names"),
    [
        (NEW_LINUX, ["1.21", "1.16"]),
        (OLD_LINUX, ["1.16"]),
        (Machine("Linux", "x86_64", (2, 12)), []),
        (Machine("Linux", "x86_64", None), []),  # musl
        (Machine("Linux", "aarch64", (2, 41)), []),
        (Machine("Darwin", "arm64", None), ["1.21"]),
        (Machine("Darwin", "x86_64", None), []),
        (Machine("Windows", "AMD64", None), []),
    ],
)
def test_which_lines_a_machine_can_run(machine: Machine, names: list[str]) -> None:
    assert [line.name for line in LINES if not line.refusal(machine)] == names


def test_the_refusal_names_the_machine() -> None:
    assert "glibc 2.39 or newer; this machine has 2.36" in (LINES[0].refusal(OLD_LINUX) or "")


def test_this_machine_runs_a_line() -> None:
    assert [line for line in LINES if not line.refusal(this_machine())]
