"""Marks on models in ML Metadata: which are withdrawn, and why."""

# The client declares no exports.
# pyright: reportPrivateImportUsage=false

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import ml_metadata as mlmd

from tfx_feeder.pipeline.deployment.rollback import Rollback
from tfx_feeder.schemas.properties import WITHDRAWN


@contextmanager
def mark_withdrawn(store: mlmd.MetadataStore, rollback: Rollback) -> Iterator[None]:
    """Marks the models that are left behind as withdrawn, and the one to go back to as not.

    The marks come before what is done inside, so that no run goes on from what is to be withdrawn;
    where that fails they are taken back.
    """
    model, left_behind = rollback.model, rollback.left_behind
    before = {m.model.id: m.withdrawn for m in (model, *left_behind)}
    _mark(store, {**{m.model.id: rollback.mark for m in left_behind}, model.model.id: ""})
    try:
        yield
    except BaseException:
        _mark(store, before)
        raise


def _mark(store: mlmd.MetadataStore, marks: Mapping[int, str]) -> None:
    models = store.get_artifacts_by_id(marks.keys())
    for model in models:
        if marks[model.id]:
            model.custom_properties[WITHDRAWN].string_value = marks[model.id]
        else:
            model.custom_properties.pop(WITHDRAWN, None)
    store.put_artifacts(models)
