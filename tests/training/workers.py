"""Two workers of one training, as processes of this machine."""

import json
import socket
from contextlib import ExitStack

from tests.processes import Forked

# `settings` of `fit` and the `log` may be changed before it begins.
_BEGIN = """
import json, os, sys
os.environ["TF_CONFIG"], folder = sys.argv[1:3]
import numpy as np
from tfrecall._keras import keras, tf
from tfrecall.data import split_random, synthetic
from tfrecall.models.two_tower import TwoTower
from tfrecall.schema.features import Categorical, Schema
from tfrecall.training import connect, fit
replicas = connect("multi_worker_mirrored")
data = synthetic(n_users=30, n_items=20, n_rows=259, seed=1)
train, validation = split_random(data, test_fraction=0.2, seed=1)
schema = Schema(
    query=[Categorical("user_id", 4, unknown_rate=0)],
    candidate=[Categorical("item_id", 4, unknown_rate=0)],
)
settings = dict(
    epochs=4, batch_size=100, learning_rate=0.05, optimizer="sgd", verbose=0, checkpoint_seconds=0,
    monitor="seen_removed/hit_rate@5",
)

def trained(strategy="multi_worker_mirrored", **more):
    model = TwoTower(schema, [4])
    fitted = fit(model, train, validation, strategy=strategy, **{**settings, **more})
    return model, fitted
"""


def ports(count):
    """Ports that nobody has now."""
    with ExitStack() as taken:
        sockets = [taken.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("", 0))
        return [one.getsockname()[1] for one in sockets]


def ends(code, folder, workers=2):
    """Runs the code on each worker, and gives for each its status, standard output and standard error."""
    addresses = [f"localhost:{port}" for port in ports(workers)]
    started = []
    for index in range(workers):
        task = {"type": "worker", "index": index}
        config = json.dumps({"cluster": {"worker": addresses}, "task": task})
        started.append(Forked(_BEGIN + code, config, folder))
    return [process.ended() for process in started]
