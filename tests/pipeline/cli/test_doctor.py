"""``tfx-feeder doctor``: checks, severities and exit status."""

import json
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from click.testing import CliRunner

from tfx_feeder.pipeline.cli import doctor as module
from tfx_feeder.pipeline.cli.doctor import doctor


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in module._VARIABLES:
        monkeypatch.delenv(name, raising=False)


def run(*arguments: str) -> tuple[int, dict[str, dict[str, str]]]:
    result = CliRunner().invoke(doctor, ["--quick", "--json", *arguments])
    return result.exit_code, {check["name"]: check for check in json.loads(result.stdout)}


def test_this_environment_is_healthy(tmp_path: Path) -> None:
    status, checks = run("--root", str(tmp_path / "not" / "yet"))
    assert status == 0
    assert checks["tensorflow"]["found"][0] == "2"
    assert not (tmp_path / "not").exists()


@pytest.mark.parametrize(
    ("name", "value", "severity"),
    [
        ("TF_USE_LEGACY_KERAS", "1", "error"),
        ("KERAS_BACKEND", "jax", "error"),
        ("TF_CONFIG", "{}", "warning"),
        ("CUDA_VISIBLE_DEVICES", "-1", "warning"),
    ],
)
def test_a_harmful_variable_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, severity: str
) -> None:
    monkeypatch.setenv(name, value)
    status, checks = run()
    assert checks[f"Variable {name}"]["severity"] == severity
    assert status == (severity == "error")


def test_harmless_values_are_not_mentioned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_USE_LEGACY_KERAS", "0")
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    status, checks = run()
    assert status == 0
    assert not [name for name in checks if name.startswith("Variable")]


def test_a_root_that_cannot_be_written_stops_a_run() -> None:
    status, checks = run("--root", "/proc/nowhere")
    assert status == 1
    assert checks["Folder of runs"]["severity"] == "error"


def test_a_full_disk_stops_a_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    usage = module.shutil.disk_usage(tmp_path)._replace(free=1 << 20)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage)
    status, checks = run("--root", str(tmp_path))
    assert status == 1
    assert checks["Folder of runs"]["advice"] == "Free some disk space."


def test_a_missing_package_stops_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(package: str) -> str:
        raise PackageNotFoundError(package)

    monkeypatch.setattr(module, "version", version)
    status, checks = run()
    assert status == 1
    assert checks["TFX"]["severity"] == checks["keras"]["severity"] == "error"


def test_an_unsupported_line_stops_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "version", lambda package: "1.15.1")
    assert run()[1]["TFX"]["severity"] == "error"


def test_the_table_says_that_all_is_well(tmp_path: Path) -> None:
    result = CliRunner().invoke(doctor, ["--quick", "--root", str(tmp_path)])
    assert "A pipeline can run on this machine." in result.stdout


@pytest.mark.slow
def test_accelerators_are_looked_for_in_another_process() -> None:
    assert module._check_devices().severity == "ok"
