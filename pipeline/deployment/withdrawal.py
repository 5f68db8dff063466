"""Marks models in ML Metadata as withdrawn, with the reason."""

# The client declares no exports.
# pyright: reportPrivateImportUsage=false

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import ml_metadata as mlmd

from tfx_feeder.pipeline.deployment.rollback import Rollback
from tfx_feeder.schemas.properties import WITHDRAWN


@contextmanager
def mark_withdrawn(
    store: mlmd.MetadataStore, rollback: Rollback, is_served: Callable[[], bool]
) -> Iterator[None]:
    """Marks the superseded models of a rollback as withdrawn, and its target as not withdrawn.

    The marks are written before the body runs, so no other run can start from a model that is
    about to be withdrawn. If the body fails before the target is served, the previous marks are
    restored.

    Args:
        store: Store of the models, open for writing.
        rollback: Rollback that the body carries out.
        is_served: Function that returns True if the body has pushed the target.
    """
    model, superseded = rollback.model, rollback.superseded
    before = {m.model.id: m.withdrawn for m in (model, *superseded)}
    _mark(store, {**{m.model.id: rollback.mark for m in superseded}, model.model.id: ""})
    try:
        yield
    except BaseException:
        if not is_served():
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
