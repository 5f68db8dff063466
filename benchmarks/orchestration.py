r"""What it costs to run each node of the reference pipeline in a process of its own.

\b
LocalDagRunner  all nodes in one process, as TFX runs them, and as `local_runner.py` does
run-node        a process for each node, one after another: what an orchestrator starts
airflow         the same under Airflow's scheduler (--airflow 2 or 3)

`overhead` is what a node takes as a process, beyond what it takes in the one process. `imports` is
the part of it until everything is imported that the node needs, Python's start included. A second
call of `run-node` for a node that has succeeded is timed as well.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import harness

from tfx_feeder.pipeline.configs import SHORT_SCHEDULE, PipelineConfig
from tfx_feeder.pipeline.datasets import open_data_set
from tfx_feeder.pipeline.orchestration import compiled_pipeline

ONE_PROCESS, PROCESSES, AGAIN = "LocalDagRunner", "run-node", "run-node again"
QUICK_SCHEDULE = "0.01:16x1@5"
DEPLOYMENT = Path(__file__).parents[1] / "tests" / "pipeline" / "orchestration" / "airflow"
_RUN_ID = "measured"


@click.command(help=__doc__)
@click.option("--airflow", type=click.Choice(["2", "3"]), help="Under this line of Airflow, too.")
@click.option("--node", hidden=True, help="Run one node in this process, and print its times.")
@harness.options(repeats=3)
def main(
    airflow: str | None,
    node: str | None,
    repeats: int,
    quick: bool,
    only: str | None,
    work_dir: Path | None,
) -> None:
    schedule = QUICK_SCHEDULE if quick else str(SHORT_SCHEDULE)
    if node:
        assert work_dir is not None
        harness.emit(_run_node(node, work_dir / "pipeline.json"))
    elif only:
        with tempfile.TemporaryDirectory() as root:
            harness.emit(_measure(only, Path(root), schedule))
    else:
        variants = [ONE_PROCESS, PROCESSES, *([f"airflow {airflow}"] if airflow else [])]
        with tempfile.TemporaryDirectory() as folder:
            samples = harness.in_turn(__file__, variants, repeats, Path(folder), quick=quick)
        _report(samples, f"digits, {schedule}")


def _measure(variant: str, root: Path, schedule: str) -> dict[str, Any]:
    if variant == ONE_PROCESS:
        return _one_process(root, schedule)
    options = ["--data", "digits", "--root", str(root), "--schedule", schedule]
    if variant == PROCESSES:
        _command("compile", *options, "--span", "1", "--output", str(root / "pipeline.json"))
        return _processes(root)
    (root / "airflow").mkdir()
    _command("compile", *options, "--output", str(root / "airflow" / "pipeline.json"))
    return _airflow(variant.split()[1], root, schedule)


def _one_process(root: Path, schedule: str) -> dict[str, Any]:
    # Not above: the processes of nodes import this module, too.
    from timed_nodes import run_timed

    from tfx_feeder.components.feeder_trainer.schedules.parser import parse_schedule
    from tfx_feeder.pipeline.pipeline import create_pipeline

    data = open_data_set("digits", root / "data")
    config = PipelineConfig(data, root, span=1, schedule=parse_schedule(schedule))
    config.workspace.prepare()
    nodes = run_timed(create_pipeline(config))
    del nodes["run()"]  # The sum of the others, in the order of the nodes.
    return {f"{node} {kind}": times[kind] for node, times in nodes.items() for kind in times}


def _processes(root: Path) -> dict[str, Any]:
    sample: dict[str, Any] = {}
    nodes = compiled_pipeline.read(root / "pipeline.json").upstream
    for node in nodes:
        command = [sys.executable, __file__, "--node", node, "--work-dir", str(root)]
        began = time.time()
        with _children() as times:
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        imports = json.loads(done.stdout.splitlines()[-1])
        sample |= {f"{node} {kind}": value for kind, value in times.items()}
        sample[f"{node} imports wall"] = imports["imported at"] - began
        sample[f"{node} imports cpu"] = imports["imports cpu"]
    with _children() as times:
        _command("run-node", *_options(root / "pipeline.json", next(iter(nodes))))
    return sample | {f"{AGAIN} {kind}": value for kind, value in times.items()}


def _run_node(node: str, path: Path) -> dict[str, Any]:
    """Imports what a node needs, then runs it by the command's own way."""
    quiet = import_module("tfx_feeder.pipeline.runner.quiet_imports").quiet_imports
    modules = [name.rpartition(".")[0] for name in _class_paths(_parts(node, path))]
    quiet("tfx_feeder.pipeline.orchestration.node_launcher", *modules)
    imports = {"imported at": time.time(), "imports cpu": time.process_time()}
    _command("run-node", *_options(path, node), in_process=True)
    return imports


