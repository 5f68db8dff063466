"""The command ``tfx-feeder doctor``: checks that a pipeline can run on this machine."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tfx_feeder.pipeline.cli.console import print_json
from tfx_feeder.pipeline.cli.environment import LINES, TfxLine, this_machine
from tfx_feeder.pipeline.workspace import LEAST_FREE_BYTES

Severity = Literal["ok", "warning", "error"]

_PACKAGES = ("tensorflow", "keras", "apache-beam", "ml-metadata", "tensorflow-model-analysis")
_WARN_BYTES = 5 << 30  # enough for a few spans with their models and logs
_DEVICES_TIMEOUT_S = 180  # TensorFlow's first import, on a slow disk without bytecode
_DEVICES_CODE = """
import tensorflow as tf
print([f"{d.device_type} {d.name.rsplit(':', 1)[-1]}" for d in tf.config.list_physical_devices()
       if d.device_type != "CPU"])
"""
_VARIABLES: Mapping[str, tuple[Callable[[str], bool], Severity, str]] = {
    "TF_USE_LEGACY_KERAS": (
        lambda value: value.lower() in ("1", "true"),
        "error",
        "Keras 3 is required: unset it.",
    ),
    "KERAS_BACKEND": (
        lambda value: value not in ("", "tensorflow"),
        "error",
        "The backend must be tensorflow: unset it.",
    ),
    "TF_CONFIG": (
        bool,
        "warning",
        "Describes a cluster: a multi-worker strategy waits for all tasks. Unset it to run on one "
        "machine.",
    ),
    "CUDA_VISIBLE_DEVICES": (
        lambda value: value in ("", "-1"),
        "warning",
        "Hides every GPU.",
    ),
    "TF_CPP_MIN_LOG_LEVEL": (
        lambda value: value == "0",
        "warning",
        "TensorFlow's banners are shown.",
    ),
}


@dataclass(frozen=True, slots=True)
class Check:
    """Result of one check.

    Args:
        name: Name of the check.
        found: Observed value.
        severity: Severity of the result; an ``error`` would stop a run.
        advice: Suggested fix; empty if there is no problem.
    """

    name: str
    found: str
    severity: Severity = "ok"
    advice: str = ""


def diagnose(root: Path, *, devices: bool = True) -> Iterator[Check]:
    """Runs the checks and yields their results.

    Args:
        root: Output folder of runs; it need not exist.
        devices: If True, looks for accelerators, which imports TensorFlow in a subprocess.
    """
    machine = this_machine()
    yield Check("Machine", str(machine))
    yield _check_python()
    fitting = [line for line in LINES if not line.refusal(machine)]
    yield _check_tfx(fitting)
    for package in _PACKAGES:
        yield _check_package(package)
    if devices:
        yield _check_devices()
    yield from _check_variables(os.environ)
    yield _check_folder("Folder of runs", root)
    yield _check_folder("Temporary folder", Path(tempfile.gettempdir()))


def _check_python() -> Check:
    found = "{}.{}.{}".format(*sys.version_info) + f" ({sys.executable})"
    supported = {minor for line in LINES for minor in line.pythons}
    if "{}.{}".format(*sys.version_info) in supported:
        return Check("Python", found)
    return Check("Python", found, "error", f"Use one of {', '.join(sorted(supported))}.")


def _check_tfx(fitting: list[TfxLine]) -> Check:
    names = [line.name for line in fitting]
    try:
        found = version("tfx")
    except PackageNotFoundError:
        fix = "Run `make setup`." if names else "No TFX has wheels for this machine."
        return Check("TFX", "not installed", "error", fix)
    installed = found.rsplit(".", 1)[0]
    if installed not in [line.name for line in LINES]:
        known = " or ".join(line.name for line in LINES)
        return Check("TFX", found, "error", f"Supported: {known}. Run `make setup`.")
    if not names:
        return Check("TFX", found, "warning", "TFX is not tested on this kind of machine.")
    skipped = [line for line in LINES if line not in fitting]
    why = "".join(f"; not {line.name}: {line.refusal(this_machine())}" for line in skipped)
    if installed != names[0]:
        fix = f"This machine can run {names[0]}: `make setup` installs it if a Python fits."
        return Check("TFX", found + why, "warning", fix)
    return Check("TFX", f"{found}, the newest line for this machine{why}")


def _check_package(package: str) -> Check:
    try:
        found = version(package)
    except PackageNotFoundError:
        return Check(package, "not installed", "error", "Run `make setup`.")
    if package == "keras" and not found.startswith("3."):
        return Check(package, found, "error", "Keras 3 is required: run `make setup`.")
    return Check(package, found)


def _check_devices() -> Check:
    name = "Accelerators"
    env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    try:
        done = subprocess.run(
            [sys.executable, "-c", _DEVICES_CODE],
            capture_output=True,
            text=True,
            timeout=_DEVICES_TIMEOUT_S,
            env=env,
        )
    except subprocess.TimeoutExpired:
        found = f"TensorFlow did not load within {_DEVICES_TIMEOUT_S} s"
        return Check(name, found, "warning", "The disk may be slow; try again.")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return Check(name, f"TensorFlow cannot be imported: {last}", "error", "Run `make setup`.")
    found = ", ".join(json.loads(done.stdout.strip().splitlines()[-1].replace("'", '"')))
    return Check(name, found or f"none; training runs on {os.cpu_count()} CPU cores")


def _check_variables(environ: Mapping[str, str]) -> Iterator[Check]:
    for name, (hurts, severity, advice) in _VARIABLES.items():
        value = environ.get(name)
        if value is not None and hurts(value):
            yield Check(f"Variable {name}", value, severity, advice)


def _check_folder(name: str, folder: Path) -> Check:
    folder = folder.absolute()
    try:
        existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(b"1")
            file.flush()
        free = shutil.disk_usage(existing).free
    except OSError as error:
        fix = "Choose another folder with --root." if name == "Folder of runs" else "Set TMPDIR."
        return Check(name, f"{folder}: {error.strerror}", "error", fix)
    found = f"{folder}: {free / (1 << 30):.1f} GiB free"
    if free < LEAST_FREE_BYTES:
        return Check(name, found, "error", "Free some disk space.")
    if free < _WARN_BYTES:
        return Check(name, found, "warning", "Enough for a few runs only.")
    return Check(name, found)


@click.command()
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Output folder of runs.",
)
@click.option(
    "--quick", is_flag=True, help="Skip the check for accelerators, which takes a few seconds."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
def doctor(root: Path, quick: bool, as_json: bool) -> None:
    """Check that a pipeline can run on this machine; exit with 1 if it cannot."""
    console = Console(highlight=False)
    with console.status("Checking this machine"):  # shows on a terminal only
        checks = list(diagnose(root, devices=not quick))
    failed = sum(check.severity == "error" for check in checks)
    if as_json:
        print_json(checks)
    else:
        console.print(_table(checks))
        console.print(
            f"{failed} errors would stop a run."
            if failed
            else "A pipeline can run on this machine."
        )
    raise SystemExit(1 if failed else 0)


def _table(checks: list[Check]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    table.add_column("", no_wrap=True)
    table.add_column("found", overflow="fold")
    if any(check.advice for check in checks):
        table.add_column("advice", overflow="fold")
    signs = {"ok": "[green]✓[/]", "warning": "[yellow]![/]", "error": "[red]✗[/]"}
    for check in checks:
        cells = (check.name, check.found, check.advice)[: len(table.columns) - 1]
        table.add_row(signs[check.severity], *map(escape, cells))
    return table
