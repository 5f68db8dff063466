"""JavaScript bundle of Vega, Vega-Lite and Vega-Embed for the charts of a report.

``vl-convert-python`` contains their sources. Bundling takes seconds, so the result is cached.
"""

import contextlib
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
    path = folder / f"{_versions()}.js"
    with contextlib.suppress(OSError):
        return path.read_text(encoding="utf-8")
    # A closing tag in a comment would end the script element.
    bundle = vl_convert.javascript_bundle(_SNIPPET).replace("</script", "<\\/script")
    # Without a cache, the next call takes seconds again.
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, bundle)
    return bundle


def _versions() -> str:
    embed, vega = vl_convert.get_vega_embed_version(), vl_convert.get_vega_version()
    return f"vega-{vega}-lite-{vl_convert.get_vegalite_versions()[-1]}-embed-{embed}"


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "tfx-feeder"
