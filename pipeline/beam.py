"""Where Beam runs the components: what it is told for each place, and why."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tfx_feeder.common.errors import ConfigError

ARGUMENTS = {
    "runner": "Who runs the transforms; without it, the process of the component itself.",
    "job_endpoint": "`HOST:PORT` of a job server that runs already.",
    "flink_master": "`HOST:PORT` of Flink; Beam starts a job server for it, from Maven.",
    "spark_master_url": "`spark://HOST:PORT`; Beam starts a job server for it, from Maven.",
    "project": "Google Cloud project that pays.",
    "region": "Region of the workers; that of the bucket, or data travels.",
    "temp_location": "`gs://` folder for what is staged and for intermediate files.",
    "environment_type": "What a worker is. `DOCKER`: a container. `PROCESS`: a program on the "
    "cluster's machines. `EXTERNAL`: of a worker pool that runs already. `LOOPBACK`: the "
    "component's own process, for a try-out.",
    "environment_config": "`DOCKER`: the image; set from `sdk_container_image`, which Beam itself "
    'reads for Dataflow only. `PROCESS`: `{"command": "/opt/apache/beam/boot"}`. `EXTERNAL`: '
    "`HOST:PORT` of the pool.",
    "sdk_container_image": "Image with this package, TFX and Beam's boot program. `none`: workers "
    "have the package already, and TFX is not to pack itself up in every component.",
    "extra_package": "Wheel of this package; workers install it when they start.",
    "setup_file": "Its `setup.py` instead; every component makes a source distribution of it anew.",
    "pickle_library": "Pickles our functions; cheaper than `dill`, and newer Beam's default.",
    "allow_unsafe_triggers": "Keeps newer Beam on the runner in this process, where it would look "
    "for one to download.",
    "direct_running_mode": "`multi_processing` or `multi_threading` in place of `in_memory`; costs "
    "more than it gains on small data.",
    "direct_num_workers": "Number of those processes or threads; 0: one for each core.",
    "job_server_timeout": "Seconds to wait for the job server, 60 by default. Beam's own local "
    "server also ends the job then: name more than it takes.",
    "sdk_worker_parallelism": "Worker processes on each machine of the cluster; 1 by default.",
    "environment_cache_millis": "How long a worker outlives a stage; starting one imports "
    "TensorFlow.",
    "flink_job_server_jar": "The job server for `flink_master`, where Maven cannot be reached.",
    "spark_job_server_jar": "The job server for `spark_master_url`, where Maven cannot be reached.",
    "parallelism": "Number of parallel parts; Flink's own setting by default.",
    "flink_version": "Version of the Flink that `flink_master` names.",
    "num_workers": "Workers to start with.",
    "max_num_workers": "Workers at most.",
    "machine_type": "Kind of machine of the workers.",
    "disk_size_gb": "Disk of a worker.",
    "service_account_email": "Account of the workers; it must read and write the root.",
    "subnetwork": "`regions/REGION/subnetworks/NAME`, where workers may not use the default one.",
    "no_use_public_ips": "Workers get private addresses only; then nothing comes from PyPI.",
}
"""Each argument of Beam that a profile is about, and what it is for."""

_SHIPPED = ("sdk_container_image", "extra_package", "setup_file")
_WORKERS = {
    "DOCKER": (("sdk_container_image",),),
    "PROCESS": (("environment_config",),),
    "EXTERNAL": (("environment_config",),),
    "LOOPBACK": (),
}
"""What each kind of worker needs."""
_CLUSTER_KNOBS = (
    "environment_config",
    "job_server_timeout",
    "sdk_worker_parallelism",
    "environment_cache_millis",
)


@dataclass(frozen=True, slots=True)
class BeamProfile:
    """A place where Beam can run.

    Args:
        sets: Arguments that it gives; ``None`` for one without a value.
        needs: Arguments that the user gives: one of each group at least.
        knobs: Further ones that are worth knowing.
    """

    sets: Mapping[str, str | None]
    needs: tuple[tuple[str, ...], ...] = ()
    knobs: tuple[str, ...] = ()


_PICKLE = {"pickle_library": "cloudpickle"}


def _cluster(runner: str, address: tuple[str, ...], *knobs: str) -> BeamProfile:
    return BeamProfile(
        sets={"runner": runner, "environment_type": "DOCKER", **_PICKLE},
        needs=(address, _SHIPPED),
        knobs=(*_CLUSTER_KNOBS, *knobs),
    )


PROFILES = {
    "direct": BeamProfile(
        sets={"sdk_container_image": "none", "allow_unsafe_triggers": None, **_PICKLE},
        knobs=("direct_running_mode", "direct_num_workers"),
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
        sets={"runner": "DataflowRunner", **_PICKLE},
        needs=(("project",), ("region",), ("temp_location",), _SHIPPED),
        knobs=(
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
    """Returns what a pipeline tells Beam: its ``beam_pipeline_args``.

    Args:
        profile: A key of ``PROFILES``.
        arguments: Further ones, ``NAME=VALUE`` or ``NAME``; any that Beam knows. They take the
            place of what the profile sets.

    Raises:
        ConfigError: There is no such profile, or what it needs is not among the arguments.

    Example:
        >>> beam_args("direct", ["direct_num_workers=2"])[-1]
        '--direct_num_workers=2'
    """
    if profile not in PROFILES:
        raise ConfigError("beam", received=profile, expected=f"one of {', '.join(PROFILES)}")
    given = [_parse(argument) for argument in arguments]
    values = {**PROFILES[profile].sets, **dict(given)}
    needs = PROFILES[profile].needs
    worker = values.get("environment_type")
    if worker is not None:
        if worker not in _WORKERS:
            known = ", ".join(_WORKERS)
            raise ConfigError("beam environment_type", received=worker, expected=f"one of {known}")
        needs += _WORKERS[worker]
    for group in needs:
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
            "beam argument", received=argument, expected="NAME=VALUE, or NAME where it has no value"
        )
    return match[1], match[2]


BEAM_ARGS = beam_args()
"""What Beam is told where nobody says otherwise."""
