"""Environments of other programs, which would not fit into that of the suite."""

import os
import subprocess
import sys
from pathlib import Path

PACKAGES: dict[str, list[list[str]]] = {
    "jax": [["jax"]],
    # Some package indexes hold only the build with CUDA, which is larger and as fast on a CPU.
    "torch": [["torch", "numpy", "--torch-backend", "cpu"], ["torch", "numpy"]],
    "pysubgroup": [["pysubgroup"]],
}
"""Arguments of ``uv pip install`` for the environment of a module; the next ones if these fail."""

_INSTALL_LIMIT_S = 900


def install(module: str) -> str | None:
    """Makes the environment of a module, if there is none yet.

    Args:
        module: One of ``PACKAGES``.

    Returns:
        The reason why it cannot be made, in one line; ``None`` if it is there.
    """
    python = _python(module)
    if _is_ready(module):
        return None
    uv = Path(sys.executable).with_name("uv")
    folder = python.parent.parent
    try:
        _run([str(uv), "venv", "--clear", "--python", sys.executable, str(folder)])
    except (OSError, subprocess.SubprocessError) as error:
        return _reason(error)
    reason = "nothing to install"
    for arguments in PACKAGES[module]:
        try:
            _run([str(uv), "pip", "install", "--python", str(python), *arguments])
            return None if _is_ready(module) else f"{module} cannot be imported"
        except subprocess.SubprocessError as error:
            reason = _reason(error)
    return reason


def run_script(module: str, script: Path, *arguments: str) -> str:
    """Runs a script in the environment of a module.

    Args:
        module: One of ``PACKAGES``, installed.
        script: Script to run.
        *arguments: Its arguments.

    Returns:
        Its standard output.
    """
    return _run([str(_python(module)), str(script), *arguments])


def _python(module: str) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "tfx-feeder" / "benchmarks" / module / "bin" / "python"


def _is_ready(module: str) -> bool:
    if not _python(module).exists():
        return False
    command = [str(_python(module)), "-c", f"import numpy, {module}"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _run(command: list[str]) -> str:
    # The other environment must not see this one's packages.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        timeout=_INSTALL_LIMIT_S,
        env=environment,
    ).stdout


def _reason(error: Exception) -> str:
    stderr = getattr(error, "stderr", None) or str(error)
    lines = [line.strip() for line in str(stderr).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
