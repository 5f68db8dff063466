"""A plan travels through files, and a share means what it says."""

import json

import pytest

from tfx_feeder.components.common.errors import ConfigError
from tfx_feeder.pipeline.retrain.plan import (
    RetrainPlan,
    SpanShare,
    from_document,
    read_decision,
    to_document,
)

PLAN = RetrainPlan(("new span 3", "drift"), 3, (SpanShare(1, 0.25), SpanShare(2)), False)


def test_a_plan_comes_back_from_json():
    assert from_document(json.loads(json.dumps(to_document(PLAN)))) == PLAN
    assert PLAN.reason == "new span 3; drift"


def test_a_decision_is_read_by_other_commands(tmp_path):
    path = tmp_path / "decision.json"
    path.write_text(json.dumps({"retrain": True, "plan": to_document(PLAN)}))
    assert read_decision(path) == PLAN


@pytest.mark.parametrize("text", ['{"retrain": false, "plan": null}', "[]", "no", "{}"])
def test_a_decision_against_it_starts_nothing(tmp_path, text):
    path = tmp_path / "decision.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match="decision"):
        read_decision(path)


def test_no_span_is_read_twice():
    with pytest.raises(ConfigError, match="each once"):
        RetrainPlan(span=2, earlier=(SpanShare(2),))


@pytest.mark.parametrize("share", [0, -1, 1.5])
def test_a_share_is_a_part(share):
    with pytest.raises(ConfigError, match="share"):
        SpanShare(1, share)
