r"""The search for weak slices: its time, its false alarms, and its power to find what is there.

\b
speed   rows x 20 columns, all conjunctions of up to three values, in one process without threads;
        the beam search of pysubgroup on the smaller table, which looks at a part of them
clean   the losses depend on no column: how often anything is reported
power   a slice of some examples has a loss of ten points more, 20 % instead of 10 %

The ratio compares the CPU seconds of the beam search and of the search; without pysubgroup, those
of the larger table and of the smaller one.
"""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import environments
import harness
import numpy as np
from scipy import stats

from tfx_feeder.components.slice_gen.search import (
    Column,
    SliceSearchOptions,
    find_weak_slices,
)

COLUMNS = 20
LOSS, WORSE = 0.1, 0.1
OPTIONS = SliceSearchOptions()
CLEAN = SliceSearchOptions(margin=0.0)
RIVAL = "pysubgroup"


@dataclass(frozen=True, slots=True)
class Planted:
    """Slice with more losses than elsewhere.

    Args:
        share: Name of its share of the examples.
        cardinalities: Values of each of its columns, all equally frequent.
    """

    share: str
    cardinalities: tuple[int, ...]


PLANTED = (
    Planted("2 %", (7, 7)),
    Planted("0.5 %", (200,)),
    Planted("0.5 %", (14, 14)),
    Planted("0.5 %", (6, 6, 6)),
)


@click.command(help=__doc__)
@click.option("--runs", default=1_000, show_default=True, help="Clean tables.")
@click.option("--planted", default=20, show_default=True, help="Tables with each planted slice.")
@harness.options(repeats=5)
def main(
    runs: int, planted: int, repeats: int, quick: bool, only: str | None, work_dir: Path | None
) -> None:
    sizes = (2_000, 8_000) if quick else (60_000, 1_000_000)
    if only:
        assert work_dir is not None
        harness.emit(_measure(only, work_dir))
        return
    with tempfile.TemporaryDirectory() as folder:
        ratios = _speed(Path(folder), sizes, repeats, quick=quick)
    _clean(10 if quick else runs, 2_000 if quick else 20_000)
    _power(2 if quick else planted, sizes)
    print(f"ratio {harness.describe(ratios)}: CPU seconds of {_compared(quick)}")


def _compared(quick: bool) -> str:
    if quick or environments.install(RIVAL):
        return "the search in the larger table to that in the smaller one"
    return "pysubgroup's beam search to the search"


def _speed(folder: Path, sizes: Sequence[int], repeats: int, *, quick: bool) -> list[float]:
    for rows in sizes:
        codes, loss = _table(np.random.default_rng(rows), rows, PLANTED[0])
        np.savez(folder / f"{rows}.npz", codes=codes, loss=loss)
    variants = [str(rows) for rows in sizes]
    reason = "not in the short form" if quick else environments.install(RIVAL)
    if reason:
        print(f"{RIVAL}: {reason}")
    samples = harness.in_turn(__file__, variants, repeats, folder, quick=quick)
    if not reason:
        # It takes a minute, and its time varies little.
        samples |= harness.in_turn(__file__, [RIVAL], 1, folder)
    layouts = {"wall_s": ".2f", "cpu_s": ".2f"}
    rows = [
        (
            f"{int(name):,} rows" if name != RIVAL else f"{RIVAL}, {sizes[0]:,} rows",
            f"{harness.median(taken, 'tested'):,.0f}" if name != RIVAL else "",
            *harness.medians(taken, layouts),
            f"{harness.median(taken, 'peak_rss_mib'):.0f}" if name != RIVAL else "",
        )
        for name, taken in samples.items()
    ]
    columns = ("", "slices tested", "seconds", "CPU seconds", "peak MiB")
    harness.show(f"Search in {COLUMNS} columns", columns, rows)
    small, large = (samples[name] for name in variants)
    if reason:
        return harness.ratios(large, small, "cpu_s")
    return [samples[RIVAL][0]["cpu_s"] / sample["cpu_s"] for sample in small]


def _measure(variant: str, folder: Path) -> dict[str, float]:
    if variant == RIVAL:
        script, data = Path(__file__).with_name("search_pysubgroup.py"), "60000.npz"
        return json.loads(
            environments.run_script(RIVAL, script, str(folder / data)).splitlines()[-1]
        )
    stored = np.load(folder / f"{variant}.npz")
    codes, loss = stored["codes"], stored["loss"]
    with harness.stopwatch() as sample:
        result = find_weak_slices(_columns(codes), codes, loss, OPTIONS)
    return {**sample, "tested": sum(result.tested)}


