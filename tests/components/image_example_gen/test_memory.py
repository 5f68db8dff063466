"""Ten times the images must not need more memory."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc"),
]
FEW, MANY = 2_000, 20_000
SIZE = (32, 32, 3)
ALLOWED_MB = 20  # The pixels of the images that are more take 55 MB.

_RUN = """
import pathlib, re, sys
from tfx.types.standard_artifacts import Examples
from tfx_feeder.components import ImageExampleGen
from tfx_feeder.components.image_example_gen.executor import Executor
from tfx.proto import example_gen_pb2
from tfx.utils import proto_utils

folder, out = sys.argv[1:]
component = ImageExampleGen(folder)
examples = Examples()
examples.uri = out
properties = {
    key: proto_utils.proto_to_json(value) if hasattr(value, "DESCRIPTOR") else value
    for key, value in component.exec_properties.items()
}
args = ["--sdk_container_image=none", "--allow_unsafe_triggers", "--pickle_library=cloudpickle"]
Executor(Executor.Context(beam_pipeline_args=args)).Do({}, {"examples": [examples]}, properties)
print(examples.get_int_custom_property("num_examples_train"))
# Not ru_maxrss: that starts with what the parent process had.
status = pathlib.Path("/proc/self/status").read_text()
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1]) // 1024)
"""


def _images(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, *SIZE), dtype=np.uint8)


def _write(kind: str, folder: Path, count: int) -> None:
    folder.mkdir()
    labels = np.arange(count) % 10
    if kind == "npz":
        np.savez(folder / "a.npz", images=_images(count), labels=labels)
    else:
        for name in "0123456789":
            (folder / name).mkdir()
        for number, image in enumerate(_images(count)):
            data = tf.io.encode_png(image, compression=0).numpy()
            (folder / str(labels[number]) / f"{number}.png").write_bytes(data)


def _peak_mb(folder: Path, out: Path) -> int:
    command = [sys.executable, "-c", _RUN, str(folder), str(out)]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    trained, peak = map(int, result.stdout.split()[-2:])
    assert trained > 0
    return peak


@pytest.mark.parametrize("kind", ["npz", "class_folders"])
def test_peak_memory_does_not_grow(kind: str, tmp_path: Path) -> None:
    peaks = {}
    for count in (FEW, MANY):
        _write(kind, tmp_path / str(count), count)
        peaks[count] = _peak_mb(tmp_path / str(count), tmp_path / f"out-{count}")
    print(f"{kind}: peak RSS in MB by number of images: {peaks}")
    assert peaks[MANY] - peaks[FEW] < ALLOWED_MB
