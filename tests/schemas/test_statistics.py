"""What is read of a split's statistics."""

import pytest
from tensorflow_metadata.proto.v0 import statistics_pb2

from tfx_feeder.common.errors import DataError
from tfx_feeder.schemas.statistics import read_statistics


def test_empty_statistics_have_no_features(tmp_path):
    (tmp_path / "Split-train").mkdir()
    (tmp_path / "Split-train" / "FeatureStats.pb").write_bytes(b"")
    [split] = read_statistics(tmp_path)
    assert (split.examples, split.features) == (0, ())


def test_no_statistics_are_told(tmp_path):
    with pytest.raises(DataError, match="No statistics"):
        read_statistics(tmp_path)


def test_quantiles_and_numbers_of_values_are_read(tmp_path):
    statistics = statistics_pb2.DatasetFeatureStatisticsList()
    dataset = statistics.datasets.add(num_examples=10)
    number = dataset.features.add(name="age", type=statistics_pb2.FeatureNameStatistics.INT)
    number.num_stats.common_stats.num_non_missing = 5
    number.num_stats.common_stats.max_num_values = 3
    quantiles = number.num_stats.histograms.add(type=statistics_pb2.Histogram.QUANTILES)
    for low, high in ((0, 2), (2, 9)):
        quantiles.buckets.add(low_value=low, high_value=high, sample_count=5)
    text = dataset.features.add(name="city", type=statistics_pb2.FeatureNameStatistics.STRING)
    text.string_stats.common_stats.max_num_values = 1
    text.string_stats.unique = 2
    text.string_stats.rank_histogram.buckets.add(label="Rome", sample_count=4)
    (tmp_path / "Split-train").mkdir()
    path = tmp_path / "Split-train" / "FeatureStats.pb"
    path.write_bytes(statistics.SerializeToString())
    ((age, city),) = (split.features for split in read_statistics(tmp_path))
    assert (age.quantiles, age.integer, age.most_values) == ((0, 2, 9), True, 3)
    assert (age.kind, age.missing_pct) == ("number", 50)
    assert (city.quantiles, city.integer, city.most_values) == ((), False, 1)
    assert city.fractions == (("Rome", 1.0),)
