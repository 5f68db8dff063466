"""JavaScript bundle of Vega, Vega-Lite and Vega-Embed for the charts of a report.

``vl-convert-python`` contains their sources. Bundling takes seconds, so the result is cached.
"""

import contextlib
import hashlib
import os
from pathlib import Path

import vl_convert

from tfx_feeder.common.files import atomic_write

_SNIPPET = "window.vegaEmbed = vegaEmbed;"


def javascript_bundle(cache: Path | None = None) -> str:
    """Returns the libraries as one script that defines ``vegaEmbed``.

    Args:
        cache: Cache folder; ``None``: the cache folder of the user.
    """
    folder = cache or _cache_folder()
    with contextlib.suppress(OSError):
        for path in folder.glob(f"{_versions()}-*.js"):
            content = path.read_bytes()
            if path == _path(folder, content):
                return content.decode()
    # A closing tag in a comment would end the script element.
    bundle = vl_convert.javascript_bundle(_SNIPPET).replace("</script", "<\\/script")
    # Without a cache, the next call takes seconds again.
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        atomic_write(_path(folder, bundle.encode()), bundle)
    return bundle


def _path(folder: Path, content: bytes) -> Path:
    """Returns the file of a bundle, whose name has the hash of the content."""
    return folder / f"{_versions()}-{hashlib.sha256(content).hexdigest()[:16]}.js"


def _versions() -> str:
    embed, vega = vl_convert.get_vega_embed_version(), vl_convert.get_vega_version()
    return f"vega-{vega}-lite-{vl_convert.get_vegalite_versions()[-1]}-embed-{embed}"


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(base or Path.home() / ".cache", "tfx-feeder")
    except RuntimeError:  # The user has no home; below this path, no folder can be made.
        return Path(os.devnull, "tfx-feeder")
