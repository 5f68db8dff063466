"""Statistics of arrays, as TensorFlow Data Validation computes them."""

from collections.abc import Mapping

import numpy as np

from tfx_feeder.schemas.statistics import Bucket, FeatureStatistics, SplitStatistics


def measured(columns: Mapping[str, np.ndarray], split: str = "train") -> SplitStatistics:
    """Returns the statistics of a table; numbers that are NaN are missing.

    Args:
        columns: Values of each feature ``[examples]``; text for categories.
        split: Name of the split.
    """
    size = len(next(iter(columns.values()), ()))
    features = tuple(_feature(name, np.asarray(values)) for name, values in columns.items())
    return SplitStatistics(split, size, features)


def _feature(name: str, values: np.ndarray) -> FeatureStatistics:
    size = len(values)
    if values.dtype.kind in "fiu":
        found = values[~np.isnan(values)]
        if not len(found):
            return FeatureStatistics(name, "number", 100.0)
        edges = np.linspace(found.min(), found.max(), 11)
        # Buckets contain their upper bounds, and the first one its lower bound.
        counts = np.diff(np.searchsorted(np.sort(found), edges, "right"), prepend=0)[1:]
        counts[0] += (found == found.min()).sum()
        buckets = [
            Bucket(float(low), float(high), count / len(found))
            for low, high, count in zip(edges, edges[1:], counts, strict=False)
        ]
        if found.min() == found.max():
            buckets = [Bucket(float(found[0]), float(found[0]), 1.0)]
        return FeatureStatistics(
            name=name,
            kind="number",
            missing_pct=100 * (1 - len(found) / size),
            minimum=float(found.min()),
            maximum=float(found.max()),
            buckets=tuple(buckets),
            present=len(found),
            values=len(found),
            counted=len(found),
            zeros=int((found == 0).sum()),
            quantiles=tuple(
                np.quantile(found, np.linspace(0, 1, 11), method="inverted_cdf").tolist()
            ),
            integer=values.dtype.kind in "iu",
        )
    found = values[values != ""]
    names, counts = np.unique(found, return_counts=True)
    order = np.argsort(-counts)
    return FeatureStatistics(
        name=name,
        kind="category" if len(found) else "bytes",
        missing_pct=100 * (1 - len(found) / size),
        unique=len(names),
        fractions=tuple((str(names[i]), counts[i] / len(found)) for i in order),
        present=len(found),
        values=len(found),
        counted=len(found),
    )
