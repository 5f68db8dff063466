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
    ("tf_config", "rendezvous", "timeout", "expected"),
    [
        (None, "rendezvous", "1s", "TF_CONFIG"),
        ("worker 1", "rendezvous", "1s", "TF_CONFIG"),
        (config(0), "rendezvous", "1s", "Run the pipeline on the machine of the chief"),
        (config(1), None, "1s", "TFX_FEEDER_RENDEZVOUS"),
        (config(1), "rendezvous", "soon", "--timeout"),
        (config(1), "rendezvous", "0.1s", "Check that its Trainer is running"),
    ],
    ids=["no cluster", "malformed", "the chief", "no rendezvous", "no duration", "nobody"],
)
def test_what_is_wrong_is_said(
    tf_config: str | None, rendezvous: str | None, timeout: str, expected: str, tmp_path: Path
) -> None:
    environment = {
        "TF_CONFIG": tf_config,
        "TFX_FEEDER_RENDEZVOUS": rendezvous and str(tmp_path / rendezvous),
    }

    result = CliRunner().invoke(worker, ["--timeout", timeout], env=environment)

    # Work may arrive later, so its absence is not wrong usage.
    assert result.exit_code == (1 if timeout == "0.1s" else 2)
    assert expected in result.output


def test_no_work_may_be_all_right(tmp_path: Path) -> None:
    environment = {"TF_CONFIG": config(1), "TFX_FEEDER_RENDEZVOUS": str(tmp_path / "rendezvous")}

    result = CliRunner().invoke(worker, ["--timeout", "0.1s", "--no-work-ok"], env=environment)

    assert result.exit_code == 0
    assert "published no work" in result.output


def test_the_old_name_of_the_variable_is_read(tmp_path: Path) -> None:
    environment = {"TF_CONFIG": config(1), "TFX_FEEDER_JOB": str(tmp_path / "training.job")}

    result = CliRunner().invoke(worker, ["--timeout", "0.1s"], env=environment)

    assert f"published no work in {tmp_path / 'training.job'} " in result.output


def test_waiting_imports_nothing_heavy() -> None:
    program = """
import sys
sys.modules.update(dict.fromkeys(("tensorflow", "tfx", "keras", "apache_beam")))
import tfx_feeder.pipeline.cli.worker
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
