"""What `python -m build` makes installs and imports away from the checkout."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def test_the_links_become_packages(distributions: Path) -> None:
    with zipfile.ZipFile(next(distributions.glob("*.whl"))) as wheel:
        names = wheel.namelist()
    assert "tfx_feeder/components/feeder_trainer/component.py" in names
    assert "tfx_feeder/pipeline/cli/main.py" in names
    assert any(name.endswith(".pbtxt") for name in names)
    top_level = {name.split("/")[0] for name in names}
    assert all(name.startswith("tfx_feeder") for name in top_level), top_level
    with tarfile.open(next(distributions.glob("*.tar.gz"))) as sdist:
        assert not [member.name for member in sdist if member.issym()]


def test_the_wheel_imports_from_another_folder(distributions: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    wheel = next(distributions.glob("*.whl"))
    uv = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--target"]
    subprocess.run([*uv, str(site), str(wheel)], check=True)
    code = (
        "import tfx_feeder.pipeline.cli.main as cli, tfx_feeder.common.errors as errors;"
        "from tfx_feeder.components.feeder_trainer.schedules import schedule;"
        "print(cli.__file__, errors.__file__, schedule.__file__, sep='\\n')"
    )
    env = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert all(line.startswith(str(site)) for line in done.stdout.splitlines())
