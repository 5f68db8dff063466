"""Layering rules, checked against the import statements of the sources."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TOP_LEVEL = ("common", "schemas", "components", "pipeline", "serving", "tests", "benchmarks")

TRAINER = "components.feeder_trainer"
BASE = {"common", "schemas"}
ALLOWED: Mapping[str, set[str]] = {
    "common": set(),
    "schemas": {"common"},
    # The trainer, from the bottom up.
    f"{TRAINER}.feed": {"common"},
    f"{TRAINER}.schedules": {"common"},
    f"{TRAINER}.model": {"common", f"{TRAINER}.feed"},
    f"{TRAINER}.training": BASE | {f"{TRAINER}.{name}" for name in ("feed", "schedules", "model")},
    f"{TRAINER}.distribution": BASE
    | {f"{TRAINER}.{name}" for name in ("feed", "schedules", "model", "training")},
    f"{TRAINER}.strategy_selection": BASE
    | {f"{TRAINER}.{name}" for name in ("feed", "schedules", "model", "training", "distribution")},
    TRAINER: BASE | {f"{TRAINER}.*"},
    # Components do not import one another.
    "components.eval_gate": BASE,
    "components.evaluator": BASE,
    "components.image_example_gen": BASE,
    "components.model_card": BASE,
    "components.pusher": BASE,
    "components.resolvers": BASE,
    "components.slice_gen": BASE,
    "components": BASE | {"components.*"},
    "serving": BASE,
    # The reference pipeline and its tools.
    "pipeline.metadata": BASE | {f"{TRAINER}.schedules"},
    "pipeline.report": BASE | {"components.*", "pipeline.metadata"},
    "pipeline": BASE | {"components.*", "pipeline.metadata"},
    "pipeline.runner": BASE | {"components.*", "pipeline", "pipeline.metadata", "pipeline.report"},
    "pipeline.orchestration": BASE
    | {"components.*", "pipeline", "pipeline.metadata", "pipeline.runner"},
    "pipeline.retraining": BASE
    | {"components.*", "pipeline", "pipeline.metadata", "pipeline.runner"},
    "pipeline.deployment": BASE
    | {"components.*", "pipeline", "pipeline.metadata", "pipeline.runner"},
    "pipeline.cli": BASE | {"components.*", "pipeline", "pipeline.*", "serving.*"},
}
"""Packages each package may import besides itself; ``x.*`` stands for ``x`` and all below it.

A folder without a row of its own belongs to the nearest one above that has one.
"""

# Modules that declare, run and resolve components.
TFX_MODULES = ("component", "executor", "driver", "exec_properties", "strategies")
TFX_FREE = (
    "common",
    f"{TRAINER}.*",
    "components.eval_gate.*",
    "components.image_example_gen.*",
    "components.model_card.*",
    "components.slice_gen.*",
    "serving.*",
)
TENSORFLOW_FREE = (
    "common",
    "components.eval_gate.evidence",
    "components.eval_gate.gate",
    "components.eval_gate.paired",
    "components.eval_gate.verdict",
    "components.slice_gen.code_table",
    "components.slice_gen.conjunctions",
    "components.slice_gen.encoders",
    "components.slice_gen.options",
    "components.slice_gen.number_histograms",
    "components.slice_gen.options",
    "components.slice_gen.propose",
    "components.slice_gen.search",
    "components.slice_gen.tail",
    TRAINER,
    f"{TRAINER}.schedules.*",
    f"{TRAINER}.distribution.options",
    f"{TRAINER}.distribution.strategy_info",
    f"{TRAINER}.feed.options",
    f"{TRAINER}.feed.sampler",
    f"{TRAINER}.model.user_module",
    f"{TRAINER}.strategy_selection.budget",
    f"{TRAINER}.strategy_selection.decision",
    f"{TRAINER}.strategy_selection.profile_cache",
    f"{TRAINER}.training.eta",
    f"{TRAINER}.training.progress",
    "schemas.gate_report",
    "schemas.model_comparison",
    "schemas.slices",
    "schemas.training_history",
)

DOTTED_NAME = re.compile(r"tfx_feeder(\.\w+)+(:\w+)?")
SOURCES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for top in TOP_LEVEL
    for path in sorted((ROOT / top).rglob("*.py"))
}
MODULES = {
    name: path
    for name, path in SOURCES.items()
    if name.split(".")[0] not in ("tests", "benchmarks")
}


def imported(path: Path) -> Iterator[str]:
    """Yields the modules that a file imports, inside functions and by dotted names in text too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and DOTTED_NAME.fullmatch(str(node.value)):
            yield str(node.value).partition(":")[0]


