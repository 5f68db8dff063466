"""Finding the user's functions, and noticing when their source changed."""

import dataclasses
import importlib
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.model.user_module import UserCode

MODEL = """
import math
from shop_models import layers
from shop_models.blocks.dense import WIDTH

def create_model(context):
    return (layers.DEPTH, WIDTH)

def callbacks_fn(context):
    return []

NOT_A_FUNCTION = 3
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An importable package: model.py imports layers.py and blocks/dense.py, not other.py."""
    folder = tmp_path / "shop_models"
    sources = {
        "__init__.py": "",
        "model.py": MODEL,
        "layers.py": "DEPTH = 2\n",
        "math.py": "raise RuntimeError('the standard library has this name')\n",
        "other.py": "UNUSED = 1\n",
        "blocks/__init__.py": "",
        "blocks/dense.py": "from .. import units\nWIDTH = units.UNITS\n",
        "units.py": "UNITS = 8\n",
    }
    for name, text in sources.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.startswith("shop_models")]:
        del sys.modules[name]


@pytest.fixture
def module_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file outside every package, with a sibling that it imports."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "beside", raising=False)
    (tmp_path / "beside.py").write_text("DEPTH = 2\n")
    path = tmp_path / "model.py"
    path.write_text("import beside\n\ndef model_fn(context):\n    return beside.DEPTH\n")
    return path


CODE = UserCode(model_fn="shop_models.model.create_model")


def fingerprint(code: UserCode) -> str:
    """The fingerprint that a run which begins now would record."""
    return dataclasses.replace(code).fingerprint()


def test_an_importable_path_is_loaded(package: Path) -> None:
    assert CODE.load_model_fn()(None) == (2, 8)
    assert CODE.load_optional("callbacks_fn")(None) == []  # type: ignore[misc]
    assert CODE.load_optional("no_such_function") is None


def test_a_module_file_is_loaded_with_its_siblings(module_file: Path) -> None:
    assert UserCode(module_file=str(module_file)).load_model_fn()(None) == 2


def test_a_module_file_runs_once_for_all_its_functions(tmp_path: Path) -> None:
    path = tmp_path / "model.py"
    path.write_text(
        "class Shared: ...\n"
        "def model_fn(context): return Shared\n"
        "def callbacks_fn(context): return Shared\n"
    )
    code = UserCode(module_file=str(path))
    callbacks_fn = code.load_optional("callbacks_fn")

    assert callbacks_fn is not None
    assert code.load_model_fn()(None) is callbacks_fn(None)


def test_an_edited_module_file_is_loaded_anew(module_file: Path) -> None:
    code = UserCode(module_file=str(module_file))
    code.load_model_fn()
    module_file.write_text("def model_fn(context):\n    return 'edited'\n")

    assert code.load_model_fn()(None) == "edited"


def test_two_module_files_of_one_name_do_not_meet(tmp_path: Path) -> None:
    codes = []
    for name in ("first", "second"):
        path = tmp_path / name / "model.py"
        path.parent.mkdir()
        path.write_text(f"def model_fn(context):\n    return {name!r}\n")
        codes.append(UserCode(module_file=str(path)))

    assert [code.load_model_fn()(None) for code in codes] == ["first", "second"]


@pytest.mark.parametrize("edited", ["model.py", "layers.py", "blocks/dense.py", "units.py"])
def test_the_fingerprint_follows_the_sources_in_use(package: Path, edited: str) -> None:
    before = fingerprint(CODE)
    with (package / edited).open("a") as file:
        file.write("# edited\n")

    assert fingerprint(CODE) != before


@pytest.mark.parametrize("edited", ["other.py", "math.py", "new.py", "notes.txt"])
def test_the_fingerprint_ignores_other_files(package: Path, edited: str) -> None:
    before = fingerprint(CODE)
    with (package / edited).open("a") as file:
        file.write("# edited\n")

    assert fingerprint(CODE) == before


def test_the_fingerprint_of_a_module_file_follows_its_siblings(module_file: Path) -> None:
    code = UserCode(module_file=str(module_file))
    before = fingerprint(code)
    (module_file.parent / "unused.py").write_text("")
    unchanged = fingerprint(code)
    (module_file.parent / "beside.py").write_text("DEPTH = 3\n")

    assert unchanged == before
    assert fingerprint(code) != before


def test_the_fingerprint_is_that_of_the_beginning(module_file: Path) -> None:
    code = UserCode(module_file=str(module_file))
    before, sources = code.fingerprint(), code.sources()
    module_file.write_text("def model_fn(context):\n    return 0\n")

    assert code.fingerprint() == before
    assert code.sources() == sources
    assert pickle.loads(pickle.dumps(code)).fingerprint() == before  # As in other processes.


def test_the_fingerprint_does_not_depend_on_the_folder(module_file: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("model.py", "beside.py"):
        (moved / name).write_bytes((tmp_path / name).read_bytes())

    fingerprints = {
        UserCode(module_file=str(folder / "model.py")).fingerprint() for folder in (tmp_path, moved)
    }

    assert len(fingerprints) == 1


def test_modules_that_import_each_other_are_read_once(module_file: Path) -> None:
    (module_file.parent / "beside.py").write_text("import model\n")

    assert len(UserCode(module_file=str(module_file)).fingerprint()) == 16


@pytest.mark.parametrize(
    "arguments", [{}, {"model_fn": ""}, {"model_fn": "a.b", "module_file": "c.py"}]
)
def test_exactly_one_place_is_named(arguments: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="model_fn, module_file: expected exactly one"):
        UserCode(**arguments)


@pytest.mark.parametrize(
    ("path", "cause"),
    [
        ("no_such_package.model.create", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("create_model", "ImportError: the path has no module part"),
        ("shop_models.model.create_modle", "a function create_modle"),
        ("shop_models.model.NOT_A_FUNCTION", "a function NOT_A_FUNCTION"),
    ],
)
def test_a_wrong_path_is_refused_with_the_cause(package: Path, path: str, cause: str) -> None:
    with pytest.raises(ConfigError) as caught:
        UserCode(model_fn=path).load_model_fn()

    assert caught.value.argument == "model_fn"
    assert cause in str(caught.value)
    assert f"Received: {path!r}" in str(caught.value)


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("def model_fn(:\n", "SyntaxError"),
        ("1 / 0\n", "ZeroDivisionError: division by zero"),
        ("import no_such_package\n", "ModuleNotFoundError"),
        ("def create_model(context): ...\n", "a function model_fn"),
        (None, "FileNotFoundError"),
    ],
)
def test_a_wrong_module_file_is_refused_with_the_cause(
    tmp_path: Path, source: str | None, cause: str
) -> None:
    path = tmp_path / "model.py"
    if source is not None:
        path.write_text(source)
    loaded = set(sys.modules)

    with pytest.raises(ConfigError, match=r"^module_file: expected") as caught:
        UserCode(module_file=str(path)).load_model_fn()

    assert cause in str(caught.value)
    if source != "def create_model(context): ...\n":
        assert set(sys.modules) == loaded, "a module that failed to import must not stay"


def test_a_failed_import_can_be_fixed_and_retried(package: Path) -> None:
    (package / "layers.py").write_text("1 / 0\n")
    with pytest.raises(ConfigError, match="ZeroDivisionError"):
        CODE.load_model_fn()
    (package / "layers.py").write_text("DEPTH = 2.5\n")
    importlib.invalidate_caches()

    assert CODE.load_model_fn()(None) == (2.5, 8)
