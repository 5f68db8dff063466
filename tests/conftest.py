"""What all tests share: TensorFlow as it is by default, and property tests without a clock."""

import os
import signal

from hypothesis import settings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # the banners of each test process
for name in ("TF_USE_LEGACY_KERAS", "KERAS_BACKEND", "TF_CONFIG"):
    os.environ.pop(name, None)

# A shell may start tests in the background, which then ignore Ctrl-C, and so does what they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadline: a busy machine is not a fault. CI repeats the same examples, so that it fails for a
# change and not by chance; every other run looks for new ones.
settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")
