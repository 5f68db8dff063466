"""Each benchmark runs in its short form and ends with a ratio, whatever the ratio is."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "script",
    [
        "feed_throughput",
        "input_stall",
        "long_run",
        "loop_vs_fit",
        "pipeline_vs_stock",
        "schedule_vs_diy",
    ],
)
def test_quick_run_ends_with_a_ratio(script: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / f"{script}.py"), "--quick"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    match = re.match(r"ratio (\d+\.\d+) \(median of 1\)", last)
    assert match, done.stdout
    assert float(match[1]) > 0
