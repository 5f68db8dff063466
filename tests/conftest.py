"""What all tests share: an environment without the variables that change how TensorFlow acts."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # the banners of each test process
for name in ("TF_USE_LEGACY_KERAS", "KERAS_BACKEND", "TF_CONFIG"):
    os.environ.pop(name, None)
