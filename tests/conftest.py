"""What all tests share: TensorFlow by default, property tests without a clock, a built package."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).parents[1]
LAUNCHING = "tfx_feeder.pipeline.orchestration.node_launcher"

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # the banners of each test process
for name in ("TF_USE_LEGACY_KERAS", "KERAS_BACKEND", "TF_CONFIG"):
    os.environ.pop(name, None)

del sys.argv[1:]  # TFX parses the options of the process as its own.

# A shell may start tests in the background, which then ignore Ctrl-C, and so does what they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadline: a busy machine is not a fault. CI repeats the same examples, so that it fails for a
# change and not by chance; every other run looks for new ones.
settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


@pytest.fixture(scope="session")
def forked():
    """Returns what starts processes that have Keras and TFX imported, each in a fork of one.

    A process of tests has one such server, with the environment of the test that came first.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["keras", "tfx.v1", LAUNCHING])
    return context


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel, the wheel made from the sdist."""
    source = tmp_path_factory.mktemp("source") / "tfx-feeder"
    ignored = shutil.ignore_patterns(
        ".venv", ".git", "runs", "__pycache__", "*.egg-info", ".*_cache"
    )
    shutil.copytree(ROOT, source, symlinks=True, ignore=ignored)
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return out