def _parts(node: str, path: Path) -> list[Any]:
    """Returns what a compiled pipeline says of a node."""
    pipeline = compiled_pipeline.read(path).pipeline
    deployment = pipeline["deployment_config"]
    specs = (deployment.get(kind, {}) for kind in ("executor_specs", "custom_driver_specs"))
    nodes = (entry["pipeline_node"] for entry in pipeline["nodes"])
    return [
        *(of_node[node] for of_node in specs if node in of_node),
        *(entry for entry in nodes if entry["node_info"]["id"] == node),
    ]


def _class_paths(part: Any) -> Iterator[str]:
    """Yields the classes that a part of a compiled pipeline names."""
    if isinstance(part, dict):
        for key, value in part.items():
            if key == "class_path":
                yield value
            else:
                yield from _class_paths(value)
    elif isinstance(part, list):
        for value in part:
            yield from _class_paths(value)


def _options(path: Path, node: str) -> tuple[str, ...]:
    return ("--ir", str(path), "--node", node, "--run-id", _RUN_ID, "--unblessed-ok")


def _command(name: str, *arguments: str, in_process: bool = False) -> None:
    """Runs a command of ``tfx-feeder``, silently; the process ends where it fails."""
    if in_process:
        main_command = import_module("tfx_feeder.pipeline.cli.main").main
        try:
            main_command([name, *arguments], standalone_mode=False)
        except SystemExit as ended:
            if ended.code:
                raise
        return
    code = "from tfx_feeder.pipeline.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, name, *arguments], capture_output=True, text=True
    )
    if done.returncode:
        raise click.ClickException(f"tfx-feeder {name} failed:\n{done.stderr}")


@contextmanager
def _children() -> Iterator[dict[str, float]]:
    """Measures processes that begin and end within a block: wall time, and CPU seconds of all."""
    times: dict[str, float] = {}
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    yield times
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    times["wall"] = time.perf_counter() - began
    times["cpu"] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _airflow(line: str, root: Path, schedule: str) -> dict[str, Any]:
    """Lets a real Airflow run the pipeline; its start is not counted."""
    sys.path.insert(0, str(DEPLOYMENT))
    import deployment

    programs = deployment.postgres_programs()
    if programs is None:
        raise click.ClickException("PostgreSQL is not installed.")
    settings = {"TFX_FEEDER_ROOT": str(root), "TFX_FEEDER_BIN": str(Path(sys.executable).parent)}
    with deployment.postgres_server(programs) as port:
        running = deployment.Deployment(
            deployment.installed(line),
            port,
            root,
            dag_files=[Path(__file__).parents[1] / "airflow_runner.py"],
            dag_ids=["tfx_feeder"],
            settings=settings,
        )
        try:
            running.start()
            began = time.perf_counter()
            conf = json.dumps({"span": 1, "schedule": schedule})
            running.airflow("dags", "trigger", "tfx_feeder", "--run-id", _RUN_ID, "--conf", conf)
            state = running.until_done("tfx_feeder", _RUN_ID)
            total = time.perf_counter() - began
        finally:
            running.stop()
    if state != "success":
        raise click.ClickException(f"Airflow's run is {state}.")
    return {"total wall": total}


def _report(samples: harness.Samples, title: str) -> None:
    one, many = samples[ONE_PROCESS], samples[PROCESSES]
    nodes = [key.removesuffix(" wall") for key in one[0] if key.endswith(" wall")]
    for kind in ("wall", "cpu"):
        rows = []
        for node in nodes:
            figures = [harness.median(samples, f"{node} {kind}") for samples in (one, many)]
            imports = harness.median(many, f"{node} imports {kind}")
            overhead = figures[1] - figures[0]
            ratio = harness.describe(harness.ratios(many, one, f"{node} {kind}"))
            shown = (*figures, overhead, imports, overhead - imports)
            rows.append((node, *(f"{value:.2f}" for value in shown), ratio))
        columns = (ONE_PROCESS, PROCESSES, "overhead", "imports", "the rest", "ratio")
        harness.show(f"{title}: {kind} s", ("node", *columns), rows)
        for sample in (*one, *many):
            sample[f"all {kind}"] = sum(sample[f"{node} {kind}"] for node in nodes)
    again = harness.medians(many, {f"{AGAIN} wall": ".2f", f"{AGAIN} cpu": ".2f"})
    print(f"{AGAIN}, for a node that has succeeded: {again[0]} s, {again[1]} CPU s")
    for name, taken in samples.items():
        if name.startswith("airflow"):
            total = harness.median(taken, "total wall")
            ratio = harness.describe(
                harness.ratios(
                    [{"all wall": sample["total wall"]} for sample in taken], many, "all wall"
                )
            )
            print(f"{name}: {total:.1f} s from the trigger to the end; to {PROCESSES}: {ratio}")
    for kind, text in (("cpu", "CPU seconds"), ("wall", "wall time")):
        ratio = harness.describe(harness.ratios(many, one, f"all {kind}"))
        line = f"{text} of all nodes, {PROCESSES} to {ONE_PROCESS}"
        print(f"ratio {ratio}: {line}" if kind == "wall" else f"{line}: {ratio}")


if __name__ == "__main__":
    main()
