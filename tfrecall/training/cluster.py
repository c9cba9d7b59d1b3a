"""The machines of a training, as TF_CONFIG describes them, checked before TensorFlow waits for any of them."""

import json
import os
import socket
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from tfrecall.errors import ConfigError

VARIABLE = "TF_CONFIG"
_EXAMPLE = (
    '{"cluster": {"worker": ["10.0.0.1:12345", "10.0.0.2:12345"]}, '
    '"task": {"type": "worker", "index": 0}}'
)


@dataclass(frozen=True)
class Cluster:
    """The workers of a training, of which this process is one.

    Attributes:
        addresses: `host:port` of each worker, the chief first.
        index: the place of this process among them.
    """

    addresses: tuple[str, ...]
    index: int

    @property
    def is_chief(self) -> bool:
        """Whether this process writes what the workers have in common: checkpoints, logs, the release."""
        return self.index == 0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Cluster":
        """Reads TF_CONFIG.

        Raises:
            ConfigError: if it is missing or malformed, or describes a cluster with other tasks than workers.

        >>> text = '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}'
        >>> Cluster.from_environment({"TF_CONFIG": text})
        Cluster(addresses=('a:1', 'b:1'), index=1)
        """
        text = environment.get(VARIABLE)
        if not text:
            raise _error("it is not set", "nothing")
        try:
            given = json.loads(text)
        except ValueError as error:
            raise _error(f"it is no JSON ({error})", text) from error
        given = _table(given, "it", text)
        jobs, task = (_table(given.get(name), f'"{name}"', text) for name in ("cluster", "task"))
        return cls._of(_addresses(jobs, text), task, text)

    @classmethod
    def _of(cls, jobs: dict[str, list[str]], task: dict[str, Any], text: str) -> "Cluster":
        kind, index = task.get("type"), task.get("index")
        if kind not in jobs:
            raise _error(f'"task.type" must be one of the cluster ({", ".join(jobs)})', text)
        if type(index) is not int or not 0 <= index < len(jobs[kind]):
            raise _error(f'"task.index" must be from 0 to {len(jobs[kind]) - 1}', text)
        chiefs = jobs.get("chief", [])
        return cls((*chiefs, *jobs["worker"]), index + (len(chiefs) if kind == "worker" else 0))

    def check_port(self) -> None:
        """Refuse a port that another process has.

        Raises:
            ConfigError: with the port.
        """
        port = int(self.addresses[self.index].rpartition(":")[2])
        with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
            # As TensorFlow's server: a port that a worker has just left is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("", port))
            except OSError as error:
                raise ConfigError(
                    f"Worker {self.index} cannot listen at {self.addresses[self.index]}: {error.strerror}. "
                    f"Stop the process that has the port {port} (an earlier worker?), or name another one "
                    f"in {VARIABLE} of all workers."
                ) from error


def _table(value: Any, name: str, text: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        raise _error(f"{name} must be an object", text)
    return value


def _addresses(jobs: dict[str, Any], text: str) -> dict[str, list[str]]:
    """Addresses of each job, checked."""
    # An evaluator takes part in no step, and TensorFlow starts none by itself.
    jobs = {name: value for name, value in jobs.items() if name != "evaluator"}
    other = sorted(set(jobs) - {"chief", "worker"})
    if other:
        raise _error(
            f'the cluster has "{other[0]}", and only "worker" and "chief" train without a parameter server',
            text,
        )
    for name, addresses in jobs.items():
        if not isinstance(addresses, list) or not all(_is_address(one) for one in addresses):
            raise _error(f'"cluster.{name}" must be a list of "host:port"', text)
    if not jobs.get("worker"):
        raise _error('"cluster.worker" must name a worker', text)
    if len(jobs.get("chief", [])) > 1:
        raise _error('"cluster.chief" must name one', text)
    name, times = Counter(one for addresses in jobs.values() for one in addresses).most_common(1)[0]
    if times > 1:
        raise _error(f"{name} stands there {times} times", text)
    return jobs


def _is_address(value: Any) -> bool:
    host, _, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    return bool(host) and port.isdecimal() and 0 < int(port) < 2**16


def _error(problem: str, received: str) -> ConfigError:
    return ConfigError(
        f"`{VARIABLE}` names the machines of a training on several, but {problem}. Received: {received}. Set "
        f"it on each machine, with another index, such as {VARIABLE}='{_EXAMPLE}', or train with "
        '`training.strategy = "none"`.'
    )
