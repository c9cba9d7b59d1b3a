"""Deployments of a release behind TF Serving: the files of Docker Compose and of Kubernetes.

The texts are templates of `templates/`. A deployment is written whole or not at all; its `deployment.json`
holds the checksum of each file, so that writing it again loses nothing that a person put there.
"""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from tfrecall.core.manifests import file_sha256
from tfrecall.core.storage import staged_directory
from tfrecall.errors import ConfigError, ExportError
from tfrecall.release.base import Release
from tfrecall.release.manifest import versions

# Parts of a release that TF Serving can serve, the one that answers people first.
SAVED_MODELS = ("pipeline", "retrieval", "ranker", "query", "candidate")
IMAGE = "tensorflow/serving:2.21.0"
PROMETHEUS_IMAGE = "prom/prometheus:v3.5.0"
# The server's own defaults; the service is beside it, whose default is the server's gRPC port.
PORTS = {"grpc": 8500, "rest": 8501, "service": 8080}
METRICS_PATH = "/monitoring/prometheus/metrics"
COMMAND = "/usr/bin/tensorflow_model_server"
# Batches of other sizes are filled up to the next; at most half of one is filling.
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)
RECORD = "deployment.json"
# An allowance for TensorFlow and the server. What models take is measured: docs/guides/tf-serving.md.
BASE_MIB = 512
# A graph and its session, however small the model: 14 to 24 MiB measured.
MODEL_MIB = 32
# Vectors, ids and tables of ids in memory, to their size on disk: 7 measured for 100,000 items.
TIMES_ON_DISK = 8
# Rows of a batch, for which a float32 score of each item and a copy of it are there.
_ROWS, _BYTES_A_SCORE = 64, 8
_CONFIG = ("models.config", "batching.config", "monitoring.config")
_KUBERNETES = ("configmap.yaml", "deployment.yaml", "service.yaml")


@dataclass(frozen=True)
class Settings:
    """Settings of a deployment.

    Attributes:
        image: of TF Serving, with a tag.
        cores: of one server.
        replicas: number of servers, on Kubernetes.
        claim: name of the persistent volume claim that holds the release, on Kubernetes.
        is_batching: whether the server joins requests, which only signatures without scalars allow.
        has_service: whether `tfrecall serve` stands beside it.
        keeps_previous: whether the version before is served, too, with the label `previous`.
    """

    image: str = IMAGE
    cores: int = 2
    replicas: int = 2
    claim: str = "tfrecall-release"
    is_batching: bool = False
    has_service: bool = False
    keeps_previous: bool = False

    def __post_init__(self) -> None:
        for name in ("cores", "replicas"):
            if getattr(self, name) < 1:
                raise ConfigError(
                    f"A deployment has 1 or more {name}. Received: {getattr(self, name)}."
                )
        tag = self.image.rpartition("/")[2].partition(":")[2]
        if "@" not in self.image and tag in ("", "latest"):
            raise ConfigError(
                "The image is pinned by a tag, so that each start is the same server. Received: "
                f"{self.image!r}. Give one such as {IMAGE}."
            )