def _clean(runs: int, rows: int) -> None:
    lines = []
    for name, options in (("margin 0", CLEAN), (f"margin {OPTIONS.margin}", OPTIONS)):
        false = tested = 0
        for seed in range(runs):
            codes, loss = _table(np.random.default_rng(seed), rows)
            result = find_weak_slices(_columns(codes), codes, loss, options, seed=seed)
            false += bool(result.slices)
            tested += sum(result.tested)
        interval = stats.binomtest(false, runs).proportion_ci(0.95)
        lines.append(
            (
                name,
                f"{tested / runs:,.0f}",
                f"{false} of {runs:,}",
                f"{interval.low:.1%} to {interval.high:.1%}",
            )
        )
    title = f"Clean tables of {rows:,} rows; nominal rate {OPTIONS.error_rate:.0%}"
    harness.show(title, ("", "slices tested", "with a false slice", "95 % interval"), lines)


def _power(runs: int, sizes: Sequence[int]) -> None:
    lines = []
    for rows, planted_slices in ((sizes[0], PLANTED), (sizes[-1], PLANTED[-1:])):
        for planted in planted_slices:
            outcomes = [_found(planted, rows, seed) for seed in range(runs)]
            exact, relative, others, power = (sum(each) for each in zip(*outcomes, strict=True))
            lines.append(
                (
                    f"{planted.share} of {rows:,}",
                    f"{len(planted.cardinalities)}",
                    f"{exact} of {runs}",
                    f"{relative} of {runs}",
                    f"{others / runs:.2f}",
                    f"{power / runs:.1%}",
                )
            )
    title = "A planted slice, ten points worse: found, and the power of its corrected test"
    columns = ("examples", "features", "exactly", "or a relative", "other slices", "power")
    harness.show(title, columns, lines)


def _found(planted: Planted, rows: int, seed: int) -> tuple[bool, bool, int, float]:
    """Returns whether the slice and a relative was found, other slices, and the power."""
    codes, loss = _table(np.random.default_rng(seed), rows, planted)
    columns, number = _columns(codes), len(planted.cardinalities)
    result = find_weak_slices(columns, codes, loss, OPTIONS, seed=seed)
    truth = {(columns[i].name, columns[i].values[0]) for i in range(number)}
    inside = (codes[:number] == 1).all(axis=0)
    overlaps = [_overlap(codes, columns, each.values, inside) for each in result.slices]
    return (
        any(set(each.values) == truth for each in result.slices),
        any(overlap > 0.5 for overlap in overlaps),
        sum(overlap <= 0.5 for overlap in overlaps),
        _power_to_find(result.tested, number, inside, rows),
    )


def _overlap(
    codes: np.ndarray,
    columns: Sequence[Column],
    values: tuple[tuple[str, str], ...],
    inside: np.ndarray,
) -> float:
    """Returns the Jaccard index of a slice and the planted one."""
    positions = [int(name[1:]) for name, _ in values]
    wanted = [
        columns[i].values.index(value) + 1 for i, (_, value) in zip(positions, values, strict=True)
    ]
    rows = (codes[positions] == np.array(wanted)[:, None]).all(axis=0)
    return np.count_nonzero(rows & inside) / max(1, np.count_nonzero(rows | inside))


def _power_to_find(tested: Sequence[int], length: int, inside: np.ndarray, rows: int) -> float:
    """Returns the probability that the planted slice alone passes its corrected test."""
    searched = round(np.count_nonzero(inside) * (1 - OPTIONS.estimate_fraction))
    overall = LOSS + WORSE * np.count_nonzero(inside) / rows
    cutoff = OPTIONS.error_rate / len(tested) / tested[length - 1]
    least = stats.binom.isf(cutoff, searched, overall + OPTIONS.margin) + 1
    return float(stats.binom.sf(least - 1, searched, LOSS + WORSE))


def _table(
    rng: np.random.Generator, rows: int, planted: Planted | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Returns codes ``[columns, rows]`` and losses ``[rows]``; the slice has code 1 throughout."""
    first = planted.cardinalities if planted else ()
    rest = rng.integers(2, 13, COLUMNS - len(first))
    codes = np.stack([rng.integers(1, values + 1, rows) for values in (*first, *rest)])
    rate = np.full(rows, LOSS)
    if planted:
        rate[(codes[: len(first)] == 1).all(axis=0)] += WORSE
    return codes.astype(np.int16), (rng.random(rows) < rate).astype(float)


def _columns(codes: np.ndarray) -> list[Column]:
    return [
        Column(f"c{index}", tuple(str(value) for value in range(1, column.max() + 1)))
        for index, column in enumerate(codes)
    ]


if __name__ == "__main__":
    main()
