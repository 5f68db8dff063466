"""Each benchmark runs in its short form and ends with a ratio, whatever the ratio is."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
pytestmark = pytest.mark.slow


SHORT = [
    "feed_throughput.py",
    "gate.py",
    "lineage.py",
    "slice_search.py",
    "wide_table.py",
]
LONG = [
    "schedule_vs_diy.py",
    "strategies.py --strategy mirrored",
    "drift.py",
    "evaluation.py --data digits",
    "input_stall.py",
    "long_run.py",
    "loop_vs_fit.py",
    "pipeline_vs_stock.py",
    "retraining.py --data digits",
    "strategies.py --converge --strategy peer_averaging",
    "strategies.py --predict --schedule short",
]


@pytest.mark.parametrize(
    "command", [*SHORT, *(pytest.param(each, marks=pytest.mark.long) for each in LONG)]
)
def test_quick_run_ends_with_a_ratio(command: str, tmp_path: Path) -> None:
    script, *arguments = command.split()
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / script), *arguments, "--quick"],
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


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="has a GPU")
def test_gpu_benchmark_on_a_machine_without_a_gpu_ends_in_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "gpu.py")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "Error: This machine has no GPU that TensorFlow can use."
    assert not done.stdout
