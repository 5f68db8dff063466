"""Search for subpopulations in which a model is worse than elsewhere.

All conjunctions of up to three feature values are counted, not a heuristic selection of them, as in
SliceLine (Sagadeeva and Boehm, SIGMOD 2021) but with a test instead of a score: a slice is reported
if its loss exceeds that elsewhere by more than a margin, beyond what chance explains among all
slices that were tested. What was found is measured on examples that were not searched.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.common.validation import check_at_least
from tfx_feeder.components.slice_gen.conjunctions import (
    REST,
    Columns,
    ConjunctionCounts,
    ConjunctionIndex,
)
from tfx_feeder.components.slice_gen.tail import LossDistribution, binary_tail

LONGEST = 3
_SAME_STRENGTH = 0.9
"""Fraction of the strongest deviation from which a shorter conjunction is preferred."""
_WORTH_TESTING = 2.0
"""Standard deviations below which no slice can be significant among many."""
_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class SliceSearchOptions:
    """Options of the search.

    Args:
        max_conjunction: Largest number of feature values in a slice, 1 to 3.
        min_examples: Smallest number of examples of a slice among those searched.
        margin: Difference to the mean loss elsewhere that does not matter.
        error_rate: Probability of reporting any slice that is not worse, 0 to 1; each length of
            conjunction has an equal part of it, corrected for the slices of that length.
        max_slices: Largest number of slices reported.
        estimate_fraction: Fraction of the examples that are not searched, on which the slices found
            are measured, 0 to 1.

    Raises:
        ConfigError: A value is out of range.
    """

    max_conjunction: int = LONGEST
    min_examples: int = 50
    margin: float = 0.01
    error_rate: float = 0.05
    max_slices: int = 10
    estimate_fraction: float = 0.2

    def __post_init__(self) -> None:
        check_at_least("min_examples", self.min_examples, 2)
        check_at_least("max_slices", self.max_slices, 1)
        if self.max_conjunction not in range(1, LONGEST + 1):
            raise ConfigError("max_conjunction", received=self.max_conjunction, expected="1 to 3")
        if not self.margin >= 0:
            raise ConfigError("margin", received=self.margin, expected="0 or more")
        for name in ("error_rate", "estimate_fraction"):
            if not 0 < getattr(self, name) < 1:
                raise ConfigError(name, received=getattr(self, name), expected="between 0 and 1")


@dataclass(frozen=True, slots=True)
class Column:
    """Feature of a table of codes.

    Args:
        name: Name of the feature.
        values: Description of each code from 1, such as ``red`` or ``[3, 7)``. Code 0 holds all
            values that are too rare.
    """

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Estimate:
    """Mean loss of a slice beside that of the other examples.

    Args:
        examples: Number of examples in the slice.
        loss: Mean loss in the slice.
        elsewhere: Mean loss of the other examples.
        low: Lower bound of the 95 % confidence interval of the difference.
        high: Upper bound.
    """

    examples: int
    loss: float
    elsewhere: float
    low: float
    high: float

    @property
    def effect(self) -> float:
        """Difference to the mean loss elsewhere."""
        return self.loss - self.elsewhere


@dataclass(frozen=True, slots=True)
class FoundSlice:
    """Slice in which the loss is higher than elsewhere.

    Args:
        values: Feature names and values of the conjunction.
        examples: Number of examples searched in the slice.
        loss: Their mean loss.
        elsewhere: Mean loss of the other examples searched.
        p_value: Probability of such a loss by chance, corrected for all slices tested.
        estimate: Loss on examples that were not searched; ``None`` if the slice has none.
    """

    values: tuple[tuple[str, str], ...]
    examples: int
    loss: float
    elsewhere: float
    p_value: float
    estimate: Estimate | None


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Outcome of a search.

    Args:
        slices: Slices found, the strongest first.
        tested: Number of slices tested, by length of the conjunction.
        searched: Number of examples searched.
        mean_loss: Mean loss of the examples searched.
    """

    slices: tuple[FoundSlice, ...]
    tested: tuple[int, ...]
    searched: int
    mean_loss: float


