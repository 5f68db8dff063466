"""A server of one model for all tests that only ask it."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.serving.server.saved_models import save
from tfx_feeder.serving.server.options import ModelOptions, ServerOptions
from tfx_feeder.serving.server.server import ModelServer

FREE_PORTS = ServerOptions(grpc_port=0, rest_port=0, poll_s=0.05, threads=2, max_request_mb=4)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with version 3 of a model."""
    folder = tmp_path_factory.mktemp("served") / "scaled"
    folder.mkdir()
    save(folder / "3")
    return folder


@pytest.fixture(scope="session")
def server(model_folder: Path) -> Iterator[ModelServer]:
    server = ModelServer([ModelOptions("scaled", model_folder, labels={"stable": 3})], FREE_PORTS)
    server.start()
    yield server
    server.stop(grace_s=1)


@pytest.fixture(scope="session")
def channel(server: ModelServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        yield channel
