"""Ten concurrent pipelines of five nodes on one database server that is empty at first."""

import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import ml_metadata as mlmd
import pytest

from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.store import writable_config
from tfx_feeder.pipeline.orchestration import compiled_pipeline

pytestmark = pytest.mark.slow
PIPELINES = [f"shop{number}" for number in range(10)]
STEPS = (("Gen",), ("Judge", "Sibling", "latest"), ("Push",))
"""Nodes of a step run at the same time."""
OUTPUTS = (("Gen", "model"), ("Judge", "blessing"))


@pytest.fixture
def address(monkeypatch):
    """Address of an empty database of a PostgreSQL server."""
    monkeypatch.setenv("GLOG_minloglevel", "2")
    monkeypatch.syspath_prepend(str(Path(__file__).with_name("airflow")))
    import deployment

    programs = deployment.postgres_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    with deployment.postgres_server(programs) as port:
        server = ["-h", "127.0.0.1", "-p", str(port), "-U", "postgres"]
        subprocess.run([programs / "createdb", *server, "mlmd"], check=True)
        yield f"postgresql://postgres@127.0.0.1:{port}/mlmd"


@pytest.fixture
def files(root):
    """The compiled pipelines, by name."""
    from tfx_feeder.pipeline.orchestration.compiler import compile_pipeline

    return {name: compile_pipeline(create(name, root)) for name in PIPELINES}


def create(name, root):
    """A pipeline of which three nodes may run at the same time."""
    import tiny_pipeline as tiny
    from tfx import v1 as tfx

    gen = tiny.Gen()
    judge = tiny.Judge(model=gen.outputs["model"], blessed=1)
    latest = tfx.dsl.Resolver(
        strategy_class=tfx.dsl.experimental.LatestArtifactStrategy,
        model=tfx.dsl.Channel(type=tfx.types.standard_artifacts.Model),
    ).with_id("latest")
    latest.add_upstream_node(gen)
    push = tiny.Push(model=latest.outputs["model"], blessing=judge.outputs["blessing"])
    return tfx.dsl.Pipeline(
        pipeline_name=name,
        pipeline_root=str(root / name),
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
            str(root / "not used")
        ),
        components=[gen, judge, tiny.Sibling(model=gen.outputs["model"]), latest, push],
    )


def run_pipeline(forked, address, file):
    """Runs all nodes, a step at a time; returns the exit statuses of their processes."""
    import tiny_node

    statuses = {}
    for step in STEPS:
        started = {}
        for node in step:
            given = (dict(os.environ), file, node, f"run of {file.name}", address)
            started[node] = forked.Process(target=tiny_node.run, args=given)
            started[node].start()
        for node, process in started.items():
            process.join(300)
            statuses[node] = process.exitcode
    return statuses


def run_again(file, address, root):
    """Runs a node that is done, by the command."""
    compiled_pipeline.write(file, root / "p.json")
    main = "from tfx_feeder.pipeline.cli.main import main; main()"
    options = ["--ir", root / "p.json", "--node", "Gen", "--run-id", f"run of {file.name}"]
    return subprocess.run(
        [sys.executable, "-c", main, "run-node", *map(str, options), "--store", address]
    )


def test_none_is_lost_and_none_is_doubled(forked, address, files, root):
    with ThreadPoolExecutor(len(files)) as threads:
        statuses = list(threads.map(partial(run_pipeline, forked, address), files.values()))
    nodes = {node for step in STEPS for node in step}
    assert statuses == [dict.fromkeys(nodes, 0)] * len(files)
    assert run_again(next(iter(files.values())), address, root).returncode == 0
    lineage = Lineage.open(address)
    for name in files:
        made = {execution.node: execution for execution in lineage.executions(f"run of {name}")}
        assert {e.pipeline for e in made.values()} == {name}
        assert {node: e.state for node, e in made.items()} == dict.fromkeys(nodes, "COMPLETE")
        model, blessing = (made[node].outputs[key] for node, key in OUTPUTS)
        assert model[0].path.is_relative_to(root / name)
        assert made["Judge"].inputs == made["Sibling"].inputs == {"model": model}
        assert made["Push"].inputs == {"model": model, "blessing": blessing}
    store = mlmd.MetadataStore(writable_config(address))
    assert len(store.get_executions()) == len(files) * len(nodes)
    assert Counter(a.type for a in store.get_artifacts()) == dict.fromkeys(
        ("Model", "ModelBlessing", "InfraBlessing", "PushedModel"), len(files)
    )
    contexts = Counter(context.type for context in store.get_contexts())
    once = {"pipeline": len(files), "pipeline_run": len(files), "node": len(files) * len(nodes)}
    assert {kind: contexts[kind] for kind in once} == once
    for kind in ("context", "execution", "artifact"):
        types = getattr(store, f"get_{kind}_types")()
        assert max(Counter(found.name for found in types).values()) == 1
