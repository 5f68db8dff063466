"""Log, exit status and error message of a run."""

import errno
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest

from tfx_feeder.common.errors import ConfigError, DataError
from tfx_feeder.pipeline.runner.launch import (
    FAILED,
    USAGE_ERROR,
    ComponentError,
    RunRequest,
    root_cause,
    run_with_logging,
)
from tfx_feeder.pipeline.workspace import LEAST_FREE_BYTES


def _raise_from(outer, inner):
    try:
        raise outer from inner
    except Exception as error:
        return error


def test_cause_of_an_error_on_purpose_is_its_message_however_wrapped():
    inner = DataError("12 of 100 records were left out")
    wrapped = _raise_from(ComponentError("ImageExampleGen"), _raise_from(RuntimeError("x"), inner))
    assert root_cause(wrapped) == "12 of 100 records were left out"


def test_cause_of_any_other_error_is_its_type_and_first_line():
    error = _raise_from(ComponentError("Transform"), ValueError("\nbad shape\nmore\nand more"))
    assert root_cause(error) == "ValueError: bad shape"
    assert root_cause(KeyError()) == "KeyError: no message"


def test_root_that_cannot_be_written_is_one_line(tmp_path, capfd):
    (tmp_path / "file").write_text("")
    assert run_with_logging(RunRequest(data="digits", root=tmp_path / "file" / "runs")) == FAILED
    err = capfd.readouterr().err
    assert "root: expected a folder that can be written" in err
    assert "--root" in err


@pytest.mark.parametrize(
    ("error", "free", "full"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 1 << 30, True),
        (RuntimeError("Transaction already open."), 4096, True),
        (RuntimeError("Transaction already open."), 1 << 30, False),
    ],
)
def test_full_disk_is_named_whatever_error_it_causes(
    tmp_path, capfd, monkeypatch, error, free, full
):
    def run(*_):
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
        raise _raise_from(ComponentError("Transform"), error)

    monkeypatch.setitem(sys.modules, "some_work", SimpleNamespace(run=run))
    assert run_with_logging(RunRequest(data="digits", root=tmp_path), "some_work") == FAILED
    out = capfd.readouterr().out
    assert ("Failed in Transform: the disk of" in out) is full
    assert str(error) in out


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"schedule": "0.01:0x3"}, "batch_size: expected an integer of 1 or more"),
        ({"schedule": "nonsense"}, "schedule: expected a learning rate"),
        ({"schedule": "0.01:32x3", "full": True}, "schedule: expected either --schedule or --full"),
        ({"span": 9}, "span: expected one of 1, 2, 3. Received: 9"),
        ({"data": "nowhere"}, "data: expected digits, cifar10, fashion_mnist, or a folder"),
    ],
)
@pytest.mark.slow
def test_wrong_settings_fail_before_anything_runs(tmp_path, capfd, request_, words):
    assert (
        run_with_logging(RunRequest(**{"data": "digits", "root": tmp_path, **request_}))
        == USAGE_ERROR
    )
    out = capfd.readouterr().out
    assert f"Failed: {words}" in " ".join(out.split())
    assert not list(tmp_path.glob("artifacts/*/*"))
    (log,) = tmp_path.glob("logs/*.log")
    assert "Traceback" in log.read_text()


@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="mounting a small disk needs root"
)
def test_full_disk_is_told_before_anything_runs(tmp_path, capfd):
    mount = ["mount", "-t", "tmpfs", "-o", f"size={LEAST_FREE_BYTES // 2}", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this machine does not let us mount a tmpfs")
    try:
        assert run_with_logging(RunRequest(data="digits", root=tmp_path)) == FAILED
        assert "MiB free" in " ".join(capfd.readouterr().err.split())
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_config_error_shows_what_was_received():
    error = ConfigError("span", received=9, expected="one of 1, 2")
    assert root_cause(error) == "span: expected one of 1, 2. Received: 9."
