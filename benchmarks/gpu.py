r"""FeederTrainer on a machine with a GPU, in less than eight minutes: results, then speed.

\b
1. The tests that compare FeederTrainer's loop with Keras's fit(), and those of its devices.
2. The ratios of loop_vs_fit.py, in as many rounds as there is time for.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import harness
import loop_vs_fit
import reference
import tensorflow as tf

ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / "tests" / "components" / "feeder_trainer"
TEST_LIMIT_S = 200
LIMIT_S = 460
"""For everything, so that the report comes before eight minutes are over."""
VARIANTS = ("fit", "fit_tuned", "feeder", "ceiling")


@click.command(help=__doc__)
@click.option("--data", type=click.Choice(reference.DATA), default="digits", show_default=True)
@harness.options(repeats=5)
def main(data: str, repeats: int, quick: bool, only: str | None, work_dir: Path | None) -> None:
    if only or work_dir:
        raise click.UsageError("Use loop_vs_fit.py for a single variant.")
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        raise click.ClickException("This machine has no GPU that TensorFlow can use.")
    began = time.perf_counter()
    name = tf.config.experimental.get_device_details(gpus[0]).get("device_name", gpus[0].name)
    print(f"{name}, TensorFlow {tf.__version__}")
    are_equal = _compare_results()
    samples: harness.Samples = {variant: [] for variant in VARIANTS}
    script, longest_s = str(Path(loop_vs_fit.__file__)), 0.0
    with tempfile.TemporaryDirectory() as folder:
        reference.write_records(data, Path(folder))
        for _ in range(1 if quick else repeats):
            begin = time.perf_counter()
            if begin + longest_s > began + LIMIT_S:
                break
            taken = harness.in_turn(script, VARIANTS, 1, Path(folder))
            for variant, sample in taken.items():
                samples[variant] += sample
            longest_s = max(longest_s, time.perf_counter() - begin)
    loop_vs_fit.report(samples, f"{data}, {name}")
    sys.exit(0 if are_equal else 1)


def _compare_results() -> bool:
    """Runs the tests, prints their summary, and returns True if all passed."""
    parity = sorted(TESTS.rglob("*parity*"))
    devices = sorted(TESTS.rglob("test_devices.py")) + sorted(TESTS.rglob("test_launch.py"))
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not multi_worker", "--tb=short"]
    try:
        done = subprocess.run(
            [*command, *map(str, [*parity, *devices])],
            cwd=ROOT,
            # Single precision, as the tolerances of the tests expect.
            env={**os.environ, "NVIDIA_TF32_OVERRIDE": "0"},
            stdout=subprocess.PIPE,
            text=True,
            check=False,
            timeout=TEST_LIMIT_S,
        )
    except subprocess.TimeoutExpired:
        print(f"The tests were not finished after {TEST_LIMIT_S} s.")
        return False
    lines = done.stdout.splitlines()
    print("\n".join(lines[-1:] if done.returncode == 0 else lines))
    return done.returncode == 0


if __name__ == "__main__":
    main()
