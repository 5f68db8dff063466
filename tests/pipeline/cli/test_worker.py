"""``tfx-feeder worker``: what it refuses, and that it is light while it waits."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tfx_feeder.pipeline.cli.worker import worker

CLUSTER = {"worker": ["localhost:1", "localhost:2"]}


def config(index: int) -> str:
    return json.dumps({"cluster": CLUSTER, "task": {"type": "worker", "index": index}})


@pytest.mark.parametrize(
    ("tf_config", "job", "timeout", "expected"),
    [
        (None, "job", "1s", "TF_CONFIG"),
        ("worker 1", "job", "1s", "TF_CONFIG"),
        (config(0), "job", "1s", "Run the pipeline on the machine of the chief"),
        (config(1), None, "1s", "TFX_FEEDER_JOB"),
        (config(1), "job", "soon", "--timeout"),
        (config(1), "job", "0.1s", "Is its Trainer running"),
    ],
    ids=["no cluster", "malformed", "the chief", "no job", "no duration", "nobody"],
)
def test_what_is_wrong_is_said(
    tf_config: str | None, job: str | None, timeout: str, expected: str, tmp_path: Path
) -> None:
    environment = {"TF_CONFIG": tf_config, "TFX_FEEDER_JOB": job and str(tmp_path / job)}

    result = CliRunner().invoke(worker, ["--timeout", timeout], env=environment)

    assert result.exit_code == 1
    assert expected in result.output


def test_no_work_may_be_all_right(tmp_path: Path) -> None:
    environment = {"TF_CONFIG": config(1), "TFX_FEEDER_JOB": str(tmp_path / "job")}

    result = CliRunner().invoke(worker, ["--timeout", "0.1s", "--no-work-ok"], env=environment)

    assert result.exit_code == 0
    assert "left no work" in result.output


def test_waiting_imports_nothing_heavy() -> None:
    program = """
import sys
sys.modules.update(dict.fromkeys(("tensorflow", "tfx", "keras", "apache_beam")))
import tfx_feeder.pipeline.cli.worker
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
