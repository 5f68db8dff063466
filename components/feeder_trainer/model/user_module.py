"""The user's functions: found by an importable path or in a module file, and fingerprinted.

The fingerprint goes into the execution properties, because TFX's cache does not see an edit of
code that is named by an importable path.
"""

import ast
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import resolve_name
from pathlib import Path
from types import ModuleType
from typing import Any

from tfx_feeder.common.errors import ConfigError

_INSTALLED = ("site-packages", "dist-packages")


@dataclass(frozen=True, slots=True)
class UserCode:
    """Where the user's functions are.

    Args:
        model_fn: Importable path of the function that makes the model, as in
            ``"my_package.models.create_model"``. Its module is searched for the optional
            functions as well.
        module_file: Path of a Python file that defines ``model_fn``, instead of the former.

    Raises:
        ConfigError: Both or neither are given.
    """

    model_fn: str | None = None
    module_file: str | None = None

    def __post_init__(self) -> None:
        if bool(self.model_fn) == bool(self.module_file):
            raise ConfigError(
                "model_fn, module_file",
                received=(self.model_fn, self.module_file),
                expected="exactly one of the two",
            )

    def load_model_fn(self) -> Callable[..., Any]:
        """Imports the function that makes the model.

        Raises:
            ConfigError: It does not import, is not there, or cannot be called.
        """
        name = self.model_fn.rpartition(".")[2] if self.model_fn else "model_fn"
        function = getattr(self._module(), name, None)
        if not callable(function):
            raise ConfigError(
                self._argument, received=self._where, expected=f"a module with a function {name}"
            )
        return function

    def load_optional(self, name: str) -> Callable[..., Any] | None:
        """Returns another function of the same module, or ``None`` where it defines none."""
        return getattr(self._module(), name, None)

    def sources(self) -> dict[str, Path]:
        """Returns the module and those of the user's that it imports, in turn, by name."""
        if self.module_file:
            path = Path(self.module_file)
            return source_files(path.stem, path)
        module = self._module()
        if module.__file__ is None:
            raise ConfigError("model_fn", received=self._where, expected="a module with a source")
        return source_files(module.__name__, Path(module.__file__))

    def fingerprint(self) -> str:
        """Hashes the module's source and that of the user's modules which it imports, in turn.

        Returns:
            The first 16 hexadecimal digits of a SHA-256.
        """
        digest = hashlib.sha256()
        for name, path in sorted(self.sources().items()):
            digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
        return digest.hexdigest()[:16]

    @property
    def _argument(self) -> str:
        return "model_fn" if self.model_fn else "module_file"

    @property
    def _where(self) -> str:
        return self.model_fn or self.module_file or ""

    def _module(self) -> ModuleType:
        try:
            if self.module_file:
                return _load_file(Path(self.module_file))
            module = self._where.rpartition(".")[0]
            if not module:
                raise ImportError("the path has no module part")
            return importlib.import_module(module)
        except Exception as error:
            raise ConfigError(
                self._argument,
                received=self._where,
                expected="code that imports",
                fix=f"The import failed with {type(error).__name__}: {error}",
            ) from error


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a Python file")
    path = path.resolve()
    # The name tells path and contents, so that two files called model.py do not meet, an edited
    # one is loaded anew, and one that is loaded already is not run again.
    digest = hashlib.sha256(str(path).encode() + b"\0" + path.read_bytes())
    name = f"tfx_feeder_user_{digest.hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} does not end in .py")
    module = importlib.util.module_from_spec(spec)
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))  # As for a script, so that it can import siblings.
    sys.modules[name] = module  # Keras looks classes up by their module when it saves them.
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


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
