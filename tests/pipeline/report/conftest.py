"""Fixtures of the report: the lineage of a store with runs of every kind, and their facts."""

import pytest

from tests.pipeline.report_runs import make_history
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.report.collect import collect
from tfx_feeder.schemas.training_history import History


@pytest.fixture(scope="session")
def history() -> History:
    return make_history()


@pytest.fixture(scope="session")
def lineage(report_store) -> Lineage:
    return Lineage.open(report_store.folder)


@pytest.fixture(scope="session")
def facts_of(lineage, report_store):
    """Returns a function that collects the facts for the report of a run."""

    def collected(run_id: str):
        run = lineage.run(run_id)
        assert run is not None
        return collect(lineage, run, str(report_store.folder))

    return collected