@dataclass(frozen=True, slots=True)
class _Candidates:
    """Slices of enough examples; arrays are ``[slices]``."""

    columns: np.ndarray  # Position in the list of conjunctions.
    cells: np.ndarray
    length: np.ndarray
    examples: np.ndarray
    loss: np.ndarray
    deviation: np.ndarray


def find_weak_slices(
    columns: Sequence[Column],
    codes: np.ndarray,
    loss: np.ndarray,
    options: SliceSearchOptions = SliceSearchOptions(),
    *,
    seed: int = 0,
) -> SearchResult:
    """Finds the conjunctions of feature values in which the loss is higher than elsewhere.

    Args:
        columns: Features.
        codes: Code of each example in each feature, integer ``[columns, examples]``; 0 for values
            that are no slice.
        loss: Loss of each example, finite, ``[examples]``; 0 and 1 for right and wrong answers.
        options: Options of the search.
        seed: Selects the examples that are not searched.
    """
    held_out = np.random.default_rng(seed).random(len(loss)) < options.estimate_fraction
    searched = ~held_out
    search = _Search(columns, codes[:, searched], loss[searched], options)
    found = []
    for columns_of_slice, values, p_value, of_slice, elsewhere in search.found():
        inside = (codes[list(columns_of_slice)] == values[:, None]).all(axis=0)
        found.append(
            FoundSlice(
                values=tuple(
                    (columns[column].name, columns[column].values[value - 1])
                    for column, value in zip(columns_of_slice, values, strict=True)
                ),
                examples=int(np.count_nonzero(inside & searched)),
                loss=of_slice,
                elsewhere=elsewhere,
                p_value=p_value,
                estimate=_estimate(loss[held_out], inside[held_out]),
            )
        )
    return SearchResult(
        tuple(found), search.tested, len(loss[searched]), float(loss[searched].mean())
    )


class _Search:
    def __init__(
        self,
        columns: Sequence[Column],
        codes: np.ndarray,
        loss: np.ndarray,
        options: SliceSearchOptions,
    ) -> None:
        self._codes, self._loss, self._options = codes, loss, options
        self._binary = bool(np.isin(loss, (0, 1)).all())
        self._distribution = None if self._binary else LossDistribution(loss)
        index = ConjunctionIndex([len(column.values) + 1 for column in columns])
        self._counts = [self._counted(index)]
        if options.max_conjunction == LONGEST:
            pairs = self._counts[0].frequent_pairs(options.min_examples)
            self._counts.append(self._counted(ConjunctionIndex(index.cardinalities, pairs)))
        self._groups = [
            (counts, columns_of_group)
            for counts in self._counts
            for columns_of_group, _ in counts
            if len(columns_of_group) <= options.max_conjunction
        ]
        candidates = self._candidates()
        self.tested = tuple(
            int(np.count_nonzero(candidates.length == length))
            for length in range(1, options.max_conjunction + 1)
        )

    def _counted(self, index: ConjunctionIndex) -> ConjunctionCounts:
        counts = ConjunctionCounts(index)
        counts.add(self._codes, self._loss)
        return counts

    def found(self) -> Iterator[tuple[Columns, np.ndarray, float, float, float]]:
        """Yields slices, each found among the examples outside those before it."""
        rest = np.ones(len(self._loss), bool)
        for _ in range(self._options.max_slices):
            candidates = self._candidates()
            p_values = self._p_values(candidates)
            best = _best(candidates, p_values < self._options.error_rate)
            if best is None:
                return
            counts, columns = self._groups[candidates.columns[best]]
            values = counts.index.values(columns, candidates.cells[best : best + 1])[0]
            examples, loss = candidates.examples[best], candidates.loss[best]
            elsewhere = (counts.loss - loss) / (counts.examples - examples)
            yield columns, values, float(p_values[best]), loss / examples, elsewhere
            inside = rest & (self._codes[list(columns)] == values[:, None]).all(axis=0)
            rest &= ~inside
            for counts in self._counts:
                counts.add(self._codes[:, inside], self._loss[inside], sign=-1)

    def _candidates(self) -> _Candidates:
        total, parts = self._counts[0], []
        for position, (counts, columns) in enumerate(self._groups):
            of_cells = counts[columns]
            # A slice of most examples is described by what it excludes.
            fits = (of_cells.examples >= self._options.min_examples) & (
                2 * of_cells.examples <= total.examples
            )
            cells = np.flatnonzero(fits)
            values = counts.index.values(columns, cells)
            cells = cells[(values != REST).all(axis=1)]
            parts.append((position, len(columns), cells, of_cells))
        examples = np.concatenate([of.examples[cells] for _, _, cells, of in parts])
        loss = np.concatenate([of.loss[cells] for _, _, cells, of in parts])
        sizes = [len(cells) for _, _, cells, _ in parts]
        return _Candidates(
            columns=np.repeat([position for position, *_ in parts], sizes),
            cells=np.concatenate([cells for _, _, cells, _ in parts]),
            length=np.repeat([length for _, length, *_ in parts], sizes),
            examples=examples,
            loss=loss,
            deviation=self._deviation(examples, loss),
        )

    def _deviation(self, examples: np.ndarray, loss: np.ndarray) -> np.ndarray:
        """Returns standard deviations above the mean loss plus the margin, ``[slices]``."""
        total = self._counts[0]
        mean = total.loss / max(total.examples, 1)
        if self._distribution is None:
            variance = max(mean * (1 - mean), 1e-12)
        else:
            variance = max(self._distribution.std**2, 1e-300)
        return (loss / examples - mean) * np.sqrt(examples / variance)

    def _p_values(self, candidates: _Candidates) -> np.ndarray:
        """Returns p-values corrected for all slices of the first search, ``[slices]``."""
        p_values = np.ones(len(candidates.cells))
        worth = np.flatnonzero(candidates.deviation > _WORTH_TESTING)
        examples, loss = candidates.examples[worth], candidates.loss[worth]
        tests = np.array([0, *self.tested])[candidates.length[worth]] * len(self.tested)
        margin = self._options.margin
        if self._distribution is None:
            total = self._counts[0]
            overall = (round(total.loss), total.examples)
            cutoff = self._options.error_rate / tests
            p = binary_tail(np.rint(loss), examples, overall, margin, cutoff)
        else:
            p = self._distribution.tail(loss / examples, examples, margin)
        p_values[worth] = np.minimum(1, p * tests)
        return p_values


