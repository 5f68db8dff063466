"""The reference CNN in other frameworks than TensorFlow, each in an environment of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import reference
import suite

PACKAGES: dict[str, list[list[str]]] = {
    "jax": [["jax"]],
    # Some package indexes hold only the build with CUDA, which is larger and as fast on a CPU.
    "torch": [["torch", "numpy", "--torch-backend", "cpu"], ["torch", "numpy"]],
}
"""Arguments of ``uv pip install``; the next ones if the first fail."""

_HERE = Path(__file__).resolve().parent
_INSTALL_LIMIT_S = 900


def install(framework: str) -> str | None:
    """Makes the environment of a framework, if there is none yet.

    Args:
        framework: One of ``PACKAGES``.

    Returns:
        The reason why it cannot be made, in one line; ``None`` if it is there.
    """
    python = _python(framework)
    if _is_ready(framework):
        return None
    uv = Path(sys.executable).with_name("uv")
    folder = python.parent.parent
    try:
        _run([str(uv), "venv", "--clear", "--python", sys.executable, str(folder)])
    except (OSError, subprocess.SubprocessError) as error:
        return _reason(error)
    reason = "nothing to install"
    for arguments in PACKAGES[framework]:
        try:
            _run([str(uv), "pip", "install", "--python", str(python), *arguments])
            return None if _is_ready(framework) else f"{framework} cannot be imported"
        except subprocess.SubprocessError as error:
            reason = _reason(error)
    return reason


def measure(
    framework: str, folder: Path, batch_sizes: Sequence[int], examples: int, warm_up_steps: int
) -> dict[str, float]:
    """Measures training steps on a batch that stays in memory.

    Args:
        framework: One of ``PACKAGES``, installed.
        folder: Of ``reference.write_records``.
        batch_sizes: To measure.
        examples: Trained on at each batch size.
        warm_up_steps: Before them.
    """
    feed = suite.open_split(folder, "train", reference.feed_options())
    largest = max(batch_sizes)
    features, labels = next(iter(feed.batches([range(largest)], largest)))
    data = folder / f"{framework}.npz"
    np.savez(data, images=features["image"].numpy(), labels=labels.numpy().astype(np.int64))
    script = str(_HERE / f"step_{framework}.py")
    sizes = [str(size) for size in batch_sizes]
    command = [str(_python(framework)), script, str(data), str(examples), str(warm_up_steps)]
    return json.loads(_run([*command, *sizes]).splitlines()[-1])


def _python(framework: str) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "tfx-feeder" / "benchmarks" / framework / "bin" / "python"


def _is_ready(framework: str) -> bool:
    if not _python(framework).exists():
        return False
    command = [str(_python(framework)), "-c", f"import numpy, {framework}"]
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
