"""Stores on real database servers, started for the test; left out where none is installed."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import ml_metadata as mlmd
import pytest
from click.testing import CliRunner
from ml_metadata.proto import metadata_store_pb2 as pb

from tests.mlmd_store import StoreBuilder
from tfx_feeder.common.errors import ConfigError
from tfx_feeder.pipeline.cli.main import main
from tfx_feeder.pipeline.metadata.env import PASSWORD_VARIABLE
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.store import writable_config

pytestmark = pytest.mark.slow
PASSWORD = "p@ss /word:1"
STARTED_IN_S = 60


def program(name: str) -> str:
    """Finds a program of a server; Debian keeps those of PostgreSQL off the path."""
    places = [os.environ["PATH"], "/usr/sbin"]
    places += sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)
    found = shutil.which(name, path=os.pathsep.join(places))
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def folder_of(user: str) -> Iterator[Path]:
    """Makes a folder for a server, which does not run as root."""
    # Not below pytest's folders: only their owner may enter those.
    with tempfile.TemporaryDirectory() as name:
        if os.geteuid() == 0:
            shutil.chown(name, user, user)
        yield Path(name)


def run(*command: object, user: str = "") -> None:
    prefix = ["runuser", "-u", user, "--"] if user and os.geteuid() == 0 else []
    done = subprocess.run(
        [*prefix, *map(str, command)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    """Address of a PostgreSQL server with an empty database."""
    initdb, control, createdb = map(program, ("initdb", "pg_ctl", "createdb"))
    with folder_of("postgres") as folder:
        data, port = folder / "data", free_port()
        secret = folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        run(
            *(initdb, "-D", data, "-U", "feeder", "--auth=scram-sha-256", f"--pwfile={secret}"),
            user="postgres",
        )
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
        start = (control, "-D", data, "-l", folder / "log", "-o", options, "-w", "start")
        # The server would hold the pipes of the outputs open.
        run("sh", "-c", '"$@" >/dev/null', "sh", *start, user="postgres")
        try:
            address = f"feeder@127.0.0.1:{port}/lineage"
            at = ("-h", "127.0.0.1", "-p", port, "-U", "feeder", "lineage")
            run("env", f"PGPASSWORD={PASSWORD}", createdb, *at)
            yield f"postgresql://{address}"
        finally:
            run(control, "-D", data, "-m", "immediate", "stop", user="postgres")


@pytest.fixture(scope="module")
def mysql() -> Iterator[str]:
    """Address of a MariaDB server with an empty database."""
    install, server, client = map(program, ("mariadb-install-db", "mariadbd", "mariadb"))
    with folder_of("mysql") as folder:
        data, port, place = folder / "data", free_port(), folder / "socket"
        own = () if os.geteuid() else ("--user=mysql",)
        run(
            install,
            "--no-defaults",
            f"--datadir={data}",
            "--auth-root-authentication-method=normal",
            *own,
        )
        process = subprocess.Popen(
            [
                *(server, "--no-defaults", f"--datadir={data}", *own),
                *(f"--port={port}", "--bind-address=127.0.0.1", f"--socket={place}"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            begin = time.monotonic()
            while not place.exists():
                assert process.poll() is None, "the server ended"
                assert time.monotonic() - begin < STARTED_IN_S, "the server did not start"
                time.sleep(0.1)
            statements = (
                f"CREATE USER feeder@127.0.0.1 IDENTIFIED BY '{PASSWORD}'; "
                "GRANT ALL ON lineage.* TO feeder@127.0.0.1; CREATE DATABASE lineage"
            )
            run(client, "--no-defaults", "-u", "root", f"--socket={place}", "-e", statements)
            yield f"mysql://feeder@127.0.0.1:{port}/lineage"
        finally:
            process.terminate()
            process.wait()


@pytest.fixture(params=["postgresql", "mysql"])
def address(request, monkeypatch) -> str:
    monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORD)
    return request.getfixturevalue(request.param)


@pytest.fixture
def store(address):
    return StoreBuilder(address)


def test_store_on_a_server_is_read(address, store):
    made = store.whole_run("read", span=7)
    lineage = Lineage.open(address)
    assert "read" in lineage.run_ids()
    assert 7 in lineage.spans_done()
    [run] = lineage.runs(newest=1)
    assert [execution.state for execution in run.executions] == ["COMPLETE"] * 4
    assert made["model"] in lineage.upstream([made["version"]]).artifacts


def test_collected_files_are_marked_on_a_server(address, store, tmp_path):
    model = store.whole_run("collected", span=8, pushed=None)["model"]
    [maker] = [e for e in Lineage.open(address).executions("collected") if e.output("model")]
    folder = tmp_path / "FeederTrainer" / "model" / str(maker.id)
    folder.mkdir(parents=True)
    moved = pb.Artifact(id=model, uri=str(folder))
    mlmd.MetadataStore(writable_config(address)).put_artifacts([moved], field_mask_paths=["uri"])
    options = ("--older-than", "0.001s", "--keep-runs", "0", "--yes", "--store", address)
    done = CliRunner().invoke(main, ["gc", *options])
    assert done.exit_code == 0, done.output
    assert not folder.exists()
    assert Lineage.open(address).artifact(model).state == "DELETED"


def test_wrong_password_is_rejected_and_not_shown(address, monkeypatch):
    wrong = "not-the-password"
    for given in (address.replace("feeder@", f"feeder:{wrong}@"), address):
        monkeypatch.setenv(PASSWORD_VARIABLE, wrong)
        with pytest.raises(ConfigError, match="store: expected an ML Metadata store") as refused:
            Lineage.open(given)
        assert wrong not in str(refused.value)


@pytest.mark.usefixtures("store")
def test_password_in_the_address_is_taken(address, monkeypatch):
    monkeypatch.delenv(PASSWORD_VARIABLE)
    quoted = quote(PASSWORD, safe="")
    assert Lineage.open(address.replace("feeder@", f"feeder:{quoted}@")).pipelines() == ["p"]
