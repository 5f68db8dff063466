"""``tfx-feeder rollback``: errors reported before TensorFlow and TFX are imported."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.mlmd_store import StoreBuilder
from tfx_feeder.pipeline.cli.main import main

HEAVY = ("tensorflow", "tfx", "keras", "apache_beam", "numpy")


def _roll_back(store: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["rollback", *arguments, "--store", str(store)])


@pytest.fixture
def store(tmp_path: Path) -> Path:
    StoreBuilder(tmp_path / "metadata.sqlite").whole_run("r", span=1)
    return tmp_path


def test_a_reason_has_to_be_given(store: Path) -> None:
    done = _roll_back(store, "7")
    assert done.exit_code == 2
    assert "--reason" in done.output


def test_an_unevaluated_model_is_rejected_without_heavy_imports(store: Path) -> None:
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({HEAVY}));"
        "from tfx_feeder.pipeline.cli.main import main; main(sys.argv[1:])"
    )
    arguments = ["rollback", "", "--reason", "r", "--store", str(store)]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: version: expected one whose model is blessed.")


def test_a_store_without_pushed_models_is_reported(tmp_path: Path) -> None:
    StoreBuilder(tmp_path / "metadata.sqlite").run("r")
    done = _roll_back(tmp_path, "7", "--reason", "r")
    assert done.exit_code == 2
    assert "version: expected none: nothing was pushed. Received: '7'." in done.output


def test_a_missing_store_is_reported_in_one_line(tmp_path: Path) -> None:
    done = _roll_back(tmp_path, "7", "--reason", "r")
    assert done.exit_code == 2
    assert done.output.startswith("Error: store: expected ")
