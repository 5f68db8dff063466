r"""Verdicts about drift: false alarms on data that did not change, alarms on data that did.

\b
verdict     statistics of TFDV compared by a test and by the distance above the noise, feature by
            feature, as SliceGen does for tables
classifier  the two-sample classifier test on pixels, as SliceGen does for images
threshold   the rule that TFDV leaves to its users: any Jensen-Shannon divergence or L-infinity
            distance above 0.1

Tables are penguins, drawn from means and deviations of the three species; images are scikit-learn's
digits and Fashion-MNIST. The ratio compares the false alarms of threshold with those of verdict, at
least one of which is counted.
"""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import click
import harness
import numpy as np
from scipy import stats

from tfx_feeder.components.slice_gen.classifier_test import classifier_test
from tfx_feeder.components.slice_gen.distances import distance
from tfx_feeder.components.slice_gen.drift import compare_statistics
from tfx_feeder.schemas.statistics import SplitStatistics, read_statistics

THRESHOLD = 0.1
SIZES, QUICK_SIZES = (10, 100, 300, 2_000), (50,)
Table = Mapping[str, np.ndarray]
# Species: share, then mean and deviation of bill length, bill depth, flipper length (mm) and body
# mass (g), after Horst, Hill and Gorman, "palmerpenguins", 2020.
SPECIES = {
    "Adelie": (0.44, (38.8, 2.7), (18.3, 1.2), (190.0, 6.5), (3701.0, 459.0)),
    "Gentoo": (0.36, (47.5, 3.1), (15.0, 1.0), (217.2, 6.5), (5076.0, 504.0)),
    "Chinstrap": (0.20, (48.8, 3.3), (18.4, 1.1), (195.8, 7.1), (3733.0, 384.0)),
}
MEASURED = ("bill_length", "bill_depth", "flipper_length", "body_mass")
_FORMS = 646
"""First of scikit-learn's digits that is of the sixth form."""


@click.command(help=__doc__)
@click.option("--splits", default=200, show_default=True, help="Random splits of the same data.")
@click.option("--draws", default=20, show_default=True, help="Draws of each kind of real drift.")
@harness.options(repeats=1)
def main(
    splits: int, draws: int, repeats: int, quick: bool, only: str | None, work_dir: Path | None
) -> None:
    splits, draws = (3, 2) if quick else (splits, draws)
    sizes = QUICK_SIZES if quick else SIZES
    verdict, threshold = _unchanged_tables(splits, sizes)
    images = {"digits": _digits()} | ({} if quick else {"Fashion-MNIST": _fashion_mnist()})
    _unchanged_images(splits, images)
    _changed(draws, sizes[-1], images)
    print(
        f"ratio {threshold / max(1, verdict):.2f} (median of 1): alarms on unchanged tables, "
        "threshold to verdict"
    )


def _unchanged_tables(splits: int, sizes: tuple[int, ...]) -> tuple[int, int]:
    rows, totals = [], np.zeros(2, int)
    for size in sizes:
        rng = np.random.default_rng(size)
        alarms = np.zeros(2, int)
        for _ in range(splits):
            alarms += _table_alarms(_penguins(rng, size), _penguins(rng, size))
        rows.append((f"{size:,} and {size:,}", *(_rate(count, splits) for count in alarms)))
        totals += alarms
    title = f"Alarms on {splits} pairs of unchanged tables; nominal rate at most 5 %"
    harness.show(title, ("examples", "verdict", "threshold"), rows)
    return int(totals[0]), int(totals[1])


