"""The catalogue: what the model knows of its candidates."""

import numpy as np
import polars as pl
import pytest

from tfrecall._keras import tf
from tfrecall.data.batches import column_batches
from tfrecall.errors import DataError
from tfrecall.models.catalogue import Catalogue
from tfrecall.models.towers import CandidateTower
from tfrecall.schema import features as schema

ITEMS = pl.DataFrame({"item_id": ["b", "a", "c"], "tags": [["x", "y"], [], ["y"]]})
COUNTS = np.array([3, 1, 0])


def tower(items=ITEMS):
    tower = CandidateTower([schema.Categorical("item_id", 3), schema.MultiCategorical("tags", 2)], [4])
    tower.adapt(lambda column, form: column_batches(items, column, form))
    return tower


@pytest.fixture
def candidate_tower():
    return tower()


@pytest.fixture
def catalogue(candidate_tower):
    return Catalogue.build(ITEMS, "item_id", candidate_tower, COUNTS)


def test_an_index_is_the_row_plus_two_and_unknown_is_one(catalogue):
    assert catalogue.index(tf.constant(["b", "c", "?", "a"])).numpy().tolist() == [2, 4, 1, 3]
    assert catalogue.ids.tolist() == ["b", "a", "c"]
    assert len(catalogue) == 3


def test_whole_numbers_name_candidates_by_their_digits():
    items = pl.DataFrame({"item_id": [30, 7], "tags": [["x"], ["y"]]})
    catalogue = Catalogue.build(items, "item_id", tower(items), np.array([1, 1]))
    assert catalogue.index(tf.constant([7, 30, 8], tf.int64)).numpy().tolist() == [3, 2, 1]


def test_features_are_those_of_the_rows_and_of_the_unknown(catalogue, candidate_tower):
    features = catalogue.features(tf.constant([4, 1, 2]))
    expected = candidate_tower.preprocess(
        {
            "item_id": tf.constant(["c", "[UNK]", "b"]),
            "tags": tf.constant([["y", ""], ["", ""], ["x", "y"]]),
        }
    )
    tf.nest.map_structure(np.testing.assert_array_equal, features, expected)


def test_probabilities_are_shares_of_the_training_rows(catalogue):
    # Of 4 rows b has 3 and a 1; padding, unknown and c count as one row.
    np.testing.assert_allclose(catalogue.probability, [0.25, 0.25, 0.75, 0.25, 0.25])


def test_refreshed_vectors_are_those_of_the_tower_now(catalogue, candidate_tower):
    whole = catalogue.embed(candidate_tower).numpy()
    # Sums of float32 follow the size of the batch, so numbers near 0 differ in their last digits.
    refreshed = catalogue.refresh(candidate_tower, batch_size=2)
    np.testing.assert_allclose(refreshed, whole, rtol=1e-6, atol=1e-7)
    candidate_tower.set_weights([2 * weight for weight in candidate_tower.get_weights()])
    np.testing.assert_allclose(catalogue.vectors, whole, rtol=1e-6, atol=1e-7)
    after = catalogue.refresh(candidate_tower).numpy()
    np.testing.assert_allclose(catalogue.vectors, after)
    np.testing.assert_allclose(after, catalogue.embed(candidate_tower), rtol=1e-6, atol=1e-7)
    assert not np.allclose(after, whole)


@pytest.mark.parametrize("ids", [["a", "a", "b"], ["a", None, "b"]])
def test_repeated_or_missing_names_are_refused(ids, candidate_tower):
    items = ITEMS.with_columns(item_id=pl.Series(ids))
    with pytest.raises(DataError, match="must name each candidate once"):
        Catalogue.build(items, "item_id", candidate_tower, COUNTS)


@pytest.mark.parametrize("name", ["", "[UNK]"])
def test_names_that_stand_for_nothing_are_refused(name, candidate_tower):
    items = ITEMS.with_columns(item_id=pl.Series(["a", name, "b"]))
    with pytest.raises(DataError, match="stands for padding or for what is unknown"):
        Catalogue.build(items, "item_id", candidate_tower, COUNTS)
