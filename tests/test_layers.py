"""Rules of the layout, read from the sources."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("components", "pipeline", "schemas", "serving", "tests", "benchmarks")
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
SOURCES += sorted(ROOT.glob("*_runner.py"))
# They declare, run and resolve a component, and turn its options into TFX's parameters.
MAY_IMPORT_TFX = ("component.py", "executor.py", "driver.py", "exec_properties.py")


def imported(path: Path) -> Iterator[str]:
    """Yields every module that a file imports, in functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_the_sources_are_found() -> None:
    assert len(SOURCES) > 50


@pytest.mark.parametrize("path", SOURCES, ids=ids)
def test_no_room_is_imported_by_its_bare_name(path: Path) -> None:
    bare = [name for name in imported(path) if name.split(".")[0] in (*ROOMS, "")]
    assert not bare, f"import {bare} from tfx_feeder instead"


@pytest.mark.parametrize("path", [p for p in SOURCES if ROOT / "components" in p.parents], ids=ids)
def test_plain_modules_of_components_import_no_tfx(path: Path) -> None:
    of_tfx = path.name in MAY_IMPORT_TFX or "resolvers" in path.parts
    if not of_tfx:
        assert not [name for name in imported(path) if name.split(".")[0] == "tfx"]