def imported_modules(name: str) -> set[str]:
    """Returns the modules of the suite that a module imports."""
    found = (target.removeprefix("tfx_feeder.") for target in imported(MODULES[name]))
    return {target for target in found if target in MODULES} - {name}


def package_of(module: str) -> str:
    """Returns the row of the table that a module belongs to."""
    while module not in ALLOWED:
        module = module.rpartition(".")[0]
    return module


def matches(name: str, pattern: str) -> bool:
    """Returns True if a dotted name is a pattern, or below one that ends with ``.*``."""
    return name == pattern or (pattern.endswith(".*") and f"{name}.".startswith(pattern[:-1]))


def source_id(value: object) -> str:
    return str(value.relative_to(ROOT)) if isinstance(value, Path) else str(value)


def test_the_sources_are_found() -> None:
    assert len(MODULES) > 150


@pytest.mark.parametrize(
    "path", [*SOURCES.values(), *sorted(ROOT.glob("*_runner.py"))], ids=source_id
)
def test_packages_are_imported_as_parts_of_tfx_feeder(path: Path) -> None:
    # Tests import the helpers and worker processes beside them.
    own = {"tests"} if ROOT / "tests" in path.parents else set()
    bare = [name for name in imported(path) if name.split(".")[0] in {*TOP_LEVEL, ""} - own]
    assert not bare, f"import {bare} from tfx_feeder instead"


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module: str) -> None:
    package = package_of(module)
    allowed = ALLOWED[package] | {package}
    upward = [
        target
        for target in sorted(imported_modules(module))
        if not any(matches(package_of(target), pattern) for pattern in allowed)
    ]
    assert not upward, f"{package} may not import {upward}"


def test_packages_form_no_ring() -> None:
    graph: dict[str, set[str]] = {package: set() for package in ALLOWED}
    for module in MODULES:
        graph[package_of(module)] |= {package_of(target) for target in imported_modules(module)}
    reachable = {package: targets - {package} for package, targets in graph.items()}
    for middle in graph:
        for package, targets in reachable.items():
            if middle in targets:
                reachable[package] = targets | reachable[middle]
    assert not [package for package, targets in reachable.items() if package in targets]


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("components.")])
def test_logic_of_components_imports_no_tfx(module: str) -> None:
    if module.rpartition(".")[2] not in TFX_MODULES:
        assert "tfx" not in {name.split(".")[0] for name in imported(MODULES[module])}


PROGRAM = """
import importlib, sys
for forbidden, names in eval(sys.argv[1]):
    for name in names:
        importlib.import_module("tfx_feeder." + name)
        found = sorted({module.partition(".")[0] for module in sys.modules} & set(forbidden))
        assert not found, f"{name} loads {', '.join(found)}"
"""


def test_light_modules_load_neither_tfx_nor_tensorflow() -> None:
    def select(patterns: tuple[str, ...]) -> list[str]:
        return [name for name in MODULES if any(matches(name, pattern) for pattern in patterns)]

    light = select(TENSORFLOW_FREE)
    plain = [name for name in select(TFX_FREE) if name.rpartition(".")[2] not in TFX_MODULES]
    rules = [(("tfx", "tensorflow", "keras"), light), (("tfx",), plain)]
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, repr(rules)], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
