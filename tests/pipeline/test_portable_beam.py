"""Components run through a job server of Beam, by workers that have the package from nowhere else.

Server and workers are processes in an environment with all that the package needs, but without the
package: functions travel pickled, and the package as a staged wheel.
"""

import os
import shutil
import subprocess
import sysconfig
import venv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfx_feeder.pipeline.beam import ARGUMENTS, beam_args

HERE = Path(__file__).parent
TIMEOUT_S = 600

pytestmark = pytest.mark.slow


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """The interpreter of an environment that sees the packages of this one, but not ours."""
    folder = tmp_path / "environment"
    venv.create(folder)
    [site] = folder.glob("lib/python*/site-packages")
    # What a .pth names is not searched for further .pth files, such as that of our package.
    (site / "others.pth").write_text(sysconfig.get_path("purelib"))
    return folder / "bin" / "python"


@pytest.fixture
def environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}


@pytest.fixture
def cluster(python: Path, environment: dict[str, str], tmp_path: Path) -> Iterator[list[str]]:
    """Addresses of a job server and of a pool of workers."""
    absent = [str(python), "-c", "import apache_beam, tfx_feeder"]
    imported = subprocess.run(absent, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert imported.stderr.endswith("No module named 'tfx_feeder'\n")
    boot = tmp_path / "boot"
    boot.write_text(f"#!{python}\n{(HERE / 'beam_boot.py').read_text()}")
    boot.chmod(0o755)
    server = shutil.copy(HERE / "beam_server.py", tmp_path)
    command = [str(python), server, str(boot)]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process.stdout.readline().split()
        finally:
            process.terminate()


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of 24 images in two classes, and one that is none."""
    folder = tmp_path / "images"
    values = np.random.default_rng(0).integers(0, 256, (24, 8, 8, 1), dtype=np.uint8)
    for number, pixels in enumerate(values):
        path = folder / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tf.io.encode_png(pixels).numpy())
    (folder / "a" / "torn.png").write_bytes(path.read_bytes()[:40])
    return folder


@pytest.fixture
def run(images: Path, tmp_path: Path) -> Callable[[str, Sequence[str]], dict[str, Any]]:
    """Runs two components and returns what they made, as plain values."""
    from ml_metadata import MetadataStore
    from tfx import v1 as tfx

    from tfx_feeder.components import ImageExampleGen

    def launch(name: str, args: Sequence[str]) -> dict[str, Any]:
        store = tfx.orchestration.metadata.sqlite_metadata_connection_config(
            str(tmp_path / f"{name}.db")
        )
        gen = ImageExampleGen(str(images), max_rejected_fraction=0.1)
        statistics = tfx.components.StatisticsGen(examples=gen.outputs["examples"])
        pipeline = tfx.dsl.Pipeline(
            pipeline_name=name,
            pipeline_root=str(tmp_path / name),
            components=[gen, statistics],
            metadata_connection_config=store,
            beam_pipeline_args=list(args),
        )
        tfx.orchestration.LocalDagRunner().run(pipeline)
        artifacts = MetadataStore(store).get_artifacts()
        return contents(*(artifact for artifact in artifacts if artifact.uri))

    return launch


def contents(examples: Any, statistics: Any) -> dict[str, Any]:
    from tensorflow_data_validation import load_stats_binary

    made: dict[str, Any] = {
        name: value.int_value
        for name, value in examples.custom_properties.items()
        if name.startswith(("num_", "rejected_"))
    }
    made["rejected"] = Path(examples.uri, "rejected.jsonl").read_text()
    for split in ("train", "eval"):
        files = tf.io.gfile.glob(f"{examples.uri}/Split-{split}/*")
        records = tf.data.TFRecordDataset(files, compression_type="GZIP")
        made[f"{split} examples"] = sorted(records.as_numpy_iterator())
        [data] = load_stats_binary(f"{statistics.uri}/Split-{split}/FeatureStats.pb").datasets
        made[f"{split} statistics"] = {feature.path.step[0]: feature for feature in data.features}
    return made


def test_workers_elsewhere_make_what_this_process_makes(
    cluster: list[str], run: Callable, distributions: Path
) -> None:
    server, pool = cluster
    [wheel] = distributions.glob("*.whl")
    args = beam_args(
        "portable",
        [
            f"job_endpoint={server}",
            f"job_server_timeout={TIMEOUT_S}",
            "environment_type=EXTERNAL",
            f"environment_config={pool}",
            f"extra_package={wheel}",
        ],
    )
    here, elsewhere = run("here", beam_args()), run("elsewhere", args)
    assert here["rejected_corrupt_image"] == 1
    assert here["num_examples_train"] + here["num_examples_eval"] == 24
    assert elsewhere == here


def test_beam_knows_every_argument(caplog: pytest.LogCaptureFixture) -> None:
    from apache_beam.options.pipeline_options import PipelineOptions

    def known(name: str) -> bool:
        caplog.clear()
        try:
            PipelineOptions([f"--{name}=1"]).get_all_options()
        except SystemExit:
            return True  # Only the value is wrong.
        return "Discarding" not in caplog.text

    assert not known("of_nobody")
    assert [name for name in ARGUMENTS if not known(name)] == []
