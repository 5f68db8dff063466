"""Plan of the slices of a data set: encoders, declared crosses, and columns of the search."""

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.slice_gen.code_table import SearchColumn, search_columns
from tfx_feeder.components.slice_gen.encoders import Encoder, Encoders, make_encoders
from tfx_feeder.components.slice_gen.image_properties import PROPERTIES
from tfx_feeder.components.slice_gen.options import (
    ERROR,
    SQUARED_ERROR,
    LossOptions,
    SliceGenOptions,
)
from tfx_feeder.schemas.slices import SLICES_FEATURE, Remark
from tfx_feeder.schemas.statistics import SplitStatistics


@dataclass(frozen=True, slots=True)
class SlicePlan:
    """Columns and crosses that the slices of a data set are made of.

    Args:
        encoders: Encoders of features by name.
        properties: Properties of images that may be columns.
        crosses: Declared features and crosses whose columns have encoders or are properties.
        columns: Columns of features that are searched.
        remarks: Features that were left out.
    """

    encoders: Mapping[str, Encoder]
    properties: tuple[str, ...]
    crosses: tuple[tuple[str, ...], ...]
    columns: tuple[SearchColumn, ...]
    remarks: tuple[Remark, ...]

    @property
    def declared_properties(self) -> bool:
        """True if a property of images is declared as a slice."""
        return any(name in self.properties for cross in self.crosses for name in cross)


def make_plan(
    statistics: SplitStatistics,
    features: Collection[str],
    options: SliceGenOptions,
    baseline: SplitStatistics | None = None,
) -> SlicePlan:
    """Makes the plan of a data set.

    Args:
        statistics: Statistics of the examples.
        features: Names of all features in the schema.
        options: Declared slices and search.
        baseline: Statistics whose quantiles cut numbers into intervals, if any.

    Raises:
        ConfigError: An option names a feature that is not in the schema.
    """
    made = make_encoders(statistics, options, baseline)
    hidden = [name for name in PROPERTIES if name in features] if options.image_feature else []
    properties = PROPERTIES if options.image_feature else ()
    properties = tuple(name for name in properties if name not in hidden)
    _check_names(options, features, properties)
    named = [name for cross in options.crosses for name in cross]
    remarks = [
        *(Remark(name, "a feature of this name hides the property of images") for name in hidden),
        *_unsuitable([*named, *(options.columns or ())], made, properties),
    ]
    searched = _searched(made, statistics, options)
    if len(searched) > options.max_columns:
        left = len(searched) - options.max_columns
        remarks.append(Remark("columns", f"only {options.max_columns} are searched", left))
    return SlicePlan(
        encoders=made.encoders,
        properties=properties,
        crosses=tuple(
            cross
            for cross in options.crosses
            if all(name in made.encoders or name in properties for name in cross)
        ),
        columns=tuple(
            column
            for name in searched[: options.max_columns]
            for column in search_columns(made.encoders[name])
        ),
        remarks=tuple(dict.fromkeys(remarks)),
    )


def with_kind(loss: LossOptions, statistics: SplitStatistics) -> LossOptions:
    """Returns the options with the loss that ``auto`` stands for.

    Args:
        loss: Label and loss.
        statistics: Statistics of the label.
    """
    if loss.kind != "auto":
        return loss
    label = statistics.feature(loss.label)
    is_float = label is not None and label.kind == "number" and not label.integer
    return dataclasses.replace(loss, kind=SQUARED_ERROR if is_float else ERROR)


def _check_names(
    options: SliceGenOptions, features: Collection[str], properties: Collection[str]
) -> None:
    named = {
        "slices": [name for cross in options.crosses for name in cross],
        "columns": options.columns or (),
        "boundaries": options.boundaries,
        "image_feature": [options.image_feature] if options.image_feature else [],
        "label": [options.loss.label] if options.loss else [],
    }
    for argument, names in named.items():
        known = set(features)
        if argument not in ("image_feature", "label"):
            known.update(properties)
        for name in names:
            if name not in known:
                raise ConfigError(
                    argument,
                    received=name,
                    expected=f"a feature of the schema: {', '.join(sorted(known))}",
                )


def _unsuitable(
    names: Collection[str], made: Encoders, properties: Collection[str]
) -> Iterator[Remark]:
    for name in names:
        if name in made.remarks:
            yield made.remarks[name]
        elif name not in made.encoders and name not in properties:
            yield Remark(name, "the examples do not have the feature")


def _searched(made: Encoders, statistics: SplitStatistics, options: SliceGenOptions) -> list[str]:
    if options.columns is not None:
        return [name for name in options.columns if name in made.encoders]
    left_out = {SLICES_FEATURE}
    if options.loss:
        # Any model is worse on the rare class, and where a number is extreme; so obvious a slice
        # hides the others.
        left_out.add(options.loss.label)
    return [
        feature.name
        for feature in statistics.features
        if feature.name in made.encoders
        and feature.name not in left_out
        and not _is_rare(statistics, feature.fractions, options.search.min_examples)
    ]


def _is_rare(
    statistics: SplitStatistics, fractions: tuple[tuple[str, float], ...], least: int
) -> bool:
    """Returns True for identifiers: even the most frequent value is too rare to be a slice."""
    return bool(fractions) and fractions[0][1] * statistics.examples < least
