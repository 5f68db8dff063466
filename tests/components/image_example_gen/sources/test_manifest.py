from pathlib import Path

import pytest

from tfx_feeder.common.errors import DataError
from tfx_feeder.components.image_example_gen.files import locate
from tfx_feeder.components.image_example_gen.rejections import Rejection
from tfx_feeder.components.image_example_gen.sources import manifest
from tfx_feeder.components.image_example_gen.sources.base import ImageFile, Item
from tfx_feeder.components.image_example_gen.sources.manifest import Manifest


def _open(
    folder: Path, text: str, encoding: str = "utf-8", *, allow_outside: bool = False
) -> Manifest:
    folder.mkdir(exist_ok=True)
    (folder / "list.csv").write_text(text, encoding=encoding)
    return Manifest.open(locate(str(folder), "*", allow_outside=allow_outside))


def _read(source: Manifest) -> list[Item]:
    return [item for chunk in source.chunks() for item in source.read(chunk)]


def test_columns_get_the_narrowest_type_that_fits_all(tmp_path: Path) -> None:
    source = _open(
        tmp_path,
        "path,label,age,weight,note\na.png,cat,3,1,x\nsub/b.png,dog,,2.5,\n/abs/c.png,cat,4,3,7\n",
        allow_outside=True,
    )
    assert source.class_names() == ("cat", "dog")
    assert _read(source) == [
        ImageFile(str(tmp_path / "a.png"), "cat", {"age": 3, "weight": 1.0, "note": "x"}),
        ImageFile(str(tmp_path / "sub/b.png"), "dog", {"weight": 2.5}),
        ImageFile("/abs/c.png", "cat", {"age": 4, "weight": 3.0, "note": "7"}),
    ]


def test_an_integer_beyond_64_bits_is_no_integer(tmp_path: Path) -> None:
    source = _open(tmp_path, f"path,label,n\na,0,{2**63}\nb,1,1\n")
    assert [item.features["n"] for item in _read(source) if isinstance(item, ImageFile)] == [
        float(2**63),
        1.0,
    ]


def test_an_identifier_with_underscores_is_no_number(tmp_path: Path) -> None:
    source = _open(tmp_path, "path,label,patient\na,0,1_02\nb,1,10_2\n")
    assert [item.features["patient"] for item in _read(source) if isinstance(item, ImageFile)] == [
        "1_02",
        "10_2",
    ]


def test_bad_rows_are_rejected_one_by_one(tmp_path: Path) -> None:
    source = _open(tmp_path, 'path,label\na.png,cat\nb.png\n,dog\nc.png,\n\n"d,d.png",dog\n')
    items = _read(source)
    assert [item.index for item in items if isinstance(item, Rejection)] == [1, 2, 3]
    assert [item.label for item in items if isinstance(item, ImageFile)] == ["cat", "dog"]
    assert source.class_names() == ("cat", "dog")


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    assert _open(tmp_path, "path,label\na,x\nb,y\n", "utf-8-sig").class_names() == ("x", "y")


def test_the_images_count_as_files(tmp_path: Path) -> None:
    source = _open(tmp_path, "path,label\na.png,x\nb.png,y\n")
    names = [Path(path).name for path in source.files()]
    assert names == ["list.csv", "a.png", "b.png"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\na,b\n", "no column 'path'. Found: file, label"),
        ("", "no column"),
        ("path,label,image\na,b,c\n", "'image' needs another name"),
        ("path,label,n,n\na,b,1,2\n", "'n' occurs more than once"),
        (f"path,label\n{'x' * 2**20},b\n", "a line has"),
        ("path,label," + ",".join(map(str, range(10_000))) + "\n", "columns; at most"),
    ],
)
def test_a_table_that_cannot_work(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        _open(tmp_path, text)


def test_a_table_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes(b"path,label\n\xff\xfe,x\n")
    with pytest.raises(DataError, match="UTF-8"):
        Manifest.open(locate(str(tmp_path), "*"))


def test_a_folder_that_looks_like_a_scheme_is_no_way_out(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"secret")
    (tmp_path / "data/x:").mkdir(parents=True)
    (tmp_path / "data/x:/up").symlink_to(tmp_path)
    source = _open(tmp_path / "data", "path,label\nx://../../secret.png,a\nx://up/secret.png,b\n")
    assert [item.reason for item in _read(source) if isinstance(item, Rejection)] == [
        "outside_folder",
        "outside_folder",
    ]


def test_a_manifest_lists_no_image_outside_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/link").symlink_to(tmp_path)
    (tmp_path / "data/mine.png").symlink_to(tmp_path / "secret.png")
    rows = f"../secret.png,a\n{tmp_path}/secret.png,b\nlink/secret.png,a\nmine.png,b\nok.png,b\n"
    source = _open(tmp_path / "data", "path,label\n" + rows)
    outside, allowed = _read(source)[:4], _read(source)[4:]
    assert {item.reason for item in outside if isinstance(item, Rejection)} == {"outside_folder"}
    assert allowed == [ImageFile(str(tmp_path / "data/ok.png"), "b")]
    source = _open(tmp_path / "data", "path,label\n" + rows, allow_outside=True)
    assert len([item for item in _read(source) if isinstance(item, ImageFile)]) == 5


def test_splits_agree_on_types(tmp_path: Path) -> None:
    splits = {
        "train": _open(tmp_path / "train", "path,label,n\na,x,1\n"),
        "eval": _open(tmp_path / "eval", "path,label,n\nb,y,0.5\n"),
    }
    values = [
        item.features["n"]
        for source in manifest.align(splits).values()
        for item in _read(source)
        if isinstance(item, ImageFile)
    ]
    assert values == [1.0, 0.5]
    assert all(isinstance(value, float) for value in values)
