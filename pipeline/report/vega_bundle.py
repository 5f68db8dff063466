"""The charting library that goes into each report: Vega, Vega-Lite and Vega-Embed in one file.

``vl-convert-python`` brings their sources; bundling them takes seconds, so that the result is kept.
"""

import contextlib
import os
import tempfile
from pathlib import Path

import vl_convert

_SNIPPET = "window.vegaEmbed = vegaEmbed;"


def javascript_bundle(cache: Path | None = None) -> str:
    """Returns the libraries as one script; it defines ``vegaEmbed``.

    Args:
        cache: Folder in which it is kept; ``None``: that of the user.
    """
    folder = cache or _cache_folder()
    path = folder / f"{_versions()}.js"
    with contextlib.suppress(OSError):
        return path.read_text(encoding="utf-8")
    # A comment that ends the element of a page would end the script.
    bundle = vl_convert.javascript_bundle(_SNIPPET).replace("</script", "<\\/script")
    # Without a cache it takes seconds again, and that is all.
    with contextlib.suppress(OSError):
        _write(path, bundle)
    return bundle


def _versions() -> str:
    embed, vega = vl_convert.get_vega_embed_version(), vl_convert.get_vega_version()
    return f"vega-{vega}-lite-{vl_convert.get_vegalite_versions()[-1]}-embed-{embed}"


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "tfx-feeder"


def _write(path: Path, text: str) -> None:
    """Writes a file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, delete=False, encoding="utf-8"
    ) as partial:
        partial.write(text)
    os.replace(partial.name, path)
