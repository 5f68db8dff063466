"""TFX does not read deleted artifacts from its cache."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

RAN, CACHED = ["COMPLETE", "COMPLETE"], ["CACHED", "CACHED"]


@pytest.mark.slow
def test_what_was_deleted_is_made_again_and_cached_again(tmp_path):
    script = Path(__file__).with_name("two_nodes.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    output = json.loads(done.stdout.splitlines()[-1])
    assert output == {"deleted": ["Examples", "Model"], "states": [RAN, CACHED, RAN, CACHED]}
