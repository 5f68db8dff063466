"""Renders a page as a self-contained HTML file."""

import base64
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from tfx_feeder.common.json import json_safe
from tfx_feeder.pipeline.report.blocks import Charts, Collapsible, Page, format_utc
from tfx_feeder.pipeline.report.vega_bundle import javascript_bundle

_FOLDER = Path(__file__).parent


def render(page: Page) -> str:
    """Renders a page as HTML.

    All text is escaped. The content security policy of the page blocks all requests and all scripts
    except its own.
    """
    scripts = [javascript_bundle(), _static("report.js")]
    return _template("page.html.jinja").render(
        page=page,
        style=Markup(_static("report.css")),
        scripts=[Markup(script) for script in scripts],
        hashes=[_hash(script) for script in scripts],
        data=Markup(_json({"data": page.data, "specs": _specs(page)})),
    )


def _specs(page: Page) -> dict[str, Any]:
    blocks = [block for section in page.sections for block in section.blocks]
    specs = {}
    while blocks:
        block = blocks.pop()
        if isinstance(block, Collapsible):
            blocks.extend(block.blocks)
        elif isinstance(block, Charts):
            specs |= {c.id: {**c.spec, "description": c.description} for c in block.charts}
    return specs


def _json(value: Any) -> str:
    """Serializes JSON such that it cannot close its ``<script>`` element."""
    text = json.dumps(json_safe(value), allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


@cache
def _static(name: str) -> str:
    return (_FOLDER / "static" / name).read_text(encoding="utf-8")


@cache
def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["format_utc"] = format_utc
    return environment.get_template(name)
