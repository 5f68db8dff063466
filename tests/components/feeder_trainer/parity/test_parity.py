"""What ``fit()`` trains, the loop trains in every mode to the same result, or refuses."""

from pathlib import Path

import pytest

from tests.components.feeder_trainer.parity import clusters, harness
from tests.components.feeder_trainer.parity.cases import AVERAGED, CASES
from tfx_feeder.components.feeder_trainer.distribution.cluster import ProcessTopology
from tfx_feeder.components.feeder_trainer.distribution.launcher.supervisor import launch_processes

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    logs = tmp_path_factory.mktemp("logs")
    topology = ProcessTopology("subprocess")
    return launch_processes(harness.run, None, topology, log_dir=logs, restarts=0).result


@pytest.mark.parametrize("mode", harness.MODES)
@pytest.mark.parametrize("name", CASES)
def test_training_is_that_of_fit(table: dict[str, dict[str, str]], name: str, mode: str) -> None:
    outcome = table[name][mode]

    assert outcome.startswith(CASES[name].cells.get(mode, "equal")), outcome


@pytest.mark.multi_worker
@pytest.mark.parametrize(
    "mode",
    [
        pytest.param(mode, marks=() if mode == "multi_worker" else pytest.mark.long)
        for mode in clusters.CLUSTERS
    ],
)
def test_training_in_a_cluster_is_that_of_fit(mode: str, tmp_path: Path) -> None:
    by_nature = AVERAGED if mode == "peer_averaging" else "equal"
    for name, outcome in clusters.run(mode, str(tmp_path)).items():
        assert outcome.startswith(CASES[name].cells.get(mode, by_nature)), f"{name}: {outcome}"
