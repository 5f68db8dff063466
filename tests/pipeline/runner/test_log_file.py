"""Output of libraries goes to the log file, by any route."""

import os
import subprocess
import sys
import textwrap

import pytest

SCRIPT = """
    import logging, os, sys, warnings
    from pathlib import Path
    from tfx_feeder.pipeline.runner.log_file import to_file

    with to_file(Path(sys.argv[1]), verbose={verbose}) as screen:
        print("from python")
        os.write(2, b"from C++\\n")
        logging.getLogger("absl").info("from a logger")
        logging.getLogger("absl").warning("ArtifactQuery.property_predicate is not supported.")
        warnings.warn("from a warning")
        screen.write("for the screen\\n")
    print("after")
"""


@pytest.fixture
def run(tmp_path):
    def run_script(*, verbose):
        log = tmp_path / "run.log"
        code = textwrap.dedent(SCRIPT.format(verbose=verbose))
        done = subprocess.run(
            [sys.executable, "-c", code, str(log)], capture_output=True, text=True, check=True
        )
        return done.stdout, done.stderr, log.read_text()

    return run_script


def test_screen_shows_only_what_is_meant_for_it(run):
    out, err, log = run(verbose=False)
    assert out == "for the screen\nafter\n"
    assert err == ""
    for text in ("from python", "from C++", "from a logger", "from a warning"):
        assert text in log


def test_verbose_shows_the_log_as_well(run):
    out, err, log = run(verbose=True)
    assert "from python" in out
    assert "from a logger" in err
    assert "from a logger" in log


@pytest.mark.parametrize("verbose", [False, True])
def test_false_alarm_is_told_nowhere(run, verbose):
    assert "property_predicate" not in "".join(run(verbose=verbose))


def test_a_screen_that_is_gone_does_not_end_the_run(tmp_path):
    log = tmp_path / "run.log"
    code = textwrap.dedent(SCRIPT.format(verbose=False))
    code = code.replace('screen.write("for the screen\\n")', 'print("x", file=screen, flush=True)')
    code = code.replace('print("after")', 'Path(sys.argv[1]).open("a").write("the end")')
    reads, writes = os.pipe()
    os.close(reads)
    done = subprocess.run([sys.executable, "-c", code, str(log)], stdout=writes, check=False)
    os.close(writes)
    assert done.returncode == 0
    assert log.read_text().endswith("the end")
