"""Every command with generated arguments, environments and files: an answer, or one line."""
# The client of ML Metadata declares no exports.
# pyright: reportPrivateImportUsage=false

import json
import logging
import signal
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import ml_metadata as mlmd
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kubeflow_runner
import local_runner
from tests.fuzzing import OUTCOMES
from tests.pipeline.cli import fuzzing
from tests.pipeline.cli.reference_runs import write_runs
from tests.pipeline.cli.test_compile import FACTORIES
from tfx_feeder.pipeline.cli import retrain, rollback, strategy, worker
from tfx_feeder.pipeline.cli.main import main
from tfx_feeder.pipeline.orchestration import node
from tfx_feeder.pipeline.report import write as report
from tfx_feeder.schemas import model_card
from tfx_feeder.schemas.model_card import LineageEntry, ModelCardDocument

_LEAVES = [
    *((main, words, command) for words, command in fuzzing.leaf_commands(main)),
    (local_runner.main, (), local_runner.main),
    (kubeflow_runner.main, (), kubeflow_runner.main),
]
_ALWAYS = {
    "doctor": ["--quick"],
    "compile": ["--factory", "factories:compiled"],
    "run-node": ["--connect-timeout", "0"],
}
_ENVIRONMENT = (
    *("TFX_FEEDER_STORE", "TFX_FEEDER_STORE_PASSWORD", "TFX_FEEDER_MOUNTS", "TF_CONFIG"),
    *("TFX_FEEDER_RENDEZVOUS", "KF_PIPELINES_ENDPOINT", "COLUMNS", "LINES", "TERM", "NO_COLOR"),
    *("TF_CPP_MIN_LOG_LEVEL", "CUDA_VISIBLE_DEVICES", "KERAS_BACKEND", "TZ", "LANG"),
)
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_SLOW = settings(
    max_examples=4_000,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
_QUICK = settings(_SLOW, max_examples=150)


def _stub(monkeypatch: pytest.MonkeyPatch, name: str, **attributes: Any) -> None:
    module = ModuleType(name)
    vars(module).update(attributes)
    monkeypatch.setitem(sys.modules, name, module)


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A working folder with runs, a compiled pipeline, a decision and other files."""
    folder = tmp_path_factory.mktemp("fuzz") / "a" / "b" / "c"
    folder.mkdir(parents=True)
    runs = write_runs(folder / "runs")
    (folder / "factories.py").write_text(FACTORIES)
    (folder / "s.yaml").write_text("phases: [[0.01, 32, 3]]")
    (folder / "data" / "span-1").mkdir(parents=True)
    (folder / "data" / "span-1" / "images.npz").write_bytes(b"1")
    card = ModelCardDocument(
        "100",
        "serving",
        "p",
        "2026-01-01",
        "2026-01-01T00:00:00+00:00",
        {"a": "b"},
        lineage=(LineageEntry("examples", 1, "Examples", "/e", 1),),
    )
    model_card.write(card, folder / "served")
    return SimpleNamespace(folder=folder, runs=runs)


@pytest.fixture(autouse=True)
def _without_long_work(place: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Replaces whatever trains, imports TensorFlow, waits, or reaches a server."""
    monkeypatch.chdir(place.folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "factories", raising=False)
    monkeypatch.setattr(local_runner, "run_with_logging", lambda request: 0)
    monkeypatch.setattr(kubeflow_runner, "in_kfp", lambda *words, stdin=None: "")
    monkeypatch.setattr(kubeflow_runner, "_write_vertex", lambda *arguments: None)
    monkeypatch.setattr(retrain.RetrainingDaemon, "run", lambda self: None)
    monkeypatch.setattr(retrain.RetrainingController, "retrain", lambda self, plan: 0)
    monkeypatch.setattr(retrain.RetrainingController, "collect_statistics", lambda self: None)
    monkeypatch.setattr(rollback, "_run", lambda *arguments: _interrupted())
    monkeypatch.setattr(worker, "run_worker", lambda *arguments, **options: None)
    waiting = SimpleNamespace(Event=lambda: SimpleNamespace(wait=_interrupted))
    monkeypatch.setattr(worker, "threading", waiting)
    monkeypatch.setattr(report, "render", lambda page: "<html>")
    monkeypatch.setattr(strategy, "quiet_imports", lambda *modules: None)
    monkeypatch.setattr(node, "quiet_imports", lambda *modules: None)
    feed = "tfx_feeder.components.feeder_trainer.feed.service_cluster"
    server = SimpleNamespace(target="grpc://localhost:1")
    _stub(
        monkeypatch, feed, start_dispatcher=lambda port: server, start_worker=lambda *given: server
    )
    _stub(monkeypatch, "tfx_feeder.pipeline.runner.probe", probe=lambda **options: _interrupted())
    model_server = SimpleNamespace(start=_interrupted, stop=lambda grace_s: None)
    _stub(
        monkeypatch,
        "tfx_feeder.serving.server.server",
        ModelServer=lambda *arguments: model_server,
    )
    _stub(monkeypatch, node._LAUNCHER, launch=lambda *arguments: None)
    connect = mlmd.MetadataStore

    def without_servers(config: Any) -> mlmd.MetadataStore:
        if not config.HasField("sqlite"):
            raise RuntimeError("Cannot connect")
        return connect(config)

    monkeypatch.setattr(mlmd, "MetadataStore", without_servers)
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _known(place: SimpleNamespace) -> dict[str, list[str]]:
    first = place.runs.first
    ids = [str(first.model), str(first.raw), "100", "2026-01", "latest", "previous", "live"]
    return {
        "store": ["runs"],
        "path": ["p.json"],
        "node": ["Gen", "Tell"],
        "nodes": ["Gen"],
        "run_id": ["1"],
        "pvc": ["claim"],
        "mount": ["/r", "/"],
        "image": ["i:1"],
        "reason": ["x"],
        "folder": ["served", "runs"],
        "data": ["data", "digits"],
        "watch": ["data"],
        "decision": ["decision.json"],
        "metrics": ["metrics.json"],
        "examples": ["1000", "data"],
        "root": ["runs", "elsewhere"],
        "output": ["out", "out/file"],
        "text": ["0.01:32x3", "decay_to_batch", "s.yaml"],
        "rendezvous": ["file"],
        **dict.fromkeys(("what", "run", "runs", "first", "second", "model", "version"), ids),
    }


def _write_documents(place: SimpleNamespace) -> None:
    done = CliRunner().invoke(
        main, ["compile", "--factory", "factories:compiled", "-o", "p.json", "--root", "runs"]
    )
    assert done.exit_code == 0, done.output
    decide = ["retrain", "--decide", "--json", "--reason", "x", "--data", "data", "--root", "new"]
    done = CliRunner().invoke(main, [*decide, "--quiet-period", "0.000001s"])
    Path("decision.json").write_text(done.stdout)
    Path("metrics.json").write_text('{"accuracy": 0.5, "loss": 1}')


def _fuzz_arguments(place: SimpleNamespace, data: st.DataObject, leaves: list[Any]) -> None:
    program = data.draw(st.sampled_from(leaves))[0]
    commands = [(words, command) for each, words, command in leaves if each is program]
    line = data.draw(fuzzing.command_lines(commands, _known(place), _ALWAYS))
    if program is kubeflow_runner.main:
        line += _ALWAYS["compile"]
    env = data.draw(
        st.dictionaries(
            st.sampled_from(_ENVIRONMENT),
            st.sampled_from(["", "0", "80", "²", "{}", "[", "runs", "Europe/Berlin", "C", "/="]),
            max_size=1,
        )
    )
    fuzzing.check(program, line, env)


@_QUICK
@given(data=st.data())
def test_arguments(place: SimpleNamespace, data: st.DataObject) -> None:
    _prepare(place)
    _fuzz_arguments(place, data, _LEAVES)


@pytest.mark.slow
@pytest.mark.long
@_SLOW
@given(data=st.data())
def test_many_arguments(place: SimpleNamespace, data: st.DataObject) -> None:
    _prepare(place)
    _fuzz_arguments(place, data, _LEAVES)


_NODES = [
    {
        "pipeline_node": {
            "node_info": {
                "id": "Gen",
                "type": {"name": "tfx_feeder.components.feeder_trainer.component.FeederTrainer"},
            },
            "upstream_nodes": [],
            "contexts": {"contexts": [{"type": {"name": "pipeline"}}]},
            "outputs": {"outputs": {"model": {"artifact_spec": {"type": {"name": "Model"}}}}},
            "parameters": {
                "parameters": {
                    "strategy": {
                        "field_value": {
                            "string_value": json.dumps({"name": "multi_worker", "cluster": "env"})
                        }
                    }
                }
            },
        }
    }
]
_COMPILED = {
    "format": "tfx_feeder.pipeline",
    "version": 2,
    "pipeline": {
        "pipeline_info": {"id": "p"},
        "runtime_spec": {"pipeline_root": {"field_value": {"string_value": "r"}}},
        "deployment_config": {
            "metadata_connection_config": {
                "@type": "type.googleapis.com/ml_metadata.ConnectionConfig",
                "sqlite": {"filename_uri": "ir.sqlite", "connection_mode": "READWRITE_OPENCREATE"},
            }
        },
        "nodes": _NODES,
    },
    "resources": {"Gen": {"cpu": "1", "memory": "", "accelerator": "", "count": 0}},
    "exit_handlers": [],
    "versions": {"tfx": "1"},
}
_RUN_NODE = ("run-node", "--node", "Gen", "--run-id", "1", "--connect-timeout", "0", "--ir")
_CLUSTER = ("cluster", "--image", "i", "--pvc", "c", "--mount", "r", "-o", "c.yaml", "--ir")


def _fuzz_documents(place: SimpleNamespace, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["compiled", "decision", "metrics", "card", "history"]))
    path = Path("damaged.json")
    first = place.runs.first
    match kind:
        case "compiled":
            document = _COMPILED
            line = [*data.draw(st.sampled_from([_RUN_NODE, _CLUSTER])), str(path)]
        case "decision":
            document = json.loads(Path("decision.json").read_text())
            line = ["compile", *_ALWAYS["compile"], "--decision", str(path), "-o", "p2.json"]
        case "metrics":
            document = json.loads(Path("metrics.json").read_text())
            line = ["retrain", "--decide", "--data", "data", "--root", "runs"]
            line += ["--performance", "accuracy>=0.9", "--metrics", str(path)]
        case "card":
            path = Path("damaged") / "model_card.json"
            document = json.loads(Path("served/model_card.json").read_text())
            line = ["verify", "damaged"]
        case _:
            path = place.runs.store.path(first.history) / "history.json"
            document = json.loads(Path(place.history).read_text())
            reading = [
                ("history", str(first.model)),
                ("why", str(first.model)),
                ("models",),
                ("report", "2026-01-01", "-o", "r.html"),
                ("diff", "2026-01-01", "2026-01-02"),
            ]
            line = [*data.draw(st.sampled_from(reading)), "--store", "runs"]
    fuzzing.write(path, data.draw(fuzzing.damaged(document)))
    fuzzing.check(main, line)


def _prepare(place: SimpleNamespace) -> None:
    if not hasattr(place, "history"):
        _write_documents(place)
        first = place.runs.store.path(place.runs.first.history) / "history.json"
        place.history = place.folder / "history.json"
        place.history.write_bytes(first.read_bytes())


@_QUICK
@given(data=st.data())
def test_damaged_files(place: SimpleNamespace, data: st.DataObject) -> None:
    _prepare(place)
    _fuzz_documents(place, data)


@pytest.mark.slow
@pytest.mark.long
@_SLOW
@given(data=st.data())
def test_many_damaged_files(place: SimpleNamespace, data: st.DataObject) -> None:
    _prepare(place)
    _fuzz_documents(place, data)


def test_the_outcomes() -> None:
    print(f"fuzzed commands: {dict(OUTCOMES)}")
