"""Airflow in an environment of its own, and its processes with a PostgreSQL server.

Tests and benchmarks import it from this folder. It imports nothing of Airflow's or of TFX's.
"""

import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[4]
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "tfx-feeder")


@dataclass(frozen=True)
class Airflow:
    """An installed Airflow.

    Args:
        line: Its major version.
        programs: Folder with its programs.
    """

    line: str
    programs: Path

    def environment(self, home: Path) -> dict[str, str]:
        """Returns the environment variables of its processes; nothing of this process's own."""
        return {
            "PATH": f"{self.programs}:{os.defpath}",
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "AIRFLOW_HOME": str(home / "airflow"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        }


def installed(line: str) -> Airflow:
    """Installs Airflow, where it is not there yet; line 2 needs Python 3.12 or older."""
    command = [sys.executable, ROOT / "scripts" / "airflow_env.py", line, CACHE]
    made = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Airflow(line, Path(made.stdout.strip()))


def postgres_programs() -> Path | None:
    """Returns the folder of PostgreSQL's programs; ``None`` where it is not installed."""
    found = shutil.which("initdb") or max(glob.glob("/usr/lib/postgresql/*/bin/initdb"), default="")
    return Path(found).resolve().parent if found else None


@contextmanager
def postgres_server(programs: Path) -> Iterator[int]:
    """Runs a PostgreSQL server whose only user, ``postgres``, needs no password.

    Yields:
        Its port.
    """
    port = free_port()
    owner: dict[str, Any] = {}
    folder = Path(tempfile.mkdtemp(prefix="feeder-postgres-"))
    if os.geteuid() == 0:  # As which the server refuses to run.
        account = pwd.getpwnam("postgres")
        os.chown(folder, account.pw_uid, account.pw_gid)
        owner = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    data = str(folder / "data")
    initialise = [programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "--no-sync"]
    subprocess.run(initialise, check=True, stdout=subprocess.DEVNULL, cwd=folder, **owner)
    listen = ["-h", "127.0.0.1", "-p", str(port), "-k", "", "-F"]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [programs / "postgres", "-D", data, *listen], cwd=folder, stderr=log, **owner
        )
    try:
        ready = [programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
        until(lambda: subprocess.run(ready).returncode == 0, 60, "PostgreSQL is up")
        yield port
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(60)
        shutil.rmtree(folder)


class Deployment:
    """Airflow's processes, with the LocalExecutor.

    Args:
        airflow: The installation.
        postgres: Port of the database server.
        home: Folder of everything that is written.
        dag_files: Copied into the folder of DAGs.
        dag_ids: What they make.
        settings: Further environment variables of all processes.
        parallelism: Tasks at the same time.
    """

    def __init__(
        self,
        airflow: Airflow,
        postgres: int,
        home: Path,
        *,
        dag_files: Collection[Path],
        dag_ids: Collection[str],
        settings: Mapping[str, str],
        parallelism: int = 2,
    ) -> None:
        self.home = home
        self.line = airflow.line
        self._dag_files = dag_files
        self._dag_ids = sorted(dag_ids)
        self._program = airflow.programs / "airflow"
        self._url = f"postgresql://postgres@127.0.0.1:{postgres}/"
        self._database = f"airflow_{airflow.line}"
        self._processes: list[subprocess.Popen[bytes]] = []
        self._port = port = free_port()
        self._environment = {
            **airflow.environment(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": str(parallelism),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"{self._url}{self._database}",
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
            "AIRFLOW__API_AUTH__JWT_SECRET": "of no use to others, for this server lives minutes",
            **settings,
        }

    def start(self) -> None:
        """Makes the database and starts all that runs a DAG."""
        (self.home / "dags").mkdir(parents=True)
        for file in self._dag_files:
            shutil.copy(file, self.home / "dags")
        self.query(f"drop database if exists {self._database} with (force)", database="postgres")
        self.query(f"create database {self._database}", database="postgres")
        self.airflow("db", "migrate")
        others = [] if self.line == "2" else ["api-server", "dag-processor"]
        for name in [*others, "scheduler"]:
            with (self.home / f"{name}.log").open("w") as log:
                process = subprocess.Popen(
                    [self._program, name],
                    env=self._environment,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            self._processes.append(process)
        dags = "select dag_id from serialized_dag order by 1"

        def known() -> bool:
            assert not (errors := self.query("select stacktrace from import_error")), errors
            return self.query(dags) == self._dag_ids

        self.until(known, 600, "the DAGs are known")
        if others:  # A task that starts before the API server answers fails.
            self.until(self._answers, 600, "the API server answers")

    def stop(self) -> None:
        """Ends all processes, and what they started."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _answers(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self._port)) == 0

    def airflow(self, *arguments: str, may_fail: bool = False) -> None:
        """Runs a command of Airflow's."""
        done = subprocess.run(
            [self._program, *arguments],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert may_fail or done.returncode == 0, done.stdout

    def query(self, statement: str, *, database: str | None = None) -> list[str]:
        """Returns the rows of a query, columns parted by ``|``."""
        url = self._url + (database or self._database)
        command = ["psql", "-qAtX", "-d", url, "-c", statement]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        return done.stdout.splitlines()

    def runs(self, dag: str) -> dict[str, str]:
        """Returns the states of a DAG's runs, by run id."""
        rows = self.query(f"select run_id, state from dag_run where dag_id = '{dag}'")
        return dict(row.split("|") for row in rows)

    def tasks(self, dag: str, run_id: str) -> dict[str, str]:
        """Returns the states of a run's tasks."""
        rows = self.query(
            "select task_id, state from task_instance "
            f"where dag_id = '{dag}' and run_id = '{run_id}'"
        )
        return dict(row.split("|") for row in rows)

    def log(self, dag: str, run_id: str, task: str) -> str:
        """Returns what all tries of a task have logged so far."""
        folder = self.home / "airflow" / "logs" / f"dag_id={dag}" / f"run_id={run_id}"
        files = sorted((folder / f"task_id={task}").glob("attempt=*.log"))
        return "".join(file.read_text() for file in files)

    def until(self, condition: Callable[[], bool], patience_s: float, what: str) -> None:
        """Waits for something, as long as all processes live."""

        def checked() -> bool:
            for process in self._processes:
                assert process.poll() is None, f"{process.args} has ended"
            return condition()

        until(checked, patience_s, what)

    def until_done(self, dag: str, run_id: str) -> str:
        """Waits for the end of a run, and returns its state."""
        self.until(
            lambda: self.runs(dag).get(run_id) in ("success", "failed"), 600, f"{run_id} is done"
        )
        return self.runs(dag)[run_id]


def free_port() -> int:
    """Returns the number of a port that nobody uses."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def until(condition: Callable[[], bool], patience_s: float, what: str) -> None:
    """Waits for something."""
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {patience_s:g} s: {what}"
        time.sleep(0.5)
