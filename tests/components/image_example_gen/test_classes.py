import pytest

from tfx_feeder.common.errors import DataError
from tfx_feeder.components.image_example_gen.classes import (
    ClassTable,
    add_labels,
    class_names_from_labels,
    merge_names,
)


def test_integers_stand_for_themselves() -> None:
    assert class_names_from_labels([0, 2]) == ("0", "1", "2")
    assert class_names_from_labels(["10", "9", "-1"]) == tuple(map(str, range(11)))


def test_text_is_sorted() -> None:
    assert class_names_from_labels(["dog", "7", "cat"]) == ("7", "cat", "dog")


def test_an_empty_text_is_no_class() -> None:
    assert class_names_from_labels(["dog", "", "cat"]) == ("cat", "dog")
    assert class_names_from_labels(["1", "", "0"]) == ("0", "1")


def test_a_label_is_found_by_name_or_number() -> None:
    table = ClassTable(("cat", "dog"))
    assert [table.index(label) for label in ("dog", 1, "1")] == [1, 1, 1]


def test_a_name_wins_over_a_number() -> None:
    assert ClassTable(("1", "0")).index("0") == 1


@pytest.mark.parametrize("label", ["bird", 2, -1, "-1", "", "²", "1" * 5_000])
def test_a_label_outside_the_set(label: int | str) -> None:
    with pytest.raises(KeyError):
        ClassTable(("cat", "dog")).index(label)


@pytest.mark.parametrize(
    ("parts", "merged"),
    [
        ([("b", "a"), ("b", "a")], ("b", "a")),
        ([("0", "1"), ("0", "1", "2")], ("0", "1", "2")),
        ([("1", "5"), ("1", "7")], ("1", "5", "7")),
        ([("cat", "dog"), ("0", "1")], ("0", "1", "cat", "dog")),
    ],
)
def test_splits_share_one_table(parts: list[tuple[str, ...]], merged: tuple[str, ...]) -> None:
    assert merge_names(parts) == merged


@pytest.mark.parametrize("names", [(), ("cat",)])
def test_one_class_is_no_classification(names: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match="two classes"):
        ClassTable(names)


def test_a_wild_integer_does_not_make_a_million_classes() -> None:
    with pytest.raises(DataError, match="4000000000"):
        class_names_from_labels([1, 4_000_000_000])


def test_a_number_of_thousands_of_digits_is_a_name() -> None:
    assert class_names_from_labels(["1" * 5_000, "2"]) == ("1" * 5_000, "2")


def test_more_labels_than_classes_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tfx_feeder.components.image_example_gen.classes._MOST_CLASSES", 3)
    with pytest.raises(DataError, match=r"list\.csv: more than 3 different labels"):
        add_labels({"a", "b"}, ["c", "d"], "list.csv")
