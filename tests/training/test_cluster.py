"""TF_CONFIG is read, or refused with a sentence before anything waits for another machine."""

import json
import socket

import pytest

from tfrecall.errors import ConfigError
from tfrecall.training.cluster import Cluster


def config(task=None, **jobs):
    given = {
        "cluster": jobs or {"worker": ["a:1", "b:2"]},
        "task": task or {"type": "worker", "index": 0},
    }
    return {"TF_CONFIG": json.dumps(given)}


def test_workers_are_numbered_as_they_stand():
    cluster = Cluster.from_environment(config({"type": "worker", "index": 1}))
    assert cluster == Cluster(("a:1", "b:2"), 1)
    assert not cluster.is_chief


def test_a_chief_comes_before_the_workers():
    jobs = {"chief": ["c:1"], "worker": ["a:1"], "evaluator": ["e:1"]}
    first = Cluster.from_environment(config({"type": "chief", "index": 0}, **jobs))
    second = Cluster.from_environment(config({"type": "worker", "index": 0}, **jobs))
    assert first == Cluster(("c:1", "a:1"), 0)
    assert second.index == 1
    assert [first.is_chief, second.is_chief] == [True, False]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "not set"),
        ({"TF_CONFIG": "{"}, "no JSON"),
        ({"TF_CONFIG": "[]"}, "must be an object"),
        ({"TF_CONFIG": "{}"}, "must be an object"),
        ({"TF_CONFIG": '{"task": {"type": "worker", "index": 0}}'}, '"cluster" must be an object'),
        ({"TF_CONFIG": '{"cluster": {"worker": ["a:1"]}}'}, '"task" must be an object'),
        (config({"type": "worker", "index": 2}), "from 0 to 1"),
        (config({"type": "worker", "index": -1}), "from 0 to 1"),
        (config({"type": "worker", "index": "0"}), "from 0 to 1"),
        (config({"type": "worker", "index": True}), "from 0 to 1"),
        (config({"type": "chief", "index": 0}), "one of the cluster (worker)"),
        (config(worker="a:1"), 'a list of "host:port"'),
        (config(worker=["a"]), 'a list of "host:port"'),
        (config(worker=["a:b"]), 'a list of "host:port"'),
        (config(worker=["a:70000"]), 'a list of "host:port"'),
        (config(worker=["a:1", "a:1"]), "a:1 stands there 2 times"),
        (config(worker=[]), "must name a worker"),
        (config(chief=["a:1"]), "must name a worker"),
        (config(chief=["a:1", "b:1"], worker=["c:1"]), '"cluster.chief" must name one'),
        (config(worker=["a:1"], ps=["b:1"]), 'has "ps"'),
    ],
)
def test_malformed_settings_are_refused(given, words):
    with pytest.raises(ConfigError) as refused:
        Cluster.from_environment(given)
    assert words in str(refused.value)
    assert "TF_CONFIG=" in str(refused.value)


def test_a_port_in_use_is_refused():
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        port = other.getsockname()[1]
        cluster = Cluster((f"localhost:{port}",), 0)
        with pytest.raises(ConfigError, match=f"has the port {port}"):
            cluster.check_port()
    cluster.check_port()
