"""The lazy public API of the package."""

import subprocess
import sys

from tfx_feeder.components import feeder_trainer

PROGRAM = """
import sys
from tfx_feeder.components import feeder_trainer
assert not {"tfx", "tensorflow"} & sys.modules.keys()
for name in feeder_trainer.__all__:
    if name != "FeederTrainer":
        getattr(feeder_trainer, name)
assert not {"tfx", "tensorflow"} & sys.modules.keys()
"""


def test_options_are_imported_without_tensorflow_and_tfx() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)


def test_every_public_name_is_importable() -> None:
    for name in feeder_trainer.__all__:
        assert getattr(feeder_trainer, name).__name__ == name
