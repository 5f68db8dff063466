"""A store is read while another process writes to it."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.mlmd_store import StoreBuilder
from tfx_feeder.common.errors import ConfigError
from tfx_feeder.pipeline.cli.main import main
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.store import open_store

READ_FOR_S = 3
LOCK = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path):
    StoreBuilder(tmp_path / "metadata.sqlite").run("going on")
    return tmp_path / "metadata.sqlite"


@pytest.fixture
def writer(path):
    """A process that writes to the store."""
    job = Path(__file__).parent / "workers" / "writing.py"
    process = subprocess.Popen(
        [sys.executable, str(job), str(path), "going on"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout.readline() == "began\n"
        yield process
        process.kill()


def test_reader_and_writer_do_not_block_each_other(path, writer):
    seen, until = [], time.monotonic() + READ_FOR_S
    while time.monotonic() < until:
        lineage = Lineage.open(path)
        [run] = lineage.runs()
        # An execution and what it made are there together.
        assert len(lineage.artifacts("Model")) >= len(run.executions)
        assert all(e.output("model") for e in lineage.executions("going on"))
        seen.append(len(run.executions))
    count, _ = writer.communicate()
    assert writer.returncode == 0
    assert seen == sorted(seen)
    assert seen[-1] > seen[0]
    assert len(Lineage.open(path).executions("going on")) == int(count)


@pytest.mark.usefixtures("writer")
@pytest.mark.parametrize("command", ["runs", "models", "artifacts", "gc"])
def test_commands_answer_in_the_meantime(path, command):
    done = CliRunner().invoke(main, [command, "--json", "--store", str(path)])
    assert done.exit_code == 0, done.output
    json.loads(done.stdout)


@pytest.mark.slow
def test_store_that_stays_locked_is_rejected(path):
    # By another process: a lock of this one would be its own.
    with subprocess.Popen(
        [sys.executable, "-c", LOCK, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(ConfigError, match="store: "):
            open_store(path)
        other.kill()