def deploy(
    release: Release, out: str | Path, settings: Settings | None = None, *, replace: bool = False
) -> dict[str, Any]:
    """Write the files that serve the SavedModels of a release.

    The deployment reads the release where it lies, and serves the version that is loaded.

    Args:
        release: an opened release of any kind but a baseline, which has no SavedModel.
        out: the directory to write: new, empty, or an earlier deployment.
        settings: None for the defaults.
        replace: whether files of an earlier deployment may be lost that were changed or added by hand.

    Returns:
        What was written: `models`, `versions`, `labels`, `memory_mib`, and `files` by name.

    Raises:
        ConfigError: if the release has no SavedModel.
        ExportError: if the directory is foreign, was changed by hand, or cannot be written.

    Example:

    >>> import tfrecall as tr
    >>> release = tr.load("saved_models/demo")  # doctest: +SKIP
    >>> deploy(release, "deploy")["models"]  # doctest: +SKIP
    ['retrieval', 'query', 'candidate']
    """
    out = Path(out)
    facts = _facts(release, settings or Settings(), out)
    texts = _texts(facts)
    if not replace:
        _check_ours(out)
    record = {
        "format": 1,
        "release": facts["release"],
        "version": facts["version"],
        "models": [model["name"] for model in facts["models"]],
        "versions": facts["versions"],
        "labels": facts["labels"],
        "memory_mib": facts["memory_mib"],
        "files": {name: sha256(text.encode()).hexdigest() for name, text in sorted(texts.items())},
    }
    texts[RECORD] = json.dumps(record, indent=2) + "\n"
    try:
        with staged_directory(out, replace=True) as staged:
            for name, text in texts.items():
                file = staged / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, "utf-8")
    except OSError as error:
        raise ExportError(
            f"The deployment {out} cannot be written: {error}. Choose another directory with `--out`."
        ) from error
    return record


