"""Benchmark harness: alternating variants in fresh processes, medians, ratios, a table."""

import functools
import json
import os
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

Sample = dict[str, Any]
"""What one process measured."""

Samples = dict[str, list[Sample]]
"""Samples of each variant, in the order in which they were taken."""

# Before TensorFlow is imported, here and in the processes that are started: figures only.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
warnings.filterwarnings("ignore", category=FutureWarning, module="google")

_ONLY, _WORK_DIR = "--only", "--work-dir"
_ROUND = "TFX_FEEDER_BENCHMARK_ROUND"
_console = Console(width=None if sys.stdout.isatty() else 120)


def options(*, repeats: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Adds the options that all benchmarks have.

    Args:
        repeats: Default for the number of samples of each variant.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        decorators = [
            click.option("--repeats", default=repeats, show_default=True, help="Samples of each."),
            click.option("--quick", is_flag=True, help="Prove that it runs; figures mean nothing."),
            click.option(_ONLY, help="Measure one variant in this process and print it as JSON."),
            click.option(
                _WORK_DIR, type=click.Path(path_type=Path), help="Folder of the prepared data."
            ),
        ]
        return functools.reduce(lambda wrapped, add: add(wrapped), decorators, command)

    return decorate


def in_turn(
    script: str, variants: Sequence[str], repeats: int, work_dir: Path, *, quick: bool = False
) -> Samples:
    """Measures the variants alternately (A B A B ...), so that a drift of the machine hits all.

    Args:
        script: File to run; it is called with this process's own arguments, and with ``--only``
            and ``--work-dir`` it must end by ``emit``.
        variants: Names that ``--only`` takes.
        repeats: Samples of each variant; 1 where ``quick``.
        work_dir: Passed on.
        quick: Short form.
    """
    samples: Samples = {variant: [] for variant in variants}
    rounds = 1 if quick else repeats
    with _console.status("") as status:
        for number in range(rounds):
            for variant in variants:
                status.update(f"round {number + 1} of {rounds}: {variant}")
                samples[variant].append(in_fresh_process(script, variant, work_dir, number))
    return samples


def round_number() -> int:
    """Returns the round that this process measures, from 0: a seed, the same for all variants."""
    return int(os.environ.get(_ROUND, "0"))


def in_fresh_process(script: str, variant: str, work_dir: Path, number: int = 0) -> Sample:
    """Measures one variant; see ``in_turn``.

    Args:
        script: File to run.
        variant: Name that ``--only`` takes.
        work_dir: Passed on.
        number: Of the round.
    """
    command = [sys.executable, script, *sys.argv[1:], _ONLY, variant, _WORK_DIR, str(work_dir)]
    begin = time.perf_counter()
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, _ROUND: str(number)},
    )
    elapsed = time.perf_counter() - begin
    if done.returncode:
        raise click.ClickException(f"{' '.join(command)} failed:\n{done.stdout}\n{done.stderr}")
    return {**json.loads(done.stdout.splitlines()[-1]), "process_s": elapsed}


def emit(sample: Mapping[str, Any]) -> None:
    """Prints a sample as the last line of a process that ``in_turn`` started.

    The process's CPU seconds and its peak memory in MiB are added.
    """
    usage = resource.getrusage(resource.RUSAGE_SELF)
    totals = {
        "process_cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_rss_mib": usage.ru_maxrss / 1024,
    }
    print(json.dumps({**sample, **totals}), flush=True)


@contextmanager
def stopwatch() -> Iterator[dict[str, float]]:
    """Measures a block: ``wall_s``, and ``cpu_s`` over all threads of this process."""
    sample: dict[str, float] = {}
    wall, cpu = time.perf_counter(), time.process_time()
    yield sample
    sample |= {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}


def median(samples: Sequence[Sample], figure: str) -> float:
    """Returns the median of a figure over the samples of one variant."""
    return statistics.median(sample[figure] for sample in samples)


def medians(samples: Sequence[Sample], layouts: Mapping[str, str]) -> list[str]:
    """Returns the medians of several figures, each written in its format."""
    return [format(median(samples, figure), layout) for figure, layout in layouts.items()]


def ratios(ours: Sequence[Sample], competitor: Sequence[Sample], figure: str) -> list[float]:
    """Returns ours / competitor, round by round: the two of a round met the same machine."""
    return [a[figure] / b[figure] for a, b in zip(ours, competitor, strict=True)]


def describe(values: Sequence[float]) -> str:
    """Writes ratios as ``1.31 (median of 5; 1.28-1.36)``."""
    text = f"{statistics.median(values):.2f} (median of {len(values)}"
    return f"{text}; {min(values):.2f}-{max(values):.2f})" if len(values) > 1 else f"{text})"


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table; the first column is text, the others are figures."""
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right")
    for row in rows:
        table.add_row(*row)
    _console.print(table)
