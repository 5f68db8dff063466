import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfx_feeder.components.image_example_gen.files import locate
from tfx_feeder.components.image_example_gen.rejections import Rejection
from tfx_feeder.components.image_example_gen.sources.base import ImageBatch, Item
from tfx_feeder.components.image_example_gen.sources.cifar10 import Cifar10

PLANES = np.random.default_rng(4).integers(0, 256, (300, 3, 32, 32), dtype=np.uint8)
LABELS = np.arange(300) % 10


def _read(folder: Path, pattern: str = "*") -> list[Item]:
    source = Cifar10.open(locate(str(folder), pattern))
    return [item for chunk in source.chunks() for item in source.read(chunk)]


def _check(items: list[Item], count: int = 300) -> None:
    batches = [item for item in items if isinstance(item, ImageBatch)]
    pixels = np.concatenate([batch.pixels for batch in batches])
    np.testing.assert_array_equal(pixels, PLANES[:count].transpose(0, 2, 3, 1))
    assert [x for batch in batches for x in batch.labels.tolist()] == LABELS[:count].tolist()


def _binary() -> bytes:
    rows = np.concatenate([LABELS[:, np.newaxis].astype(np.uint8), PLANES.reshape(300, -1)], axis=1)
    return rows.tobytes()


def test_binary_batches(tmp_path: Path) -> None:
    (tmp_path / "data_batch_1.bin").write_bytes(_binary())
    (tmp_path / "batches.meta.txt").write_text("airplane\n")
    _check(_read(tmp_path))


def test_a_binary_batch_cut_short(tmp_path: Path) -> None:
    (tmp_path / "data_batch_1.bin").write_bytes(_binary()[: 270 * 3073 + 100])
    items = _read(tmp_path)
    _check(items, 270)
    end = items[-1]
    assert isinstance(end, Rejection)
    assert (end.reason, end.index, end.records) == ("truncated_archive", 270, 1)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_python_batches(tmp_path: Path, protocol: int) -> None:
    batch = {"data": PLANES.reshape(300, -1), "labels": LABELS.tolist()}
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps(batch, protocol))
    (tmp_path / "test_batch").write_bytes(pickle.dumps(batch, protocol))
    _check(_read(tmp_path, "data_batch_*"))


class _Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("kind", ["trap", "short", "other"])
def test_a_pickle_is_not_trusted(tmp_path: Path, kind: str) -> None:
    good = pickle.dumps({"data": PLANES.reshape(300, -1), "labels": LABELS.tolist()})
    content = {
        "trap": pickle.dumps({"data": _Trap(tmp_path / "ran"), "labels": []}),
        "short": good[:-1000],
        "other": pickle.dumps([1, 2]),
    }
    (tmp_path / "data_batch_1").write_bytes(content[kind])
    (end,) = _read(tmp_path)
    assert isinstance(end, Rejection)
    assert (end.reason, end.records) == ("truncated_archive", 10_000)
    assert not (tmp_path / "ran").exists()
