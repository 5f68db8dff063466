"""Versions come, go and fail without a request that is lost."""

import shutil
import threading
import time

import numpy as np
import pytest

from tests.serving.server.conftest import FREE_PORTS
from tests.serving.server.saved_models import add_warm_up, save
from tfx_feeder.serving.server.errors import Code, ServingError
from tfx_feeder.serving.server.options import ModelOptions, VersionPolicy
from tfx_feeder.serving.server.saved_model import SavedModel
from tfx_feeder.serving.server.server import ModelServer
from tfx_feeder.serving.server.versions import AVAILABLE, END, UNLOADING, ModelVersions


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "scaled"
    folder.mkdir()
    save(folder / "1", factor=1.0)
    return folder


def versions_of(folder, policy=None, labels=None, clock=time.monotonic):
    options = ModelOptions("scaled", folder, policy or VersionPolicy(), labels or {})
    return ModelVersions(options, SavedModel, clock)


def served(versions, **wanted):
    with versions.acquire(**wanted) as (number, _):
        return number


def states(versions):
    return {version.number: version.state for version in versions.statuses()}


def test_a_new_version_takes_over_and_the_old_one_is_unloaded(folder):
    versions = versions_of(folder)
    versions.poll()
    assert served(versions) == 1
    save(folder / "2")
    versions.poll()
    assert served(versions) == 2
    assert states(versions) == {2: AVAILABLE, 1: END}


def test_a_version_is_unloaded_only_when_its_last_request_has_ended(folder):
    versions = versions_of(folder)
    versions.poll()
    with versions.acquire() as (_, model):
        save(folder / "2")
        versions.poll()
        assert states(versions)[1] == UNLOADING
        output = model.run(model.signature(""), {"x": np.float32([[1, 2]])})
        assert output["scaled"].tolist() == [[1, 2]]
    assert states(versions)[1] == END


def test_a_version_that_cannot_be_loaded_leaves_the_old_one_serving(folder):
    versions = versions_of(folder)
    versions.poll()
    (folder / "2").mkdir()
    (folder / "2" / "saved_model.pb").write_bytes(b"no model")
    versions.poll()
    assert served(versions) == 1
    (failed,) = versions.statuses(2)
    assert failed.state == END
    assert failed.error.code == Code.INTERNAL
    with pytest.raises(ServingError, match="version 2"):
        served(versions, version=2)
    # Once it is mended, the next look loads it.
    shutil.rmtree(folder / "2")
    save(folder / "2")
    versions.poll()
    assert served(versions) == 2


def test_a_damaged_version_is_tried_again_after_a_minute_and_then_no_more(folder):
    now = [0.0]
    versions = versions_of(folder, clock=lambda: now[0])
    versions.poll()
    (folder / "2").mkdir()
    (folder / "2" / "saved_model.pb").write_bytes(b"no model")
    for _ in range(10):
        versions.poll()
    assert versions.statuses(2)[0].tries == 1
    for _ in range(20):
        now[0] += 61
        versions.poll()
    assert versions.statuses(2)[0].tries == 6


def test_a_folder_that_vanishes_leaves_the_versions_serving(folder):
    versions = versions_of(folder)
    versions.poll()
    shutil.rmtree(folder)
    versions.poll()
    assert served(versions) == 1
    folder.mkdir()
    save(folder / "2")
    versions.poll()
    assert served(versions) == 2


def test_policies(folder):
    for number in (2, 3, 10):
        save(folder / str(number))
    (folder / "4").mkdir()  # Not written completely.
    (folder / "latest").mkdir()
    for policy, expected in (
        (VersionPolicy(), {10}),
        (VersionPolicy("latest", 2), {3, 10}),
        (VersionPolicy("all"), {1, 2, 3, 10}),
        (VersionPolicy("specific", versions=(2, 7)), {2}),
    ):
        versions = versions_of(folder, policy)
        versions.poll()
        assert set(states(versions)) == expected
        versions.close()


def test_labels_follow_the_options_and_hold_their_versions(folder):
    save(folder / "2")
    versions = versions_of(folder, VersionPolicy("all"), {"stable": 1})
    versions.poll()
    assert served(versions, label="stable") == 1
    options = ModelOptions("scaled", folder, VersionPolicy("all"), {"stable": 2, "canary": 1})
    versions.update(options)
    assert (served(versions, label="stable"), served(versions, label="canary")) == (2, 1)
    with pytest.raises(ServingError, match="version 9 is not available"):
        versions.update(ModelOptions("scaled", folder, labels={"stable": 9}))
    assert served(versions, label="stable") == 2


def test_the_warm_up_is_answered_before_a_version_serves(folder):
    add_warm_up(folder / "1", [1.0, 2.0], [3.0, 4.0])
    save(folder / "2")
    add_warm_up(folder / "2", [1.0, 2.0, 3.0])  # Of another shape.
    server = ModelServer([ModelOptions("scaled", folder, VersionPolicy("all"))], FREE_PORTS)
    server.models.poll()
    versions = server.models.get("scaled")
    assert served(versions) == 1
    assert "expected the shape" in versions.statuses(2)[0].error.message
    server.stop()


def test_no_request_is_lost_while_versions_change(folder):
    server = ModelServer([ModelOptions("scaled", folder)], FREE_PORTS)
    server.start()
    versions = server.models.get("scaled")
    seen, failures, stop = set(), [], threading.Event()

    def client():
        while not stop.is_set():
            try:
                with versions.acquire() as (number, model):
                    output = model.run(model.signature(""), {"x": np.float32([[1, 2]])})
                    assert output["scaled"].tolist() == [[number, 2 * number]]
                seen.add(number)
            except Exception as error:
                failures.append(error)

    threads = [threading.Thread(target=client) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in (2, 3, 4):
        save(folder / str(number), factor=float(number))
        deadline = time.monotonic() + 30
        while number not in seen and time.monotonic() < deadline:
            time.sleep(0.05)
    stop.set()
    for thread in threads:
        thread.join()
    server.stop()
    assert not failures
    assert seen == {1, 2, 3, 4}
