"""Codes of content in a model: learned, saved and released; items without events, found by their features."""

import numpy as np
import polars as pl
import pytest

from tfrecall._keras import keras, tf
from tfrecall.cli.answers import cold_items
from tfrecall.data import Interactions, synthetic
from tfrecall.exporting.export import export
from tfrecall.models.two_tower import TwoTower
from tfrecall.release import load
from tfrecall.schema.encoders import Sum
from tfrecall.schema.features import Categorical, Codes, History, Schema
from tfrecall.training.fitting import fit

COLD = ["i3", "i7"]
OF_TITLES = Codes("title", levels=2, size=3, embedding_dim=4, dimension=4)
SCHEMA = Schema(
    query=[Categorical("user_id", 4), History(of=OF_TITLES, encoder=Sum(), table="candidate")],
    candidate=[
        Categorical("item_id", 4, unknown_rate=0.2),
        OF_TITLES,
        Codes("cover", 2, 3, 4, form="vector", length=6),
    ],
)


@pytest.fixture(scope="module")
def log():
    data = synthetic(n_users=12, n_items=10, n_rows=200, seed=1)
    kinds = np.random.default_rng(0).normal(size=[2, 6])
    items = data.items.with_columns(
        title=pl.Series(["red wine", "fast car"] * 5) + pl.format(" {}", pl.int_range(10) // 4),
        cover=pl.Series([kinds[row % 2].tolist() for row in range(10)]),
    )
    events = data.log.filter(~pl.col("item_id").is_in(COLD))
    return Interactions.from_frame(events, users=data.users, items=items)


@pytest.fixture(scope="module")
def model(log):
    made = TwoTower(SCHEMA, layer_sizes=[5])
    fit(made, log, epochs=2, batch_size=64, optimizer="adam", learning_rate=0.01, verbose=0)
    return made


@pytest.fixture(scope="module")
def release(model, tmp_path_factory):
    return export(model, tmp_path_factory.mktemp("codes") / "release", index=None, k=5)


pytestmark = pytest.mark.slow


def test_an_item_without_events_has_the_vector_of_the_unknown_id_and_of_its_content(model, log):
    ids = model.catalogue.ids.tolist()
    tower = model.candidate_tower
    encoded = {name: values.numpy() for name, values in model.catalogue.encoded.items()}
    cold, alike = (
        ids.index("i3") + 2,
        ids.index("i1") + 2,
    )  # the same words but the number, the same cover
    assert encoded["item_id_categorical"][cold] == 1
    assert encoded["item_id_categorical"][alike] > 1
    assert encoded["cover_codes"][cold].tolist() == encoded["cover_codes"][alike].tolist()
    assert encoded["title_codes"][cold].all()
    parts = tower.feature_vectors({name: values[cold : cold + 1] for name, values in encoded.items()})
    expected = tower._last(tf.concat(parts, axis=1)).numpy()[0]
    assert model.embed_candidates()[cold - 2] == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_a_keras_file_and_a_release_answer_like_the_model(model, log, release, tmp_path):
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again.embed_candidates(), model.embed_candidates(), rtol=1e-6, atol=1e-7)
    queries = log.queries.head(5)
    np.testing.assert_allclose(
        release.embed_queries(queries.with_columns(history=pl.lit(["i1", "i4"]))),
        model.embed_queries(queries.with_columns(history=pl.lit(["i1", "i4"]))),
        rtol=1e-5,
        atol=1e-6,
    )
    assert release.bundle.exact.vectors == pytest.approx(model.embed_candidates(), abs=1e-6)


def test_items_without_events_are_counted_and_marked(release, log):
    assert release.manifest["model"]["cold_candidates"] == len(COLD)
    (answer,) = release.recommend(["u1"], k=10, exclude_seen=False, columns=["title", "cold"])
    assert {
        item for item, told in zip(answer.item_ids, answer.items, strict=True) if told["cold"]
    } == set(COLD)
    frame = release.recommend(["u1"], k=10, exclude_seen=False, columns=["cold"], as_frame=True)
    assert frame.filter("cold")["item_id"].sort().to_list() == COLD
    assert release.items.columns == log.items.columns  # the table itself stays as it was
    assert release.similar_items("i1", 9, columns=["cold"]).items.count({"cold": True}) == 2


def test_a_note_names_listed_items_without_events(release):
    answers = release.recommend(["u1", "u2"], k=10, exclude_seen=False)
    (note,) = cold_items(release, answers)
    assert all(item in note for item in COLD)
    assert note.count(",") == 1 + 1  # two items, each once, and the comma of the sentence
    (warm,) = release.recommend(["u1"], k=10, exclude=COLD)
    assert cold_items(release, [warm]) == []


def test_a_column_of_the_table_called_cold_stays(log, tmp_path):
    items = log.items.with_columns(cold=pl.lit("served chilled"))
    own = Interactions.from_frame(log.log, users=log.users, items=items)
    made = TwoTower(
        Schema(query=[Categorical("user_id", 2)], candidate=[Categorical("item_id", 2)]), []
    )
    made.adapt(own)
    released = export(made, tmp_path / "release", index=None, k=2)
    (answer,) = released.recommend(["u1"], k=1, columns=["cold"])
    assert answer.items == [{"cold": "served chilled"}]
    assert load(tmp_path / "release").manifest["model"]["cold_candidates"] == len(COLD)
