"""Packaging of tfx-feeder.

The packages common/, components/, pipeline/, schemas/ and serving/ stand at the top level of the
repository; tfx_feeder/ holds a link to each, so that one import name covers them all.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "tfx_feeder/__init__.py").read_text()).group(1)

setup(
    name="tfx-feeder",
    version=VERSION,
    description="TFX components for training and deploying models",
    long_description=(ROOT / "README.md").read_text() if (ROOT / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Developers",
        "Operating System :: MacOS",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3 :: Only",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
    packages=find_packages(include=["tfx_feeder", "tfx_feeder.*"]),
    package_data={
        "tfx_feeder": [
            "schemas/**/*.pbtxt",
            "pipeline/report/static/*",
            "pipeline/report/templates/*",
        ]
    },
    python_requires=">=3.10,<3.14",
    # What TFX itself needs held differs between its lines; requirements/*.txt say it exactly.
    install_requires=[
        "tfx>=1.16,<1.22",
        "tensorboard",
        "click>=8.1",
        "croniter",
        "filelock>=3.13",
        "grpcio-health-checking",
        "grpcio-reflection",
        "httptools",
        "jinja2>=3",
        "orjson>=3.6",
        "prometheus-client",
        "python-json-logger>=3",
        "pyyaml",
        "rich>=13",
        "scikit-learn",
        "scipy",
        "starlette",
        "tenacity>=8",
        "uvicorn>=0.20",
        "vl-convert-python>=1.7",
    ],
    extras_require={
        "dev": [
            "axe-playwright-python",
            "build",
            "hypothesis",
            "playwright",
            "pre-commit",
            "pyright[nodejs]",
            "pytest",
            "pytest-timeout",
            "ruff",
            "uv",
        ],
    },
    entry_points={"console_scripts": ["tfx-feeder = tfx_feeder.pipeline.cli.main:main"]},
)
