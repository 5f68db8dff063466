"""Where files of an object store are found."""

import pytest

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.common.mounts import VARIABLE, local_path


def test_paths_stay_and_uris_become_paths_below_their_mount(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, f"gs://=/nowhere, s3://={tmp_path}/")
    assert local_path("/data/model") == "/data/model"
    assert local_path("s3://bucket/run/model") == f"{tmp_path}/bucket/run/model"


@pytest.mark.parametrize("mounts", ["s3://=/", "gs://=/nowhere", "gs://=", "gs://", "=/", ""])
def test_a_store_that_is_not_mounted_is_told_with_what_mends_it(mounts, monkeypatch):
    monkeypatch.setenv(VARIABLE, mounts)
    with pytest.raises(ConfigError, match=rf"gs://bucket/x'\. Mount the store.*{VARIABLE}="):
        local_path("gs://bucket/x")