def _facts(release: Release, settings: Settings, out: Path) -> dict[str, Any]:
    """Everything that the templates say."""
    root = release.root.resolve()
    parts = [part for part in SAVED_MODELS if (release.root / part / str(release.version)).is_dir()]
    if not parts:
        raise ConfigError(
            f"{release.root} is the release of {release.manifest['model']['type']}, which has no SavedModel "
            "for TF Serving. Serve it with `tfrecall serve`."
        )
    labels = {"stable": release.version}
    before = [one for one in versions(release.root) if one < release.version]
    if settings.keeps_previous and before:
        labels["previous"] = before[-1]
    size = sum(_size(root / part / str(one)) for part in parts for one in labels.values())
    model_mib = -(-size // 2**20)
    search_mib = -(-settings.cores * _ROWS * len(release.item_ids) * _BYTES_A_SCORE // 2**20)
    probe_path = f"/v1/models/{parts[0]}"
    # 64 MiB steps: limits that change with every training help nobody.
    sessions_mib = MODEL_MIB * len(parts) * len(labels)
    memory_mib = -(-(BASE_MIB + sessions_mib + TIMES_ON_DISK * model_mib + search_mib) // 64) * 64
    return {
        "release": release.name,
        "version": release.version,
        "root": str(root),
        "models": [
            {"name": part, "base_path": f"/models/{part}", "source": str(root / part)} for part in parts
        ],
        "versions": sorted(labels.values()),
        "labels": labels,
        "image": settings.image,
        "prometheus_image": PROMETHEUS_IMAGE,
        "package_version": version_of("tfrecall"),
        "command": COMMAND,
        "arguments": _arguments(settings),
        "batching": settings.is_batching,
        "service": settings.has_service,
        "cores": settings.cores,
        "replicas": settings.replicas,
        "claim": settings.claim,
        "ports": PORTS,
        "metrics_path": METRICS_PATH,
        "batch_sizes": BATCH_SIZES,
        "probe_path": probe_path,
        "health": _health(probe_path),
        "memory_mib": memory_mib,
        "base_mib": BASE_MIB,
        "sessions_mib": sessions_mib,
        "model_mib": model_mib,
        "times_on_disk": TIMES_ON_DISK,
        "search_mib": search_mib,
        "writer": _writer(settings.claim),
        "again": _again(release, out, settings),
    }


def _arguments(settings: Settings) -> list[str]:
    arguments = [
        f"--port={PORTS['grpc']}",
        f"--rest_api_port={PORTS['rest']}",
        "--model_config_file=/config/models.config",
        # Labels are read before the models are loaded.
        "--allow_version_labels_for_unavailable_models=true",
        "--monitoring_config_file=/config/monitoring.config",
        # Of the container, not of the machine, whose cores TensorFlow would count.
        f"--tensorflow_intra_op_parallelism={settings.cores}",
        f"--tensorflow_inter_op_parallelism={settings.cores}",
    ]
    if not settings.is_batching:
        return arguments
    batching = ["--enable_batching=true", "--batching_parameters_file=/config/batching.config"]
    # Warm-up asks through the same batching, which refuses scalars: one failed record fails the load.
    return [*arguments, *batching, "--enable_model_warmup=false"]


def _health(path: str) -> str:
    """A command of bash that ends well while the model is available."""
    request = f"printf 'GET {path} HTTP/1.0\\r\\n\\r\\n' >&3"
    return f"exec 3<>/dev/tcp/127.0.0.1/{PORTS['rest']} && {request} && grep -q AVAILABLE <&3"


def _writer(claim: str) -> dict[str, Any]:
    """What `kubectl run` adds to a pod, so that a release can be copied to the claim."""
    name, mount = "release-writer", {"name": "release", "mountPath": "/release"}
    container = {"name": name, "image": "busybox:1.37", "command": ["sleep", "3600"]}
    volume = {"name": "release", "persistentVolumeClaim": {"claimName": claim}}
    return {"spec": {"containers": [{**container, "volumeMounts": [mount]}], "volumes": [volume]}}


def _again(release: Release, out: Path, settings: Settings) -> str:
    """The command that writes this deployment for another version, from any directory."""
    words = ["tfrecall", "deploy", str(release.root.resolve()), "--out", str(out.resolve())]
    options = {
        "--image": (settings.image, IMAGE),
        "--cores": (settings.cores, 2),
        "--replicas": (settings.replicas, 2),
        "--claim": (settings.claim, "tfrecall-release"),
    }
    for name, (value, default) in options.items():
        words += [name, str(value)] if value != default else []
    words += ["--batching"] if settings.is_batching else []
    words += ["--service"] if settings.has_service else []
    return shlex.join([*words, *(["--previous"] if settings.keeps_previous else [])])


def _texts(facts: Mapping[str, Any]) -> dict[str, str]:
    """The files by their path in the deployment."""
    config = {name: _render(name, facts) for name in _CONFIG}
    digest = sha256("".join(config.values()).encode()).hexdigest()
    more = {**facts, "config": config, "config_sha256": digest}
    plain = ["README.md", "docker-compose.yml", "prometheus.yml"]
    plain += ["Dockerfile"] if facts["service"] else []
    return {
        **{name: _render(name, more) for name in plain},
        **{f"config/{name}": text for name, text in config.items()},
        **{f"kubernetes/{name}": _render(name, more) for name in _KUBERNETES},
    }


def _render(name: str, facts: Mapping[str, Any]) -> str:
    return _templates().get_template(f"{name}.j2").render(facts)


@cache
def _templates() -> Environment:
    # Not HTML, so nothing is escaped for it: paths are written by `tojson`, which YAML reads as it is.
    environment = Environment(
        loader=PackageLoader("tfrecall.serving"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,
    )
    # Compose replaces $NAME in every text; $$ stands for the sign itself.
    environment.filters["compose"] = lambda text: text.replace("$", "$$")
    # `tojson` gives text that is marked as HTML, whose quotes would be escaped as in HTML.
    environment.filters["shell"] = lambda text: shlex.quote(str(text))
    return environment


def _check_ours(out: Path) -> None:
    """Refuse to replace what a person wrote.

    Raises:
        ExportError: if the directory holds anything else than an earlier deployment as it was written.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    try:
        files = json.loads((out / RECORD).read_text("utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ExportError(
            f"{out} is no deployment of `tfrecall deploy`, and is not empty. Choose another directory with "
            "`--out`, or remove it."
        ) from error
    there = {path.relative_to(out).as_posix() for path in out.rglob("*") if not path.is_dir()}
    changed = {name for name in there & files.keys() if file_sha256(out / name) != files[name]}
    own = sorted(changed | there - files.keys() - {RECORD})
    if own:
        raise ExportError(
            f"{out} holds files that were added or changed by hand: {', '.join(own)}. Move them away, or let "
            "them be lost with `--replace`."
        )


def _size(directory: Path) -> int:
    return sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())
