"""``report`` and ``compare`` as users type them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tfx_feeder.pipeline.cli.main import main

HEAVY = ("tensorflow", "tfx", "keras", "apache_beam", "numpy")


@pytest.fixture
def call(report_store):
    """Returns a function that calls ``tfx-feeder`` on the store of the report."""

    def called(*words: object, status: int = 0) -> Result:
        done = CliRunner().invoke(main, [*map(str, words), "--store", str(report_store.folder)])
        assert done.exit_code == status, done.output
        return done

    return called


def test_report_is_written_beside_the_store(call, report_store):
    path = Path(call("report", "2026-01-01").stdout.split(" (")[0])
    assert path == report_store.folder / "reports" / "2026-01-01.html"
    assert "2026-01-01" in path.read_text()


def test_latest_is_the_default_and_odd_names_become_file_names(call, report_store):
    [line] = call("report").stdout.splitlines()
    path = Path(line.split(" (")[0])
    assert path.parent == report_store.folder / "reports"
    assert path.name.startswith("2026-01-04-..-script-script-alert")
    assert path.is_file()


def test_output_and_json(call, tmp_path):
    target = tmp_path / "new" / "page.html"
    output = json.loads(call("report", "2026-01-02", "-o", target, "--json").stdout)
    assert output == {"path": str(target), "bytes": target.stat().st_size, "runs": ["2026-01-02"]}
    assert [path.name for path in target.parent.iterdir()] == ["page.html"]


def test_runs_side_by_side(call, report_store):
    call("compare", "2026-01-01", "2026-01-02", "2026-01-03")
    name = "2026-01-01-and-2026-01-02-and-2026-01-03.html"
    assert (report_store.folder / "reports" / name).is_file()


def test_comparison_needs_different_runs(call):
    for runs in (["latest"], ["2026-01-01", "2026-01-01"]):
        assert "2 to 8 different runs" in call("compare", *runs, status=2).output


def test_unknown_run_is_rejected_by_name(call):
    assert "2025" in call("report", "2025", status=2).output


def test_unwritable_output_is_rejected(call, tmp_path):
    (tmp_path / "file").write_text("")
    output = call("report", "-o", tmp_path / "file" / "page.html", status=2).output
    assert "--output" in output


def test_nothing_heavy_is_imported(report_store, tmp_path):
    block = f"import sys; sys.modules.update(dict.fromkeys({HEAVY}))"  # importing one raises then
    arguments = [
        "report",
        "2026-01-01",
        "--store",
        str(report_store.folder),
        "-o",
        str(tmp_path / "x"),
    ]
    code = f"{block}; from tfx_feeder.pipeline.cli.main import main; main({arguments!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
