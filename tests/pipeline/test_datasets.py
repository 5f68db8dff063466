"""Data sets: what is made, found and refused."""

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits

from tfx_feeder.common.errors import ConfigError, DataError
from tfx_feeder.pipeline.datasets import open_data_set

PNG = (  # 1 x 1 grey
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0:~\x9bU\0\0\0\nIDATx\x9cc`\0\0"
    b"\0\x02\0\x01H\xaf\xa4q\0\0\0\0IEND\xaeB`\x82"
)


def test_digits_spans_hold_every_digit_once_and_whole_sheets(tmp_path):
    data = open_data_set("digits", tmp_path)
    spans = [np.load(data.folder / f"span-{span}" / "digits.npz") for span in data.spans]
    images = np.concatenate([span["images"] for span in spans])
    labels = np.concatenate([span["labels"] for span in spans])
    forms = [set(span["form"].tolist()) for span in spans]
    bunch = load_digits()
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(np.round(images / 255 * 16), bunch.images)
    np.testing.assert_array_equal(labels, bunch.target)
    assert forms == [set(range(0, 5)), set(range(5, 10)), set(range(10, 14))]
    assert np.bincount(np.concatenate([span["form"] for span in spans]))[:3].tolist() == [
        130,
        126,
        130,
    ]


def test_existing_digits_are_left_alone_so_that_their_fingerprint_stays(tmp_path):
    data = open_data_set("digits", tmp_path)
    file = data.folder / "span-1" / "digits.npz"
    before = file.stat().st_mtime_ns
    open_data_set("digits", tmp_path)
    assert file.stat().st_mtime_ns == before


@pytest.mark.parametrize("size", [0, 4096])
def test_digits_that_a_power_failure_cut_are_made_again(tmp_path, size):
    data = open_data_set("digits", tmp_path)
    file = data.folder / "span-2" / "digits.npz"
    whole = np.load(file)["images"]
    file.write_bytes(file.read_bytes()[:size])
    open_data_set("digits", tmp_path)
    np.testing.assert_array_equal(np.load(file)["images"], whole)
    assert [path.name for path in file.parent.iterdir()] == ["digits.npz"]


def test_own_folder_tells_its_classes(tmp_path):
    folder = tmp_path / "My Pets!"
    for name in ("dog", "cat"):
        (folder / name).mkdir(parents=True)
        (folder / name / "1.png").write_bytes(PNG)
    data = open_data_set(str(folder), tmp_path)
    assert (data.name, data.classes, data.spans) == ("my-pets", ("cat", "dog"), ())


def test_own_folder_may_have_spans(tmp_path):
    for span, name in ((1, "cat"), (1, "dog"), (10, "cat"), (2, "emu")):
        folder = tmp_path / "pets" / f"span-{span}" / name
        folder.mkdir(parents=True)
        (folder / "1.png").write_bytes(PNG)
    data = open_data_set(str(tmp_path / "pets"), tmp_path)
    assert data.spans == (1, 2, 10)
    assert data.classes == ("cat", "dog", "emu")


def test_empty_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="empty or does not exist"):
        open_data_set(str(tmp_path), tmp_path)


def test_single_class_is_refused(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.png").write_bytes(PNG)
    with pytest.raises(DataError, match=r"two classes or more\. Found: cat"):
        open_data_set(str(tmp_path), tmp_path)


def test_unknown_name_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="digits, cifar10, fashion_mnist, or a folder"):
        open_data_set("imagenet", tmp_path)


def test_without_a_network_the_error_says_what_works_instead(tmp_path, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise OSError("Name or service not known")

    monkeypatch.setattr("keras.src.datasets.cifar10.get_file", refuse)
    with pytest.raises(DataError, match="--data FOLDER"):
        open_data_set("cifar10", tmp_path)


def test_downloaded_sets_keep_their_splits(tmp_path, monkeypatch):
    images = np.zeros((4, 32, 32, 3), np.uint8)
    parts = ((images, np.array([[0], [1], [2], [9]])), (images[:2], np.array([[3], [4]])))
    monkeypatch.setattr(keras.datasets.cifar10, "load_data", lambda: parts)
    data = open_data_set("cifar10", tmp_path)
    assert data.patterns == {"train": "train.npz", "eval": "eval.npz"}
    assert np.load(data.folder / "train.npz")["labels"].tolist() == [0, 1, 2, 9]
