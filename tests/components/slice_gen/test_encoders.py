"""Codes of the values of features, and the names of their slices."""

import math

import pytest

from tfx_feeder.components.slice_gen.encoders import (
    IntervalEncoder,
    interval_encoder,
    make_encoders,
)
from tfx_feeder.components.slice_gen.options import SliceGenOptions
from tfx_feeder.schemas.statistics import FeatureStatistics, SplitStatistics


def _encoders(*features: FeatureStatistics, baseline=(), **options):
    before = SplitStatistics("train", 100, tuple(baseline)) if baseline else None
    return make_encoders(SplitStatistics("eval", 100, features), SliceGenOptions(**options), before)


def _number(name="x", *, low=0.0, high=1.0, integer=False, quantiles=(), **fields):
    return FeatureStatistics(
        name, "number", 0, minimum=low, maximum=high, quantiles=quantiles, integer=integer, **fields
    )


def _category(name="c", *labels, unique=None, **fields):
    fractions = tuple((label, 1 / len(labels)) for label in labels)
    return FeatureStatistics(
        name, "category", 0, unique=unique or len(labels), fractions=fractions, **fields
    )


def _names(encoder, *examples):
    return [
        [encoder.values[code - 1] if code else None for code in encoder.codes(values)]
        for values in examples
    ]


def test_values_of_a_category_are_slices_and_rare_ones_are_not():
    made = _encoders(_category("c", "größe", "", "red", unique=1_000_000), max_values=2)
    encoder = made.encoders["c"]
    found = _names(encoder, ["größe".encode()], [b""], [b"red"], [b"\xff"], [], [3])
    assert found == [["größe"], ["''"], [None], [None], ["(missing)"], [None]]
    assert str(made.remarks["c"]) == (
        "c: values beyond the 2 most frequent ones are no slices (999,998)"
    )


def test_an_example_of_several_values_is_in_several_slices():
    encoder = _encoders(_category("c", "a", "b", most_values=3)).encoders["c"]
    assert encoder.multivalent
    assert _names(encoder, [b"a", b"b", b"a"]) == [["a", "b"]]


def test_integers_of_a_small_range_are_slices_each():
    encoder = _encoders(_number(low=-1, high=3, integer=True)).encoders["x"]
    assert _names(encoder, [-1], [3], [4], []) == [["-1"], ["3"], [None], ["(missing)"]]
    categorical = _category("c", "7", "9", integer=True)
    assert _names(_encoders(categorical).encoders["c"], [9], [8]) == [["9"], [None]]


def test_numbers_are_cut_at_the_quantiles_of_the_baseline():
    now, before = tuple(map(float, range(11))), tuple(map(float, range(0, 101, 10)))
    feature = _number(high=10.0, quantiles=now)
    encoder = _encoders(feature, intervals=2).encoders["x"]
    assert _names(encoder, [4.9], [5], [math.nan], [], [b"5"]) == [
        ["(-inf, 5)"],
        ["[5, inf)"],
        ["(missing)"],
        ["(missing)"],
        [None],
    ]
    of_baseline = _encoders(feature, baseline=[_number(quantiles=before)], intervals=2)
    assert of_baseline.encoders["x"].values[:2] == ("(-inf, 50)", "[50, inf)")
    declared = _encoders(feature, boundaries={"x": (2, 0.123456789e9)})
    assert declared.encoders["x"].values[1] == "[2, 123456789)"


@pytest.mark.parametrize(
    ("quantiles", "bounds"),
    [
        ((0.0, 0.0, 0.0, 0.25, 1.0), (0.25,)),  # Most values are 0.
        ((0.0, 0.123456, 0.234567, 0.333333, 1.0), (0.12, 0.23, 0.33)),
        ((1000.0, 1000.1, 1000.2, 1000.31, 1000.4), (1000.1, 1000.2, 1000.31)),
        ((2.0, 1e6, 2e6, 3e6, 4e6), (1e6, 2e6, 3e6)),
        ((0.0, 0.5, 0.6, 0.7, 0.7849), (0.5, 0.6, 0.7)),
        ((0.0, 0.0, 0.7849, 0.7849, 0.7849), (0.784,)),  # The largest value has an interval.
        ((1.0, 1.0, 1.0, 1.0, 1.0), None),
        ((), None),
        ((0.0, math.inf), None),
    ],
)
def test_bounds_are_short_and_no_interval_is_empty(quantiles, bounds):
    encoder = interval_encoder("x", quantiles, 4)
    assert (encoder and encoder.bounds) == bounds


def test_names_of_intervals_are_exact():
    encoder = IntervalEncoder("x", (0.1 + 0.2, 1_000_000))
    assert encoder.values[0] == "(-inf, 0.30000000000000004)"
    assert encoder.values[2] == "[1000000, inf)"


def test_features_that_cannot_be_sliced_are_told():
    made = _encoders(
        FeatureStatistics("image", "bytes", 0),
        _number("constant", quantiles=(1.0, 1.0)),
        _category("long", "__LARGE_BYTES__"),
    )
    assert not made.encoders
    assert {name: remark.reason for name, remark in made.remarks.items()} == {
        "image": "its values are no text or numbers",
        "constant": "all its values are equal",
        "long": "its values are too long",
    }
