"""Loads and fingerprints the user's functions, from an importable path or a module file.

The fingerprint is an execution property, because TFX's cache does not detect an edit of code that
is referenced by an importable path.
"""

import ast
import functools
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


@dataclass(frozen=True)
class UserCode:
    """Location of the user's functions.

    Sources and fingerprint are those of the first time they are asked for, because the code may be
    edited during training.

    Args:
        model_fn: Importable path of the function that builds the model, as in
            ``"my_package.models.create_model"``. Its module may define the optional functions.
        module_file: Path of a Python file that defines ``model_fn``, as an alternative to an
            importable path.

    Raises:
        ConfigError: Both or neither are set.
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
        """Returns the function that builds the model.

        Raises:
            ConfigError: The module cannot be imported or does not define the function.
        """
        name = self.model_fn.rpartition(".")[2] if self.model_fn else "model_fn"
        function = getattr(self._module(), name, None)
        if not callable(function):
            raise ConfigError(
                self._argument, received=self._location, expected=f"a module with a function {name}"
            )
        return function

    def load_optional(self, name: str) -> Callable[..., Any] | None:
        """Returns an optional function of the module, or ``None`` if the module lacks it.

        Raises:
            ConfigError: The module cannot be imported.
        """
        return getattr(self._module(), name, None)

    def sources(self) -> dict[str, Path]:
        """Returns the files of the module and of the user modules it imports, by module name.

        Raises:
            ConfigError: The module cannot be imported or has no source file.
        """
        return self._sources

    @functools.cached_property
    def _sources(self) -> dict[str, Path]:
        if self.module_file:
            path = Path(self.module_file)
            return source_files(path.stem, path)
        module = self._module()
        if module.__file__ is None:
            raise ConfigError(
                "model_fn", received=self._location, expected="a module with a source file"
            )
        return source_files(module.__name__, Path(module.__file__))

    def fingerprint(self) -> str:
        """Returns a hash of the sources: the first 16 hexadecimal digits of a SHA-256.

        Raises:
            ConfigError: The module cannot be imported or has no source file.
        """
        return self._fingerprint

    @functools.cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256()
        for name, path in sorted(self.sources().items()):
            digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
        return digest.hexdigest()[:16]

    @property
    def _argument(self) -> str:
        return "model_fn" if self.model_fn else "module_file"

    @property
    def _location(self) -> str:
        return self.model_fn or self.module_file or ""

    def _module(self) -> ModuleType:
        try:
            if self.module_file:
                return _load_file(Path(self.module_file))
            module = self._location.rpartition(".")[0]
            if not module:
                raise ImportError("the path has no module part")
            return importlib.import_module(module)
        except Exception as error:
            raise ConfigError(
                self._argument,
                received=self._location,
                expected="an importable module",
                fix=f"The import failed with {type(error).__name__}: {error}",
            ) from error


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a Python file")
    path = path.resolve()
    # The module name is derived from path and contents: two files named model.py do not collide,
    # an edited file is loaded again, and a loaded file is not executed twice.
    digest = hashlib.sha256(str(path).encode() + b"\0" + path.read_bytes())
    name = f"tfx_feeder_user_{digest.hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} does not end in .py")
    module = importlib.util.module_from_spec(spec)
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))  # As for a script, to allow imports of siblings.
    sys.modules[name] = module  # Keras looks up classes by module when it saves a model.
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def source_files(module: str, path: Path) -> dict[str, Path]:
    """Finds the source files of a module and of the user modules it imports, transitively.

    User code of a module in a package is its top-level package. User code of a module outside any
    package is its folder, unless that folder holds installed packages.

    Args:
        module: Import name of the module, as in ``"my_package.models"``.
        path: Source file of the module.

    Returns:
        File of each module by its name.
    """
    levels = module.count(".") + (path.name == "__init__.py")
    root, top = path.parents[levels], module.partition(".")[0]
    only_top = levels > 0 or root.name in _INSTALLED
    found = {module: path}
    pending = [module]
    while pending:
        name = pending.pop()
        for imported in _imports(name, found[name]):
            if imported in found or (only_top and imported.partition(".")[0] != top):
                continue
            stem = root.joinpath(*imported.split("."))
            for file in (stem.with_suffix(".py"), stem / "__init__.py"):
                if file.is_file():
                    found[imported] = file
                    pending.append(imported)
                    break
    return found


def _imports(module: str, path: Path) -> Iterator[str]:
    """Yields absolute names; names after ``from x import`` may or may not be modules."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            try:
                base = resolve_name("." * node.level + (node.module or ""), package)
            except ImportError:
                continue  # Beyond the top-level package: the import fails at run time as well.
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
