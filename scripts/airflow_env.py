"""Makes an environment for Airflow, beside that of TFX, from the lock in tests/.

    python scripts/airflow_env.py 2|3 FOLDER [--lock]

Prints the folder with its programs. Airflow 2.11 needs Python 3.12 or older. The environment holds
this package as users have it beside Airflow: without its dependencies. A second call does nothing
unless the lock changed.
"""

import argparse
import hashlib
import subprocess
import sys
from pathlib import Path

from filelock import FileLock

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "tests" / "pipeline" / "orchestration" / "airflow"
UV = str(Path(sys.executable).with_name("uv"))


def provide(line: str, folder: Path) -> Path:
    """Makes or renews an environment with the Python that runs this.

    Args:
        line: Major version of Airflow.
        folder: Where environments are kept.

    Returns:
        Folder with its programs.
    """
    lock = LOCKS / f"requirements-{line}.txt"
    venv = folder.absolute() / f"airflow-{line}-py{sys.version_info.major}{sys.version_info.minor}"
    stamp = venv / "tfx-feeder-stamp"
    wanted = hashlib.sha256(lock.read_bytes() + str(ROOT).encode()).hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{venv}.lock"):
        if not stamp.exists() or stamp.read_text() != wanted:
            run(UV, "venv", "--quiet", "--clear", "--python", sys.executable, str(venv))
            install = [UV, "pip", "install", "--quiet", "--python", str(venv), "--no-deps"]
            run(*install, "--compile-bytecode", "--require-hashes", "-r", str(lock))
            run(*install, "--editable", str(ROOT))
            stamp.write_text(wanted)
    return venv / "bin"


def renew(line: str) -> None:
    """Resolves a lock anew."""
    run(
        *(UV, "pip", "compile", "--quiet", "--universal", "--python-version", "3.10"),
        *("--generate-hashes", "--no-annotate"),
        *("--custom-compile-command", "scripts/airflow_env.py --lock"),
        *("-o", str(LOCKS / f"requirements-{line}.txt"), str(LOCKS / f"requirements-{line}.in")),
    )


def run(*command: str) -> None:
    """Runs a command, with its output beside the answer of this script."""
    subprocess.run(command, check=True, cwd=ROOT, stdout=sys.stderr)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make an environment for Airflow.")
    parser.add_argument("line", choices=["2", "3"], help="major version")
    parser.add_argument("folder", type=Path, help="where environments are kept")
    parser.add_argument("--lock", action="store_true", help="resolve the lock anew first")
    options = parser.parse_args()
    if options.lock:
        renew(options.line)
    print(provide(options.line, options.folder))
