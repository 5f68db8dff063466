"""Which files a piece of the user's code consists of: read from its import statements."""

import ast
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path

_INSTALLED = ("site-packages", "dist-packages")


def source_files(module: str, path: Path) -> dict[str, Path]:
    """Finds a module and what it imports, in turn, from the user's own code.

    A module inside a package owns what its top-level package holds; a module outside owns what
    lies in its folder, unless that is where installed packages live.

    Args:
        module: Name under which it is imported, as in ``"my_package.models"``.
        path: Its source file.

    Returns:
        Name of each module to its file.
    """
    levels = module.count(".") + (path.name == "__init__.py")
    root, top = path.parents[levels], module.partition(".")[0]
    only_top = levels > 0 or root.name in _INSTALLED
    found = {module: path}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        for imported in _imports(name, found[name]):
            if imported in found or (only_top and imported.partition(".")[0] != top):
                continue
            stem = root.joinpath(*imported.split("."))
            for file in (stem.with_suffix(".py"), stem / "__init__.py"):
                if file.is_file():
                    found[imported] = file
                    waiting.append(imported)
                    break
    return found


def _imports(module: str, path: Path) -> Iterator[str]:
    """Yields absolute names; what follows ``from x import`` may be a module or not."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            try:
                base = resolve_name("." * node.level + (node.module or ""), package)
            except ImportError:
                continue  # Beyond the top-level package: it would not run either.
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
