"""What the documents have in common is tested by their own formats; here is what is not."""

import math

from tfx_feeder.schemas.document import storable


def test_only_what_json_lacks_becomes_text() -> None:
    assert [storable(value) for value in (0.5, math.inf, -math.inf)] == [0.5, "inf", "-inf"]
    assert math.isnan(float(storable(math.nan)))
