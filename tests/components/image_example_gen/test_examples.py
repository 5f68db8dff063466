from typing import Any

import numpy as np
import pytest

from tfx_feeder.components.image_example_gen.examples import to_example, to_feature


@pytest.mark.parametrize(
    ("value", "kind", "stored"),
    [
        (3, "int64_list", [3]),
        (np.uint8(3), "int64_list", [3]),
        (np.bool_(True), "int64_list", [1]),
        (0.5, "float_list", [0.5]),
        (np.float16(0.5), "float_list", [0.5]),
        ("ü", "bytes_list", ["ü".encode()]),
        (np.str_("ü"), "bytes_list", ["ü".encode()]),
        (np.bytes_(b"a"), "bytes_list", [b"a"]),
        (np.array([[1, 2], [3, 4]]), "int64_list", [1, 2, 3, 4]),
    ],
)
def test_a_value_keeps_its_type(value: Any, kind: str, stored: list[Any]) -> None:
    feature = to_feature(value)
    assert feature.WhichOneof("kind") == kind
    assert list(getattr(feature, kind).value) == stored


def test_an_example_holds_the_image_as_it_is() -> None:
    columns = to_example(b"png", 4, (6, 5), {"form": 2}).features.feature
    assert columns["image"].bytes_list.value[0] == b"png"
    numbers = {name: columns[name].int64_list.value[0] for name in columns if name != "image"}
    assert numbers == {"label": 4, "height": 6, "width": 5, "form": 2}
