"""Batches: every row once, in every form."""

import numpy as np
import polars as pl
import pytest

from tfrecall._keras import tf
from tfrecall.data import batches as pipelines
from tfrecall.data import synthetic
from tfrecall.data.batches import as_batches, column_batches, examples, natural_forms, to_frame
from tfrecall.data.interactions import Interactions
from tfrecall.errors import DataError, MissingColumnError

DATA = synthetic(n_users=10, n_items=8, n_rows=103)


def column(dataset, name):
    return np.concatenate([batch[name].numpy() for batch in dataset])


def lists_data() -> Interactions:
    """Items whose tags grow longer with the row."""
    log = pl.DataFrame(
        {"user_id": ["u", "v", "w"] * 3, "item_id": [f"i{n}" for n in range(9)], "timestamp": range(9)}
    )
    items = pl.DataFrame(
        {"item_id": [f"i{n}" for n in range(9)], "tags": [["t"] * n for n in range(9)]}
    )
    return Interactions.from_frame(log, items=items)


def test_every_row_comes_once_an_epoch_anew_shuffled():
    dataset = examples(DATA, 10)
    epochs = [column(dataset, "timestamp") for _ in range(2)]
    for times in epochs:
        np.testing.assert_array_equal(np.sort(times), np.sort(DATA.log["timestamp"]))
    assert not np.array_equal(*epochs)


@pytest.mark.slow
def test_rows_stay_together():
    joined = DATA.queries.join(DATA.items, on="item_id", maintain_order="left")
    rows = {name: column(examples(DATA, 10, seed=5), name) for name in ("user_id", "item_id", "title")}
    got = sorted(zip(*[[v.decode() for v in values] for values in rows.values()], strict=True))
    assert got == sorted(joined.select(*rows).rows())


@pytest.mark.slow
def test_equal_seeds_give_equal_epochs():
    def epochs(seed):
        dataset = examples(DATA, 10, seed=seed)
        return [column(dataset, "timestamp") for _ in range(2)]

    np.testing.assert_array_equal(epochs(1), epochs(1))
    assert not np.array_equal(epochs(1), epochs(2))


@pytest.mark.slow
def test_the_order_of_an_epoch_follows_from_its_number():
    three = examples(DATA, 10, seed=7)
    first, second, third = (column(three, "timestamp") for _ in range(3))
    later = examples(DATA, 10, seed=7, first_epoch=1)
    # Whatever else draws random numbers, and however many data sets were made before.
    tf.random.set_seed(8)
    iter(later)  # opened and not read, as Keras does before the first epoch
    np.testing.assert_array_equal(column(later, "timestamp"), second)
    np.testing.assert_array_equal(column(later, "timestamp"), third)
    assert not np.array_equal(first, second)
    assert three.cardinality() == 11


def test_without_shuffling_rows_come_in_order_and_the_last_batch_is_shorter():
    dataset = examples(DATA, 10, shuffle=False)
    np.testing.assert_array_equal(column(dataset, "timestamp"), DATA.log["timestamp"])
    assert [len(batch["timestamp"]) for batch in dataset] == [10] * 10 + [3]


def test_columns_of_users_and_items_are_joined():
    spec = examples(DATA, 10).element_spec
    assert sorted(spec) == ["group", "item_id", "segment", "timestamp", "title", "user_id"]


def test_only_the_columns_asked_for_come_in_the_form_asked_for():
    spec = examples(DATA, 10, forms={"title": "string", "timestamp": "number"}).element_spec
    assert {name: column.dtype for name, column in spec.items()} == {
        "title": tf.string,
        "timestamp": tf.float64,
    }


def test_weights_of_the_log_become_sample_weights():
    weights = np.arange(103.0)
    data = DATA.with_log(DATA.log.with_columns(weight=pl.Series(weights)))
    for dataset in (
        examples(data, 10, shuffle=False),
        examples(data, 10, shuffle=False, forms={"user_id": "string"}),
    ):
        np.testing.assert_array_equal(column(dataset, "sample_weight"), weights)
    assert "sample_weight" not in examples(DATA).element_spec


def test_rows_are_encoded_once_and_items_are_there_to_encode():
    calls = []

    def encode(raw):
        calls.append(sorted(raw))
        return {"length": tf.strings.length(raw["title"])}

    dataset = examples(DATA, 10, encode=encode)
    assert [sum(len(batch["length"]) for batch in dataset) for _ in range(2)] == [103, 103]
    assert len(calls) == 1


