r"""How often the gate refuses a model that is no worse, and finds one that is.

\b
A/A    two models of equal quality on 50 slices of 20 to 5,000 examples
power  one of the slices has a true loss of two points; its size varies

The answers to a tenth of the examples differ between the models, both of which answer nine of ten
right. "threshold" is a change threshold of TFMA, absolute -0.02 on every slice. The ratio compares
the false vetoes of the threshold with those of the gate, at least one of which is counted.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import click
import harness
import numpy as np
from scipy import stats

from tfx_feeder.components.eval_gate.gate import Gate, Margin
from tfx_feeder.components.eval_gate.verdict import decide
from tfx_feeder.schemas.model_comparison import AnswerCounts, ComparedSlice

SIZES = np.round(np.geomspace(20, 5_000, 50)).astype(int)
LOSS = 0.02
WATCHED = "size 50"
GATES = {
    "gate, no worse, Holm": Gate(margins=(Margin(0), Margin(0, "*"))),
    "gate, no worse, Benjamini-Hochberg": Gate(
        margins=(Margin(0), Margin(0, "*")), correction="benjamini_hochberg"
    ),
    "gate, margin 0.02, Holm": Gate(margins=(Margin(LOSS), Margin(LOSS, "*"))),
    "gate, must_not_regress that slice": Gate(must_not_regress=(WATCHED,)),
}
THRESHOLD = "threshold of TFMA"

Slices = Sequence[ComparedSlice]


@click.command(help=__doc__)
@click.option("--runs", default=1_000, show_default=True, help="Simulated models of each case.")
@harness.options(repeats=1)
def main(runs: int, repeats: int, quick: bool, only: str | None, work_dir: Path | None) -> None:
    runs = 10 if quick else runs
    vetoes = _false_vetoes(runs)
    _power(max(10, runs // 4), (100, 5_000) if quick else (100, 300, 1_000, 3_000, 5_000, 10_000))
    ours = max(1, vetoes["gate, no worse, Holm"])
    print(
        f"ratio {vetoes[THRESHOLD] / ours:.2f} (median of 1): models of equal quality refused, "
        "threshold of TFMA to gate"
    )


def _false_vetoes(runs: int) -> dict[str, int]:
    rng = np.random.default_rng(0)
    vetoes = dict.fromkeys((*GATES, THRESHOLD), 0)
    for _ in range(runs):
        slices = _simulate(rng, [*SIZES[:-1], 5_000], loss=0.0)
        for name, refused in _refusals(slices).items():
            vetoes[name] += bool(refused)
    rows = [(name, f"{count / runs:.1%}", _interval(count, runs)) for name, count in vetoes.items()]
    title = f"A/A: refused of {runs:,} models; nominal rate 5 %"
    harness.show(title, ("", "refused", "95 % interval"), rows)
    return vetoes


def _power(runs: int, sizes: Sequence[int]) -> None:
    caught: dict[str, list[str]] = {name: [] for name in (*GATES, THRESHOLD)}
    for size in sizes:
        rng = np.random.default_rng(size)
        found = dict.fromkeys(caught, 0)
        for _ in range(runs):
            slices = _simulate(rng, [*SIZES[:-1], size], loss=LOSS)
            for name, refused in _refusals(slices).items():
                found[name] += WATCHED in refused
        for name, count in found.items():
            caught[name].append(f"{count / runs:.0%}")
    title = f"A loss of two points in one of 50 slices: found, of {runs:,} models, by its size"
    columns = ("", *(f"{size:,}" for size in sizes))
    harness.show(title, columns, [(name, *rates) for name, rates in caught.items()])


def _refusals(slices: Slices) -> dict[str, set[str]]:
    """Returns the slices because of which each rule refuses the model."""
    judged = {name: _by_gate(gate) for name, gate in GATES.items()} | {THRESHOLD: _by_threshold}
    return {name: judge(slices) for name, judge in judged.items()}


def _by_gate(gate: Gate) -> Callable[[Slices], set[str]]:
    def judge(slices: Slices) -> set[str]:
        return {line.slice for line in decide(slices, gate, has_baseline=True).deciding}

    return judge


def _by_threshold(slices: Slices) -> set[str]:
    return {
        found.name
        for found in slices
        if found.candidate["accuracy"] - found.baseline["accuracy"] < -LOSS
    }


def _simulate(rng: np.random.Generator, sizes: Sequence[int], loss: float) -> Slices:
    """Returns slices of which the last has a true loss, and all examples, which are their sum."""
    cells = [rng.multinomial(n, _rates(0.0)) for n in sizes[:-1]]
    cells.append(rng.multinomial(sizes[-1], _rates(loss)))
    slices = [_slice(f"size {i + 1}", counts) for i, counts in enumerate(cells)]
    return [_slice("all examples", np.sum(cells, axis=0)), *slices]


def _rates(loss: float) -> list[float]:
    won, lost = 0.05 - loss / 2, 0.05 + loss / 2
    return [0.85, won, lost, 1 - 0.85 - won - lost]


def _slice(name: str, cells: np.ndarray) -> ComparedSlice:
    counts = AnswerCounts(*map(int, cells))
    n = counts.examples
    return ComparedSlice(
        name=name,
        columns=() if name == "all examples" else ("size",),
        examples=n,
        candidate={"accuracy": counts.right / n},
        baseline={"accuracy": (counts.both + counts.baseline_only) / n},
        answers={"accuracy": counts},
    )


def _interval(count: int, runs: int) -> str:
    interval = stats.binomtest(count, runs).proportion_ci(0.95)
    return f"{interval.low:.1%} to {interval.high:.1%}"


if __name__ == "__main__":
    main()
