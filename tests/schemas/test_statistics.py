"""What is read of a split's statistics."""

import pytest

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
