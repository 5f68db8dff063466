"""Models are resolved among the older ones."""

import pytest

pytestmark = pytest.mark.slow  # The module imports TFX.


def test_blessed_model_is_resolved_among_the_older_ones():
    from tfx.types import standard_artifacts

    from tfx_feeder.components.resolvers.strategies import LatestBlessedModelBefore

    def artifact(kind, id_, **properties):
        made = kind()
        made.id = id_
        for key, value in properties.items():
            made.set_int_custom_property(key, value)
        return made

    models = [artifact(standard_artifacts.Model, id_) for id_ in (1, 3, 5, 7)]
    blessings = [
        artifact(standard_artifacts.ModelBlessing, 10 + id_, current_model_id=id_, blessed=blessed)
        for id_, blessed in ((1, 1), (3, 1), (5, 0), (7, 1))
    ]

    def resolve(before):
        subject = artifact(standard_artifacts.Examples, before)
        inputs = {"before": [subject], "model": list(models), "blessing": list(blessings)}
        found = LatestBlessedModelBefore().resolve_artifacts(None, inputs)
        assert found["before"] == [subject]
        return [model.id for model in found["model"]]

    assert resolve(before=9) == [7]
    assert resolve(before=7) == [3]
    assert resolve(before=6) == [3]
    assert resolve(before=3) == [1]
    assert resolve(before=1) == []