@pytest.mark.parametrize("chunk", [1, 4, 100])
def test_lists_are_padded_alike_however_the_table_is_cut(chunk, monkeypatch):
    monkeypatch.setattr(pipelines, "CHUNK_ROWS", chunk)
    tags = np.concatenate([batch["tags"].numpy() for batch in examples(lists_data(), 5, shuffle=False)])
    assert tags.shape == (9, 8)
    assert (tags == b"t").sum(axis=1).tolist() == list(range(9))

    def count(raw):
        return {"known": tf.cast(raw["tags"] != "", tf.int64)}

    encoded = column(examples(lists_data(), 5, shuffle=False, encode=count), "known")
    assert encoded.shape == (9, 8)
    assert encoded.sum(axis=1).tolist() == list(range(9))


@pytest.mark.parametrize("chunk", [1, 4, 100])
def test_a_column_comes_in_chunks_for_adapt(chunk, monkeypatch):
    monkeypatch.setattr(pipelines, "CHUNK_ROWS", chunk)
    batches = list(column_batches(DATA.log, "timestamp", "number"))
    assert len(batches) == -(-103 // chunk)
    np.testing.assert_array_equal(np.concatenate(batches), DATA.log["timestamp"])


def test_a_number_with_nulls_is_left_out_unless_it_is_asked_for():
    ages = pl.Series([None, *range(102)], dtype=pl.Int64)
    data = DATA.with_log(DATA.log.with_columns(age=ages))
    assert "age" not in examples(data).element_spec
    with pytest.raises(DataError, match='"age" has 1 values that are null'):
        examples(data, forms={"age": "number"})
    # As a category null is the unknown value.
    assert column(examples(data, 10, shuffle=False, forms={"age": "string"}), "age")[0] == b"[UNK]"


def test_a_column_that_is_not_there_is_refused_by_name():
    with pytest.raises(MissingColumnError, match=r'"titel".*Did you mean "title"'):
        examples(DATA, forms={"titel": "string"})


def test_natural_forms_follow_the_types():
    frame = pl.DataFrame(
        {"s": ["a"], "l": [["a"]], "i": [1], "f": [0.5], "b": [True], "n": [None]},
        schema_overrides={"n": pl.Float64},
    )
    assert natural_forms(frame) == {
        "s": "string",
        "l": "strings",
        "i": "integer",
        "f": "number",
        "b": "string",
    }


def test_a_dataset_becomes_a_table():
    dataset = tf.data.Dataset.from_tensor_slices(
        {"id": ["ä", "b"], "n": [1, 2], "tags": [["x", ""], ["", ""]], "unused": [0, 0]}
    )
    frame = to_frame(as_batches(dataset, "id"), ["id", "n", "tags", "id"])
    assert frame.rows() == [("ä", 1, ["x"]), ("b", 2, [])]
    bare = to_frame(as_batches(tf.data.Dataset.from_tensor_slices(["a", "b"]), "id"), ["id"])
    assert bare.rows() == [("a",), ("b",)]


def test_a_dataset_that_is_no_text_or_empty_is_refused():
    with pytest.raises(DataError, match='"id" holds text that is not UTF-8'):
        to_frame(tf.data.Dataset.from_tensors({"id": tf.constant([b"\xff"])}), ["id"])
    with pytest.raises(DataError, match="has no rows"):
        to_frame(tf.data.Dataset.from_tensors({"id": tf.constant(["a"])}).take(0), ["id"])


def test_an_error_of_a_later_chunk_keeps_its_type_and_counts_rows_of_the_table(monkeypatch):
    monkeypatch.setattr(pipelines, "CHUNK_ROWS", 10)
    ages = pl.Series([1.0] * 50 + [None] + [2.0] * 52)
    data = DATA.with_log(DATA.log.with_columns(age=ages))
    with pytest.raises(DataError, match="first in row 50"):
        examples(data, forms={"age": "number"})
    with pytest.raises(DataError, match="first in row 50"):
        column_batches(data.log, "age", "number")
    with pytest.raises(DataError, match="Use a MultiCategorical"):
        column_batches(lists_data().items, "tags", "string")
