"""Local paths of URIs on mounted object stores."""

import os
from pathlib import Path

from tfx_feeder.common.errors import ConfigError

VARIABLE = "TFX_FEEDER_MOUNTS"
"""Environment variable with the mount points, as in ``gs://=/gcs/,s3://=/mnt/s3/``."""
DEFAULT = "gs://=/gcs/"
"""Mount point of Cloud Storage on Vertex AI."""


def local_path(uri: str) -> str:
    """Returns the local path of a URI; a path is returned unchanged.

    Raises:
        ConfigError: The store of the URI is not mounted.

    Example:
        >>> local_path("/data/model")
        '/data/model'
    """
    if "://" not in uri:
        return uri
    mounts = os.environ.get(VARIABLE, DEFAULT)
    for mount in mounts.split(","):
        prefix, _, folder = mount.strip().partition("=")
        if prefix and uri.startswith(prefix) and Path(folder or "?").is_dir():
            return os.path.join(folder, uri.removeprefix(prefix).lstrip("/"))
    raise ConfigError(
        "uri",
        received=uri,
        expected=f"a path, or a URI on a store that is mounted: {VARIABLE} is {mounts}",
        fix=f"Mount the store, as by FUSE, and name prefix and folder: {VARIABLE}={DEFAULT}",
    )
