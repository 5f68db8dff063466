"""The tiny pipeline, compiled."""

from pathlib import Path

import pytest

TINY = Path(__file__).parent / "tiny"


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Returns the folder of the tiny pipeline, which can be imported here and in processes."""
    monkeypatch.setenv("TINY_ROOT", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(TINY))
    monkeypatch.syspath_prepend(str(TINY))
    return tmp_path


@pytest.fixture
def compiled(root):
    """Returns the compiled pipeline."""
    import tiny_pipeline

    from tfx_feeder.pipeline.orchestration.compiler import compile_pipeline

    return compile_pipeline(tiny_pipeline.create(), exit_handlers=["Tell"])


@pytest.fixture
def path(root, compiled):
    """Returns the file of the compiled pipeline."""
    from tfx_feeder.pipeline.orchestration import compiled_pipeline

    compiled_pipeline.write(compiled, root / "p.json")
    return root / "p.json"
