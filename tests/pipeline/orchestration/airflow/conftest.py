"""Airflow in environments of its own, and a scheduler that runs."""

import shutil
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TINY = HERE.parent / "tiny"
sys.path.insert(0, str(HERE))

import deployment as airflows  # noqa: E402


@pytest.fixture(scope="session", params=["2", "3"])
def airflow(request):
    """One line after the other."""
    if request.param == "2" and sys.version_info >= (3, 13):
        pytest.skip("Airflow 2.11 needs Python 3.12 or older")
    return airflows.installed(request.param)


@pytest.fixture(scope="session")
def postgres():
    """Port of a PostgreSQL server."""
    programs = airflows.postgres_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    with airflows.postgres_server(programs) as port:
        yield port


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """Folder of ``tiny.json`` and, as the DAG file expects it, ``airflow/pipeline.json``.

    They say which nodes there are; each run compiles its pipeline anew. So both lines share them.
    """
    from tfx_feeder.pipeline.cli.compile import compile_command
    from tfx_feeder.pipeline.orchestration import compiled_pipeline, compiler

    root = tmp_path_factory.mktemp("compiled")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINY_ROOT", str(root))
        patch.syspath_prepend(str(TINY))
        import tiny_pipeline

        tiny = compiler.compile_pipeline(tiny_pipeline.create(), exit_handlers=["Tell"])
    compiled_pipeline.write(tiny, root / "tiny.json")
    reference = root / "airflow" / "pipeline.json"
    options = ["--root", str(root), "--span", "1", "--output", str(reference)]
    compile_command.main(options, standalone_mode=False)
    return root


@pytest.fixture(scope="module")
def deployment(airflow, postgres, compiled, tmp_path_factory):
    """A running Airflow with the DAGs of the tiny pipeline and of the reference pipeline."""
    root = tmp_path_factory.mktemp("airflow")
    shutil.copy(compiled / "tiny.json", root)
    shutil.copytree(compiled / "airflow", root / "reference" / "airflow")
    programs = str(Path(sys.executable).parent)
    made = airflows.Deployment(
        airflow,
        postgres,
        root,
        dag_files=[HERE / "dags" / "tiny_dags.py", airflows.ROOT / "airflow_runner.py"],
        dag_ids=["daily", "tfx_feeder", "tiny"],
        settings={
            "TINY_ROOT": str(root),
            "TINY_BIN": programs,
            "TINY_CODE": str(TINY),
            "TFX_FEEDER_ROOT": str(root / "reference"),
            "TFX_FEEDER_BIN": programs,
        },
        parallelism=3,
    )
    try:
        made.start()
        yield made
    finally:
        made.stop()
