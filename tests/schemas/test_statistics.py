"""What is read of a split's statistics."""

import pytest

from tfx_feeder.common.errors import DataError
from tfx_feeder.schemas.statistics import read_statistics

FIRST = "2026-01-01"


def test_training_split_comes_first(facts_of):
    splits = facts_of(FIRST).data.statistics
    assert [(split.split, split.examples) for split in splits] == [("train", 100), ("eval", 100)]


def test_numbers_have_buckets_and_categories_have_shares(facts_of):
    train = facts_of(FIRST).data.statistics[0]
    height, colour, image = train.features
    assert (height.kind, height.mean, height.missing_pct) == ("number", 5, pytest.approx(10))
    assert sum(bucket.share for bucket in height.buckets) == pytest.approx(1)
    assert (colour.kind, colour.unique) == ("category", 2)
    assert colour.shares[0] == ("red", 0.75)
    assert colour.name.startswith("colour.")
    # Bytes that are no text are not compared by value.
    assert (image.kind, image.shares) == ("bytes", ())


def test_empty_statistics_have_no_features(tmp_path):
    (tmp_path / "Split-train").mkdir()
    (tmp_path / "Split-train" / "FeatureStats.pb").write_bytes(b"")
    [split] = read_statistics(tmp_path)
    assert (split.examples, split.features) == (0, ())


def test_no_statistics_are_told(tmp_path):
    with pytest.raises(DataError, match="No statistics"):
        read_statistics(tmp_path)
