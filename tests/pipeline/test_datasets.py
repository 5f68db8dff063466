"""Data sets: what is made, found and refused."""

import os
from pathlib import Path

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits

from tfx_feeder.common.errors import ConfigError, DataError
from tfx_feeder.pipeline.datasets import BUILT_IN, open_data_set
from tfx_feeder.pipeline.span_folders import BUILT_IN_NAMES

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


def test_spans_may_be_files_of_keras(tmp_path):
    for span, digits in ((1, [0, 1]), (2, [1, 2])):
        folder = tmp_path / "pets" / f"span-{span}"
        folder.mkdir(parents=True)
        images = np.zeros((2, 4, 4), np.uint8)
        np.savez(
            folder / "a.npz", x_train=images, y_train=digits, x_test=images[:1], y_test=digits[:1]
        )
    data = open_data_set(str(tmp_path / "pets"), tmp_path / "downloads")
    assert (data.spans, data.classes) == ((1, 2), ("0", "1", "2"))


def test_empty_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="empty or does not exist"):
        open_data_set(str(tmp_path), tmp_path.parent)


def test_single_class_is_refused(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.png").write_bytes(PNG)
    with pytest.raises(DataError, match=r"two classes or more\. Found: cat"):
        open_data_set(str(tmp_path), tmp_path.parent / "runs")


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


def _pets(folder: Path, *names: str) -> Path:
    for name in names or ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        (folder / name / "1.png").write_bytes(PNG)
    return folder


def test_folders_of_the_same_name_are_different_pipelines(tmp_path):
    first, second = _pets(tmp_path / "a/images"), _pets(tmp_path / "b/images")
    root = tmp_path / "runs" / "data"
    names = [open_data_set(str(folder), root).name for folder in (first, second, first, second)]
    assert names[0] == names[2] == "images"
    assert names[1] == names[3] != "images"
    assert names[1].startswith("images-")
    assert open_data_set(str(second), tmp_path / "other").name == "images"


def test_names_of_other_scripts_are_told_apart(tmp_path):
    names = [open_data_set(str(_pets(tmp_path / name)), tmp_path / "runs").name for name in "猫犬"]
    assert names[0] == "data"
    assert names[1].startswith("data-")


def test_a_folder_that_was_moved_keeps_its_pipeline(tmp_path):
    root = tmp_path / "runs"
    assert open_data_set(str(_pets(tmp_path / "a/images")), root).name == "images"
    (tmp_path / "a").rename(tmp_path / "b")
    assert open_data_set(str(tmp_path / "b/images"), root).name == "images"


def test_a_folder_is_not_taken_for_a_built_in_data_set(tmp_path):
    assert set(BUILT_IN) == set(BUILT_IN_NAMES)
    assert open_data_set(str(_pets(tmp_path / "digits")), tmp_path / "runs").name != "digits"


def test_a_root_that_only_allows_reading_is_enough(tmp_path):
    (tmp_path / "runs").write_text("no folder can be made here")
    assert open_data_set(str(_pets(tmp_path / "pets")), tmp_path / "runs").name == "pets"


@pytest.mark.parametrize("names", [("span-01", "span-02"), ("span-001", "span-2", "span-10")])
def test_spans_may_have_leading_zeros(tmp_path, names):
    for name in names:
        _pets(tmp_path / "pets" / name)
    data = open_data_set(str(tmp_path / "pets"), tmp_path / "runs")
    assert data.spans == tuple(int(name[5:]) for name in names)
    assert data.classes == ("cat", "dog")


def test_the_same_span_twice_is_refused(tmp_path):
    for name in ("span-1", "span-01"):
        _pets(tmp_path / "pets" / name)
    with pytest.raises(DataError, match="span-01 and span-1 are the same span"):
        open_data_set(str(tmp_path / "pets"), tmp_path / "runs")


def test_outputs_of_the_pipeline_are_no_class(tmp_path):
    _pets(tmp_path)
    with pytest.raises(ConfigError, match=r"without the outputs of the pipeline.*--root"):
        open_data_set(str(tmp_path), tmp_path / "runs" / "data")


def test_brackets_and_stars_are_ordinary_characters(tmp_path):
    _pets(tmp_path / "star_OTHER_x", "emu", "yak")
    for name in ("my[photos]", "star*x"):
        data = open_data_set(str(_pets(tmp_path / name)), tmp_path / "runs")
        assert data.classes == ("cat", "dog")


def test_a_path_that_metadata_cannot_hold_is_refused(tmp_path):
    folder = os.fsdecode(os.path.join(os.fsencode(tmp_path), b"caf\xe9"))
    _pets(Path(folder))
    with pytest.raises(ConfigError, match=r"a path in UTF-8.*caf.udce9"):
        open_data_set(folder, tmp_path / "runs")


def test_the_format_is_named_with_what_is_passed_over(tmp_path):
    _pets(tmp_path / "pets")
    assert open_data_set(str(tmp_path / "pets"), tmp_path / "runs").source == "class_folders"
    np.savez(tmp_path / "pets/a.npz", images=np.zeros((2, 4, 4), np.uint8), labels=np.arange(2))
    data = open_data_set(str(tmp_path / "pets"), tmp_path / "runs")
    assert data.source == "arrays, passing over cat, dog"
