"""Object stores as folders: what needs files finds them where a store is mounted."""

import os
from pathlib import Path

from tfx_feeder.common.errors import ConfigError

VARIABLE = "TFX_FEEDER_MOUNTS"
"""Environment variable that says where stores are mounted, as in ``gs://=/gcs/,s3://=/mnt/s3/``."""
DEFAULT = "gs://=/gcs/"
"""Where Vertex AI mounts Cloud Storage."""


def local_path(uri: str) -> str:
    """Returns the path of a URI; a path stays as it is.

    Raises:
        ConfigError: The URI is on a store that is not mounted.

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
