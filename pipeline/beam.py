"""Beam profiles: the pipeline options for each runner, with their reasons."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tfx_feeder.common.errors import ConfigError

ARGUMENTS = {
    "runner": "Runner; by default, the process of the component itself.",
    "job_endpoint": "`HOST:PORT` of a running job server.",
    "flink_master": "`HOST:PORT` of Flink; Beam downloads a job server from Maven and starts it.",
    "spark_master_url": "`spark://HOST:PORT`; Beam downloads a job server from Maven and starts "
    "it.",
    "project": "Google Cloud project that is billed.",
    "region": "Region of the workers; use the region of the bucket to avoid transfers.",
    "temp_location": "`gs://` folder for staged and intermediate files.",
    "environment_type": "Kind of worker. `DOCKER`: a container. `PROCESS`: a program on the "
    "machines of the cluster. `EXTERNAL`: a running worker pool. `LOOPBACK`: the process of the "
    "component, for local testing.",
    "environment_config": "`DOCKER`: the image; set from `sdk_container_image`, which Beam "
    'reads for Dataflow only. `PROCESS`: `{"command": "/opt/apache/beam/boot"}`. `EXTERNAL`: '
    "`HOST:PORT` of the pool.",
    "sdk_container_image": "Image with this package, TFX and Beam's boot program. `none`: the "
    "workers have the package, so TFX does not build one in every component.",
    "extra_package": "Wheel of this package, installed by the workers at startup.",
    "setup_file": "Alternative to the wheel: a `setup.py`, which every component packages again.",
    "pickle_library": "Pickler for functions; faster than `dill`, and the default of newer Beam.",
    "allow_unsafe_triggers": "Keeps newer Beam on the in-process runner; it would otherwise try to "
    "download another one.",
    "direct_running_mode": "`multi_processing` or `multi_threading` instead of `in_memory`; slower "
    "on small data.",
    "direct_num_workers": "Number of processes or threads; 0: one per core.",
    "job_server_timeout": "Seconds to wait for the job server, 60 by default. Beam's local "
    "server also ends the job after this time, so set more than the job takes.",
    "sdk_worker_parallelism": "Worker processes per machine of the cluster; 1 by default.",
    "environment_cache_millis": "Idle time after which a worker ends; starting a worker imports "
    "TensorFlow.",
    "flink_job_server_jar": "Job server for `flink_master`, for machines without access to Maven.",
    "spark_job_server_jar": "Job server for `spark_master_url`, for machines without access to "
    "Maven.",
    "parallelism": "Degree of parallelism; by default, the setting of Flink.",
    "flink_version": "Version of Flink at `flink_master`.",
    "num_workers": "Initial number of workers.",
    "max_num_workers": "Maximum number of workers.",
    "machine_type": "Machine type of the workers.",
    "disk_size_gb": "Disk size of a worker.",
    "service_account_email": "Service account of the workers; it needs read and write access to "
    "the root.",
    "subnetwork": "`regions/REGION/subnetworks/NAME`, if workers cannot use the default.",
    "no_use_public_ips": "Workers have private addresses only and cannot reach PyPI.",
}
"""Pipeline options of Beam that the profiles use, with descriptions."""

_SHIPPED = ("sdk_container_image", "extra_package", "setup_file")
_WORKERS = {
    "DOCKER": (("sdk_container_image",),),
    "PROCESS": (("environment_config",),),
    "EXTERNAL": (("environment_config",),),
    "LOOPBACK": (),
}
"""Required options of each kind of worker."""
_CLUSTER_OPTIONS = (
    "environment_config",
    "job_server_timeout",
    "sdk_worker_parallelism",
    "environment_cache_millis",
)


@dataclass(frozen=True, slots=True)
class BeamProfile:
    """Beam options for one runner.

    Args:
        defaults: Options that the profile sets; the value is ``None`` for flags.
        required: Options that the user must set: at least one of each group.
        optional: Other useful options.
    """

    defaults: Mapping[str, str | None]
    required: tuple[tuple[str, ...], ...] = ()
    optional: tuple[str, ...] = ()


_PICKLE = {"pickle_library": "cloudpickle"}


def _cluster(runner: str, address: tuple[str, ...], *optional: str) -> BeamProfile:
    return BeamProfile(
        defaults={"runner": runner, "environment_type": "DOCKER", **_PICKLE},
        required=(address, _SHIPPED),
        optional=(*_CLUSTER_OPTIONS, *optional),
    )


PROFILES = {
    "direct": BeamProfile(
        defaults={"sdk_container_image": "none", "allow_unsafe_triggers": None, **_PICKLE},
        optional=("direct_running_mode", "direct_num_workers"),
    ),
    "portable": _cluster("PortableRunner", ("job_endpoint",)),
    "flink": _cluster(
        "FlinkRunner",
        ("job_endpoint", "flink_master"),
        "flink_job_server_jar",
        "parallelism",
        "flink_version",
    ),
    "spark": _cluster("SparkRunner", ("job_endpoint", "spark_master_url"), "spark_job_server_jar"),
    "dataflow": BeamProfile(
        defaults={"runner": "DataflowRunner", **_PICKLE},
        required=(("project",), ("region",), ("temp_location",), _SHIPPED),
        optional=(
            "num_workers",
            "max_num_workers",
            "machine_type",
            "disk_size_gb",
            "service_account_email",
            "subnetwork",
            "no_use_public_ips",
        ),
    ),
}


def beam_args(profile: str = "direct", arguments: Sequence[str] = ()) -> tuple[str, ...]:
    """Returns the ``beam_pipeline_args`` of a profile.

    Args:
        profile: A key of ``PROFILES``.
        arguments: Further Beam options, as ``NAME=VALUE`` or ``NAME``. They override the
            profile.

    Raises:
        ConfigError: The profile is unknown, or a required option is missing.

    Example:
        >>> beam_args("direct", ["direct_num_workers=2"])[-1]
        '--direct_num_workers=2'
    """
    if profile not in PROFILES:
        raise ConfigError("beam", received=profile, expected=f"one of {', '.join(PROFILES)}")
    given = [_parse(argument) for argument in arguments]
    values = {**PROFILES[profile].defaults, **dict(given)}
    required = PROFILES[profile].required
    worker = values.get("environment_type")
    if worker is not None:
        if worker not in _WORKERS:
            known = ", ".join(_WORKERS)
            raise ConfigError("beam environment_type", received=worker, expected=f"one of {known}")
        required += _WORKERS[worker]
    for group in required:
        if not any(values.get(name) for name in group):
            raise ConfigError(
                f"beam {profile}",
                received=[name for name, _ in given],
                expected=f"the argument {' or '.join(group)} as well",
                fix=" ".join(f"{name}: {ARGUMENTS[name]}" for name in group),
            )
    if worker == "DOCKER":
        values.setdefault("environment_config", values["sdk_container_image"])
    names = [name for name, _ in given]
    own = [(name, value) for name, value in values.items() if name not in names]
    return tuple(
        f"--{name}" if value is None else f"--{name}={value}" for name, value in (*own, *given)
    )


def _parse(argument: str) -> tuple[str, str | None]:
    match = re.fullmatch(r"(?:--)?([a-z]\w*)(?:=(.+))?", argument)
    if match is None:
        raise ConfigError(
            "beam argument", received=argument, expected="NAME=VALUE, or NAME for a flag"
        )
    return match[1], match[2]


BEAM_ARGS = beam_args()
"""Default ``beam_pipeline_args``."""