def _unchanged_images(splits: int, images: Mapping[str, np.ndarray]) -> None:
    rows = []
    for name, data in images.items():
        alarms = 0
        for seed in range(splits):
            order = np.random.default_rng(seed).permutation(len(data))
            size = min(1_000, len(data) // 2)
            one, other = data[order[:size]], data[order[size : 2 * size]]
            alarms += classifier_test(one, other, seed=seed).drifted
        rows.append((f"{name}, {size:,} and {size:,}", _rate(alarms, splits)))
    title = f"Alarms on {splits} random splits of the same images; nominal rate at most 5 %"
    harness.show(title, ("images", "classifier"), rows)


def _changed(draws: int, size: int, images: Mapping[str, np.ndarray]) -> None:
    rows = []
    tables: dict[str, Callable[[np.random.Generator], Table]] = {
        "penguins without Chinstrap": lambda rng: _penguins(rng, size, without="Chinstrap"),
        "penguins, body mass 0.3 deviations higher": lambda rng: _heavier(_penguins(rng, size)),
    }
    for name, draw in tables.items():
        rng = np.random.default_rng(1)
        alarms = sum(
            (_table_alarms(draw(rng), _penguins(rng, size)) for _ in range(draws)),
            np.zeros(2, int),
        )
        rows.append((f"{name}, {size:,}", *(f"{count} of {draws}" for count in alarms), ""))
    digits = images["digits"]
    halves = {"digits, forms 1 to 5 and 6 to 10": (digits[:_FORMS], digits[_FORMS : 2 * _FORMS])}
    if "Fashion-MNIST" in images:
        clothes = images["Fashion-MNIST"][:4_000]
        for factor in (0.9, 0.8):
            darker = f"Fashion-MNIST, brightness times {factor}"
            halves[darker] = (clothes[:2_000] * factor, clothes[2_000:])
    for name, (current, baseline) in halves.items():
        found = 0
        for seed in range(draws):
            rng = np.random.default_rng(seed)
            one, other = (rng.choice(side, 500, replace=False) for side in (current, baseline))
            found += classifier_test(one, other, seed=seed).drifted
        rows.append((f"{name}, 500", "", "", f"{found} of {draws}"))
    harness.show("Alarms on data that changed", ("", "verdict", "threshold", "classifier"), rows)


def _table_alarms(current: Table, baseline: Table) -> np.ndarray:
    """Returns the alarms of verdict and of threshold, 0 or 1."""
    sides = [_statistics(table) for table in (current, baseline)]
    report = compare_statistics(*sides)
    distances = [distance(side, sides[1].feature(side.name)) for side in sides[0].features]
    above = any(found is not None and found.value > THRESHOLD for found in distances)
    return np.array([any(row.verdict == "drift" for row in report.features), above], int)


def _statistics(table: Table) -> SplitStatistics:
    """Returns the statistics as StatisticsGen writes them."""
    import pandas as pd
    import tensorflow_data_validation as tfdv

    found = tfdv.generate_statistics_from_dataframe(pd.DataFrame(table), n_jobs=1)
    with tempfile.TemporaryDirectory() as folder:
        split = Path(folder) / "Split-train"
        split.mkdir()
        (split / "FeatureStats.pb").write_bytes(found.SerializeToString())
        return read_statistics(Path(folder))[0]


def _penguins(rng: np.random.Generator, size: int, without: str = "") -> dict[str, np.ndarray]:
    names = [name for name in SPECIES if name != without]
    shares = np.array([SPECIES[name][0] for name in names])
    species = rng.choice(names, size, p=shares / shares.sum())
    table = {"species": species.astype(object)}
    for position, name in enumerate(MEASURED, 1):
        mean, deviation = np.array([SPECIES[each][position] for each in species]).T
        table[name] = rng.normal(mean, deviation)
    return table


def _heavier(table: dict[str, np.ndarray]) -> Table:
    mass = table["body_mass"]
    return table | {"body_mass": mass + 0.3 * mass.std()}


def _digits() -> np.ndarray:
    from sklearn.datasets import load_digits

    return np.float32(load_digits().images)


def _fashion_mnist() -> np.ndarray:
    """Returns images of 14 x 14 pixels, means of four: ``[examples, 14, 14]``."""
    import reference

    images = np.float32(reference.load("fashion_mnist")["eval"][0][:, 2:-2, 2:-2, 0])
    return images.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4))


def _rate(count: int, trials: int) -> str:
    interval = stats.binomtest(int(count), trials).proportion_ci(0.95)
    return f"{count / trials:.1%} ({interval.low:.1%} to {interval.high:.1%})"


if __name__ == "__main__":
    main()