def _best(candidates: _Candidates, significant: np.ndarray) -> int | None:
    """Returns the strongest slice, or a shorter one that is nearly as strong."""
    positions = np.flatnonzero(significant)
    if not len(positions):
        return None
    deviation = candidates.deviation[positions]
    near = positions[deviation >= _SAME_STRENGTH * deviation.max()]
    order = np.lexsort((-candidates.deviation[near], candidates.length[near]))
    return int(near[order[0]])


def _estimate(loss: np.ndarray, inside: np.ndarray) -> Estimate | None:
    of_slice, others = loss[inside], loss[~inside]
    if not len(of_slice) or not len(others):
        return None
    low, high = _difference_interval(of_slice, others)
    return Estimate(len(of_slice), float(of_slice.mean()), float(others.mean()), low, high)


def _difference_interval(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    difference = one.mean() - other.mean()
    if np.isin(one, (0, 1)).all() and np.isin(other, (0, 1)).all():
        # Newcombe, "Interval estimation for the difference between independent proportions",
        # Statistics in Medicine, 1998, method 10.
        (low_1, high_1), (low_2, high_2) = _wilson(one), _wilson(other)
        below = np.hypot(one.mean() - low_1, high_2 - other.mean())
        above = np.hypot(high_1 - one.mean(), other.mean() - low_2)
        return float(difference - below), float(difference + above)
    variances = [x.var(ddof=1) / len(x) if len(x) > 1 else np.inf for x in (one, other)]
    half = stats.norm.ppf((1 + _CONFIDENCE) / 2) * np.sqrt(sum(variances))
    return float(difference - half), float(difference + half)


def _wilson(answers: np.ndarray) -> tuple[float, float]:
    interval = stats.binomtest(int(answers.sum()), len(answers)).proportion_ci(
        _CONFIDENCE, method="wilson"
    )
    return interval.low, interval.high
