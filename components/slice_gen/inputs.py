"""Data that slices are made of."""

from dataclasses import dataclass

from tfx_feeder.components.slice_gen.served import ServedInputs
from tfx_feeder.schemas.statistics import SplitStatistics


@dataclass(frozen=True, slots=True)
class Inputs:
    """Data that slices are made of.

    Args:
        examples: Folders of the splits, with TFRecord files of Examples.
        statistics: Statistics of the examples.
        features: Names of all features in the schema.
        baseline: Statistics whose quantiles cut numbers into intervals, if any.
        model: Folder of the model whose weak slices are proposed, if any.
        compared: Statistics of the current and of the earlier data whose distributions are
            compared, if any.
        served: Serving log, if any.
        baseline_examples: Folders of the splits of earlier examples, if any.
    """

    examples: tuple[str, ...]
    statistics: SplitStatistics
    features: tuple[str, ...]
    baseline: SplitStatistics | None = None
    model: str | None = None
    compared: tuple[SplitStatistics, SplitStatistics] | None = None
    served: ServedInputs | None = None
    baseline_examples: tuple[str, ...] = ()
