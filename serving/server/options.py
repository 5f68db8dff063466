"""Options of the model server."""

import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.common.validation import check_at_least

LATEST, ALL, SPECIFIC = "latest", "all", "specific"


@dataclass(frozen=True, slots=True)
class VersionPolicy:
    """Versions of a model that are served.

    Args:
        kind: ``latest``, ``all`` or ``specific``.
        number: Number of versions, for ``latest``.
        versions: Served versions, for ``specific``.

    Raises:
        ConfigError: A value is out of range.
    """

    kind: str = LATEST
    number: int = 1
    versions: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in (LATEST, ALL, SPECIFIC):
            raise ConfigError("kind", received=self.kind, expected="latest, all or specific")
        check_at_least("number", self.number, 1)
        if (self.kind == SPECIFIC) != bool(self.versions):
            raise ConfigError(
                "versions", received=self.versions, expected="versions exactly with specific"
            )

    def choose(self, versions: Iterable[int]) -> list[int]:
        """Returns the versions to serve of those that exist, in ascending order."""
        found = sorted(versions)
        if self.kind == LATEST:
            return found[-self.number :]
        return found if self.kind == ALL else [v for v in found if v in self.versions]


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """Model that is served.

    Args:
        name: Name in requests.
        base_path: Folder whose subfolders are the versions.
        policy: Versions that are served.
        labels: Version of each label, such as ``stable`` and ``canary``.

    Raises:
        ConfigError: The name is empty or has a slash.
    """

    name: str
    base_path: Path
    policy: VersionPolicy = VersionPolicy()
    labels: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.name or set(self.name) & set("/:"):
            raise ConfigError("name", received=self.name, expected="a name without / and :")


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Options of a server.

    Args:
        host: Address to listen on. The default is reached from this machine only.
        grpc_port: Port of gRPC; 0 for a free one.
        rest_port: Port of REST; 0 for a free one.
        threads: Requests that are computed at the same time.
        queue: Requests that wait; more are refused.
        timeout_s: Limit of a request that has no deadline of its own, in seconds. A request whose
            time has passed is not computed any more.
        max_request_mb: Largest request, in MiB.
        poll_s: Time between looks at the folders of the models, in seconds.
        certificate: File with the certificate of TLS, with ``private_key``.
        private_key: File with its key.
        token_file: File with the token that requests must carry as ``authorization: Bearer …``.

    Raises:
        ConfigError: A value is out of range.
    """

    host: str = "127.0.0.1"
    grpc_port: int = 8500
    rest_port: int = 8501
    threads: int = 4
    queue: int = 100
    timeout_s: float = 30.0
    max_request_mb: int = 64
    poll_s: float = 1.0
    certificate: Path | None = None
    private_key: Path | None = None
    token_file: Path | None = None

    def __post_init__(self) -> None:
        for name in ("threads", "max_request_mb"):
            check_at_least(name, getattr(self, name), 1)
        check_at_least("queue", self.queue, 0)
        for name in ("grpc_port", "rest_port"):
            port = getattr(self, name)
            if not 0 <= port <= 65_535:
                raise ConfigError(name, received=port, expected="0 to 65535")
        for name in ("timeout_s", "poll_s"):
            if not 0 < getattr(self, name) < 86_400:
                raise ConfigError(
                    name, received=getattr(self, name), expected="seconds above 0, up to a day"
                )
        if (self.certificate is None) != (self.private_key is None):
            raise ConfigError(
                "private_key", received=self.private_key, expected="a file with certificate"
            )
        if self.certificate is not None:
            _check_pair(self.certificate, self.private_key)

    @property
    def max_request_bytes(self) -> int:
        """Largest request, in bytes."""
        return self.max_request_mb * 2**20

    def token(self) -> str:
        """Returns the token of ``token_file``; empty without one.

        Raises:
            ConfigError: The file cannot be read or is empty.
        """
        if self.token_file is None:
            return ""
        try:
            token = self.token_file.read_text("ascii").strip()
        except (OSError, ValueError) as error:
            raise ConfigError(
                "token_file", received=str(self.token_file), expected=f"a readable file ({error})"
            ) from error
        if not token:
            raise ConfigError(
                "token_file", received=str(self.token_file), expected="a file with a token"
            )
        return token


def _check_pair(certificate: Path, private_key: Path | None) -> None:
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
            certificate, private_key
        )
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            "certificate",
            received=str(certificate),
            expected=f"a certificate and its private key ({error})",
        ) from error


def parse_model_config(text: str) -> list[ModelOptions]:
    """Reads a ``models.config`` of TensorFlow Serving.

    Args:
        text: ``ModelServerConfig`` in protobuf's text format.

    Raises:
        ConfigError: The text is malformed, lists no model, or one twice.
    """
    try:
        config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    except text_format.ParseError as error:
        raise ConfigError(
            "models.config", received=text[:100], expected=f"a ModelServerConfig ({error})"
        ) from error
    return model_options(config)


def model_options(config: model_server_config_pb2.ModelServerConfig) -> list[ModelOptions]:
    """Returns the models of a ``ModelServerConfig``.

    Raises:
        ConfigError: There is no model, or one twice.
    """
    models = [_model(each) for each in config.model_config_list.config]
    names = [model.name for model in models]
    if not names or len(set(names)) < len(names):
        raise ConfigError(
            "model_config_list", received=names, expected="at least one model, each once"
        )
    return models


def _model(config: model_server_config_pb2.ModelConfig) -> ModelOptions:
    if config.model_platform not in ("", "tensorflow"):
        raise ConfigError(
            "model_platform", received=config.model_platform, expected="tensorflow or none"
        )
    if not config.base_path:
        raise ConfigError("base_path", received="", expected="a folder")
    policy = config.model_version_policy
    chosen = policy.WhichOneof("policy_choice")
    if chosen == SPECIFIC:
        versions = VersionPolicy(SPECIFIC, versions=tuple(policy.specific.versions))
    elif chosen == LATEST:
        versions = VersionPolicy(LATEST, policy.latest.num_versions or 1)
    else:
        versions = VersionPolicy(chosen or LATEST)
    base_path = Path(config.base_path.removeprefix("file://"))
    return ModelOptions(config.name, base_path, versions, dict(config.version_labels))
