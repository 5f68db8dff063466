"""What is used of TFX beside ``tfx.v1``, which alone is public: it is there, and called rightly.

A new release of TFX that moves or changes a part of it fails here, with the name of the part.
"""

import ast
import inspect
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SOURCES = sorted(
    path
    for name in ("common", "components", "pipeline", "schemas", "serving")
    for path in (ROOT / name).rglob("*.py")
)


def inside(module):
    return module.split(".")[0] == "tfx" and module.split(".")[:2] != ["tfx", "v1"]


def imported(tree):
    """Yields the local name and the full name of all that a module imports out of TFX's inside."""
    for part in ast.walk(tree):
        if isinstance(part, ast.ImportFrom) and inside(part.module or ""):
            for alias in part.names:
                if (part.module, alias.name) != ("tfx", "v1"):
                    yield alias.asname or alias.name, f"{part.module}.{alias.name}"
        elif isinstance(part, ast.Import):
            for alias in part.names:
                if inside(alias.name):
                    yield alias.asname or alias.name, alias.name


def dotted(part):
    """Returns ``a.b.c`` of an expression of that form; ``None`` of any other."""
    if isinstance(part, ast.Name):
        return part.id
    if isinstance(part, ast.Attribute) and (owner := dotted(part.value)):
        return f"{owner}.{part.attr}"
    return None


def uses(path):
    """Yields the name of each part of TFX's inside that a module uses, and how it is called."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = dict(imported(tree))
    for full_name in names.values():
        yield full_name, None
    calls = {id(part.func): part for part in ast.walk(tree) if isinstance(part, ast.Call)}
    for part in ast.walk(tree):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            # The name of a module or class in a string, such as for `quiet_imports`.
            words = part.value.split(".")
            if len(words) > 2 and inside(part.value) and all(map(str.isidentifier, words)):
                yield part.value, None
        elif (name := dotted(part)) and (first := name.partition("."))[0] in names:
            yield names[first[0]] + first[1] + first[2], calls.get(id(part))


FOUND = [(path.relative_to(ROOT), *use) for path in SOURCES for use in uses(path)]
NAMES = sorted({name for _, name, _ in FOUND})
CALLS = [(path, name, call) for path, name, call in FOUND if call is not None]


def resolve(name):
    """Returns what a full name stands for: a module, or an attribute of one."""
    words = name.split(".")
    for count in range(len(words), 0, -1):
        try:
            found = import_module(".".join(words[:count]))
        except ModuleNotFoundError:
            continue
        for word in words[count:]:
            found = getattr(found, word)
        return found
    raise ModuleNotFoundError(name)


def test_the_inside_of_tfx_is_found():
    assert "tfx.orchestration.portable.launcher.Launcher" in NAMES
    assert "tfx.components.pusher.component.Pusher" in NAMES, "named in a string"
    assert any(name.endswith("substitute_runtime_parameter") for _, name, _ in CALLS)


@pytest.mark.slow  # Imports TFX.
def test_all_that_is_used_is_there():
    missing = []
    for name in NAMES:
        try:
            resolve(name)
        except (ImportError, AttributeError) as error:
            missing.append(f"{name}, used in {[str(p) for p, n, _ in FOUND if n == name]}: {error}")
    assert not missing, "\n".join(missing)


@pytest.mark.slow
def test_calls_fit():
    wrong = []
    for path, name, call in CALLS:
        keywords = {keyword.arg: None for keyword in call.keywords}
        if None in keywords or any(isinstance(given, ast.Starred) for given in call.args):
            continue  # What is passed shows at run time only.
        try:
            inspect.signature(resolve(name)).bind(*call.args, **keywords)
        except TypeError as error:
            wrong.append(f"{path}:{call.lineno}: {name}: {error}")
        except ValueError:  # Messages of protocol buffers tell no signature.
            fields = resolve(name).DESCRIPTOR.fields_by_name
            wrong += [f"{path}: {name} has no {field}" for field in keywords if field not in fields]
    assert not wrong, "\n".join(wrong)
