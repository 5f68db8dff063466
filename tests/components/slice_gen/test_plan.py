import numpy as np
import pytest

from tests.components.slice_gen.measured import measured
from tfx_feeder.components.slice_gen.options import LossOptions, SliceGenOptions
from tfx_feeder.components.slice_gen.plan import make_plan


@pytest.mark.parametrize(
    ("label", "columns", "searched"),
    [
        ("rare", None, {"payment"}),
        ("payment", None, {"rare"}),
        ("rare", ("rare",), {"rare"}),
    ],
)
def test_the_label_is_searched_only_if_it_is_named(label, columns, searched):
    rng = np.random.default_rng(0)
    table = {
        "payment": rng.choice(["cash", "card"], 1_000),
        "rare": rng.choice(["no", "yes"], 1_000, p=[0.9, 0.1]),
    }
    options = SliceGenOptions(("payment",), loss=LossOptions(label), columns=columns)
    plan = make_plan(measured(table), tuple(table), options, None)
    assert {column.name for column in plan.columns} == searched
