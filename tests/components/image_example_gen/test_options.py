import json
import math

import pytest

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.image_example_gen.options import IngestOptions


def test_options_survive_json() -> None:
    options = IngestOptions("idx", ("a", "b"), 0.25, max_pixels=100, allow_outside=True)
    assert IngestOptions.from_dict(json.loads(json.dumps(options.as_dict()))) == options


def test_options_of_an_earlier_release_are_read() -> None:
    stored = {"source": "auto", "classes": None, "max_rejected_fraction": 0.5}
    assert IngestOptions.from_dict(stored) == IngestOptions(max_rejected_fraction=0.5)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("source", "folder"),
        ("classes", ("cat",)),
        ("classes", ("cat", "cat")),
        ("classes", ("cat", "")),
        ("classes", ("cat", 1)),
        ("max_rejected_fraction", 1.5),
        ("max_rejected_fraction", -0.1),
        ("max_rejected_fraction", math.nan),
        ("max_pixels", 0),
    ],
)
def test_a_bad_value_is_named(argument: str, value: object) -> None:
    with pytest.raises(ConfigError, match=argument) as caught:
        IngestOptions(**{argument: value})  # type: ignore[arg-type]
    assert repr(value) in str(caught.value)
