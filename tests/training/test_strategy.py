"""What replicas would train otherwise than one process is refused by name."""

import pytest

from tfrecall._keras import keras, tfrs
from tfrecall.config.recipes import load_config
from tfrecall.data import synthetic
from tfrecall.errors import ConfigError
from tfrecall.models.ranker import Ranker
from tfrecall.models.two_tower import TwoTower
from tfrecall.schema.features import Categorical, Schema
from tfrecall.schema.negatives import Hard
from tfrecall.schema.training import TrainingConfig
from tfrecall.tasks.pairwise import BPR
from tfrecall.training import connect, fit
from tfrecall.training.strategy import check_supported

SCHEMA = Schema(query=[Categorical("user_id", 4)], candidate=[Categorical("item_id", 4)])
MIRRORED = TrainingConfig(strategy="mirrored")


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda: Ranker(SCHEMA, [4]), "this is a ranker"),
        (lambda: TwoTower(SCHEMA, [], task=tfrs.tasks.Retrieval()), "Retrieval would see the part"),
        (lambda: TwoTower(SCHEMA, [], task=BPR(Hard(ranks=(2, 5)))), "mines the model's own lists"),
        (lambda: TwoTower(SCHEMA, [4, 4], batch_normalization=True), "batch normalization"),
        (
            lambda: TwoTower(SCHEMA, [4], query_network=keras.layers.Dense(4, kernel_regularizer="l2")),
            "`kernel_regularizer`",
        ),
    ],
    ids=["ranker", "tfrs", "mined", "batch_normalization", "regularizer"],
)
def test_what_depends_on_the_number_of_replicas_is_refused(model, words):
    with pytest.raises(ConfigError, match=words) as refused:
        check_supported(model(), MIRRORED)
    assert 'training.strategy = "mirrored"' in str(refused.value)
    assert 'or set it to "none"' in str(refused.value)


def test_mixed_precision_is_refused():
    training = TrainingConfig(strategy="mirrored", mixed_precision=True)
    with pytest.raises(ConfigError, match="`mixed_precision` is for one"):
        check_supported(TwoTower(SCHEMA, []), training)


def test_negatives_of_the_batch_are_not_mined():
    for source in ("in_batch", Hard(hardest=3)):
        check_supported(TwoTower(SCHEMA, [], task=BPR(source)), MIRRORED)


def test_parameter_servers_are_not_supported_yet():
    with pytest.raises(ConfigError, match=r"not supported yet.*multi_worker_mirrored"):
        load_config("two_tower_ml100k", ["training.strategy=parameter_server"])


def test_a_strategy_is_one_of_the_names():
    with pytest.raises(ConfigError, match="multi_worker_mirrored"):
        TrainingConfig(strategy="mirror")


def test_workers_without_a_cluster_are_refused_before_the_data_are_read(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    log = synthetic(n_users=6, n_items=5, n_rows=40)
    with pytest.raises(ConfigError, match=r"TF_CONFIG.*it is not set"):
        fit(TwoTower(SCHEMA, []), log, strategy="multi_worker_mirrored")


def test_workers_that_come_too_late_are_told_so(monkeypatch):
    # Tests have computed with TensorFlow before, so that it makes no cluster any more.
    cluster = '{"cluster": {"worker": ["localhost:1", "localhost:2"]}, "task": {"type": "worker", "index": 0}}'
    monkeypatch.setenv("TF_CONFIG", cluster)
    monkeypatch.setattr("tfrecall.training.cluster.Cluster.check_port", lambda self: None)
    synthetic(n_users=6, n_items=5, n_rows=40)
    keras.backend.get_value(keras.backend.variable(1.0))
    with pytest.raises(ConfigError, match=r"connect\(.*first, right after the imports"):
        connect("multi_worker_mirrored")


def test_one_process_is_its_own_chief():
    assert connect("none").is_chief
    assert connect("none") is connect("none")
