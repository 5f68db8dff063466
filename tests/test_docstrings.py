"""Rules for docstrings that the linter does not know."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = [
    path
    for package in ("common", "schemas", "components", "pipeline", "serving")
    for path in sorted((ROOT / package).rglob("*.py"))
]
Function = ast.FunctionDef | ast.AsyncFunctionDef
Documented = ast.Module | ast.ClassDef | Function

# A summary is a noun phrase or opens with a verb; an argument's description stands alone.
SUMMARY_OPENERS = re.compile(r"(What|Which|Whether|How|Where|When|Why|Who|Whose)\b")
ARGUMENT_OPENERS = re.compile(
    r"(What|Which|Whether|How|Where|When|Why|Who|Whose|Of|Its|By which|Itself)\b"
)
ENTRY = re.compile(r"^ {4}\*{0,2}(\w+)(?: \([^)]*\))?: (\S.*)", re.MULTILINE)
PLAIN_DECORATORS = {"classmethod", "staticmethod", "contextmanager", "contextlib.contextmanager"}
# The command line documents its options by their help.
COMMAND_LINE = ROOT / "pipeline" / "cli"


def documented(path: Path) -> Iterator[tuple[Documented, str]]:
    """Yields the nodes of a file that have a docstring, with it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, Documented) and (text := ast.get_docstring(node)):
            yield node, text


def section(text: str, title: str) -> str:
    """Returns the body of a section of a Google-style docstring."""
    found = re.search(rf"^{title}:\n((?: {{4}}.*\n?|\n)+)", text, re.MULTILINE)
    return found[1] if found else ""


def parameters(node: Function) -> list[str]:
    """Returns the names of a function's parameters without those of its class."""
    given = node.args
    names = [each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return [name for name in names if name not in ("self", "cls") and not name.startswith("_")]


def public_functions(tree: ast.AST) -> Iterator[Function]:
    """Yields the public functions of a module, and the public methods of its public classes."""
    for node in ast.iter_child_nodes(tree):
        # Methods of a derived class are documented by its base.
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and not node.bases:
            yield from public_functions(node)
        elif isinstance(node, Function) and not node.name.startswith("_"):
            yield node


def is_decorated(node: Function) -> bool:
    """Returns True if a decorator changes what callers pass to a function."""
    return bool({ast.unparse(each) for each in node.decorator_list} - PLAIN_DECORATORS)


def path_id(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=path_id)
def test_summaries_are_noun_phrases_or_open_with_a_verb(path: Path) -> None:
    wrong = [text.splitlines()[0] for _, text in documented(path) if SUMMARY_OPENERS.match(text)]
    assert not wrong


@pytest.mark.parametrize("path", SOURCES, ids=path_id)
def test_descriptions_of_arguments_stand_alone(path: Path) -> None:
    wrong = [
        f"{name}: {description}"
        for _, text in documented(path)
        for name, description in ENTRY.findall(section(text, "Args"))
        if ARGUMENT_OPENERS.match(description)
    ]
    assert not wrong


@pytest.mark.parametrize("path", SOURCES, ids=path_id)
def test_public_functions_describe_their_arguments(path: Path) -> None:
    if COMMAND_LINE in path.parents:
        return
    missing = [
        node.name
        for node in public_functions(ast.parse(path.read_text(encoding="utf-8")))
        if len(parameters(node)) >= 2
        and not is_decorated(node)
        and not section(ast.get_docstring(node) or "", "Args")
    ]
    assert not missing, "these have two or more parameters and no Args"


@pytest.mark.parametrize("path", SOURCES, ids=path_id)
def test_public_functions_say_what_they_raise(path: Path) -> None:
    if COMMAND_LINE in path.parents:
        return
    missing = [
        node.name
        for node in public_functions(ast.parse(path.read_text(encoding="utf-8")))
        if any(isinstance(each, ast.Raise) and each.exc for each in own_statements(node))
        and "Raises:" not in (ast.get_docstring(node) or "")
    ]
    assert not missing, "these raise and have no Raises"


def own_statements(node: ast.AST) -> Iterator[ast.AST]:
    """Yields the nodes of a function without those of functions inside it."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.Lambda | ast.ClassDef):
            yield child
            yield from own_statements(child)
