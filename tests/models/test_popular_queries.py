"""Queries without a history, which stand for what is popular."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties import examples
from tfrecall._keras import keras
from tfrecall.data import Interactions
from tfrecall.errors import ConfigError
from tfrecall.exporting.retriever import export_retriever
from tfrecall.models.popular_queries import popular_vector
from tfrecall.models.ranker import Ranker
from tfrecall.models.two_tower import TwoTower
from tfrecall.schema.encoders import Decay, Interests
from tfrecall.schema.features import Categorical, History, Schema
from tfrecall.training import fit

ITEM = Categorical("item_id", 8)


def schema_of(**changes) -> Schema:
    history = {"history_length": 3, "encoder": Decay(0.7), "empty": "popular", **changes}
    return Schema(query=[History("history", ITEM, **history)], candidate=[ITEM])


def falling() -> Interactions:
    """A log of 40 users: all have the item i0, every second one i1, every third i2, and so on."""
    rows = [(f"u{u}", f"i{i}") for u in range(40) for i in range(6) if u % (i + 1) == 0]
    users, items = zip(*rows, strict=True)
    order = np.random.default_rng(0).permutation(len(rows))
    columns = {"user_id": users, "item_id": items, "timestamp": order.tolist()}
    return Interactions.from_frame(pl.DataFrame(columns))


@pytest.fixture(scope="module")
def model() -> TwoTower:
    model = TwoTower(schema_of(), [], combine="sum")
    fit(model, falling(), epochs=4, batch_size=32, verbose=0)
    return model


@examples(25)
@given(counts=st.lists(st.integers(1, 50), min_size=2, max_size=8))
def test_vectors_that_can_tell_all_items_apart_give_the_shares_themselves(counts):
    shares = np.array(counts) / sum(counts)
    logits = popular_vector(np.eye(len(counts)), shares).astype(np.float64)
    found = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(found, shares, atol=0.01)


def test_strangers_get_items_by_their_popularity(model):
    scores = model.retriever().scores(pl.DataFrame({"user_id": ["a stranger"]}))[0]
    counts = np.bincount(falling().item_rows)
    assert scores.argmax() == counts.argmax()
    assert np.corrcoef(scores, np.log(counts))[0, 1] > 0.9


@pytest.mark.slow
def test_a_release_answers_strangers_alike(model, tmp_path):
    release = export_retriever(model, tmp_path / "release", index=None, k=3)
    (answer,) = release.recommend(["a stranger"], k=3)
    scores = model.retriever().scores(pl.DataFrame({"user_id": ["a stranger"]}))[0]
    best = model.catalogue.ids[np.argsort(-scores)[:3]]
    assert answer.item_ids == best.tolist()


@pytest.mark.parametrize(
    ("layer_sizes", "settings"),
    [([4], {"combine": "sum"}), ([], {"combine": "concat"}), ([], {"encoder": Interests(2)})],
)
def test_towers_that_do_more_than_add_are_refused(layer_sizes, settings):
    encoder = {"encoder": settings["encoder"]} if "encoder" in settings else {}
    with pytest.raises(ConfigError, match='`empty = "popular"` is fitted as the whole vector'):
        TwoTower(schema_of(**encoder), layer_sizes, combine=settings.get("combine", "sum"))


def test_a_network_of_ones_own_is_refused():
    with pytest.raises(ConfigError, match="fitted as the whole vector"):
        TwoTower(schema_of(), [], combine="sum", query_network=keras.layers.Dense(8))


def test_rankers_are_refused():
    with pytest.raises(ConfigError, match="is for retrievers"):
        Ranker(Schema(query=[*schema_of().query], candidate=[Categorical("item_id", 4)]), [])
