"""What a run will need is estimated before it starts, and what cannot fit is refused with the figure."""

import polars as pl
import pytest

from tests.progress import RecordedProgress
from tfrecall.config.recipes import config_from_dict
from tfrecall.config.run import RunConfig
from tfrecall.core.memory import available_bytes
from tfrecall.data import Interactions
from tfrecall.errors import DataError
from tfrecall.runs.memory import check_memory, needs

LOG = pl.DataFrame({"user_id": ["a", "b"], "item_id": ["x", "y"], "timestamp": [1, 2]})


def data_of(items: int, **columns) -> Interactions:
    """Two events and a catalogue of so many items, whose ids are made without validation."""
    ids = pl.select(item_id=pl.int_range(items).cast(pl.String)).with_columns(**columns)
    data = Interactions.from_frame(LOG)
    return Interactions(data.log, data.users, ids)


def config(*candidate, query=(), **training) -> RunConfig:
    ids = {"type": "categorical", "embedding_dim": 64}
    return config_from_dict(
        {
            "recipe": "r",
            "schema": {
                "query": [{**ids, "column": "user_id"}, *query],
                "candidate": [{**ids, "column": "item_id"}, *candidate],
            },
            "model": {"layer_sizes": [128, 64]},
            "training": {"optimizer": "adam", **training},
        }
    )


@pytest.mark.slow
def test_ten_million_items_are_allowed_where_they_fit_and_refused_where_not():
    data, progress = data_of(10_000_000), RecordedProgress()
    # Weights and two slots of Adam: 10M x 64 x 4 bytes x 3 = 7.68 GB, beside ids and vectors.
    with pytest.raises(
        DataError, match=r"takes at least 1\d\.\d GB of memory, and 4\.0 GB are free"
    ) as error:
        check_memory(config(), data, progress, available=4 * 10**9)
    assert "embeddings of 10,000,000 items" in str(error.value)
    assert "filters.min_item_interactions" in str(error.value)
    check_memory(config(), data, progress, available=15 * 10**9)
    assert "may not fit" in progress.notes[-1]
    check_memory(config(), data, progress, available=64 * 10**9)
    assert progress.notes[-1].startswith("This run takes about 2")
    assert "64.0 GB are free" in progress.notes[-1]


def test_the_frequent_items_alone_take_less():
    whole, part = (
        sum(need.least for need in needs(config_of, data_of(1_000_000)))
        for config_of in (config(), capped())
    )
    # 900,000 rows of 64 floats less, three times.
    assert whole - part == 900_000 * 64 * 4 * 3


@pytest.mark.slow
def test_shared_rows_take_the_place_of_those_of_rare_items():
    data = data_of(1_000_000)
    values = config().to_dict()
    values["schema"]["candidate"][0] |= {"min_count": 1, "hash_rows": 50_000}
    whole, part = (
        sum(need.least for need in needs(config_of, data))
        for config_of in (config(), config_from_dict(values))
    )
    # Two items of the million have events.
    assert whole - part == (1_000_000 - 50_002) * 64 * 4 * 3


def capped() -> RunConfig:
    values = config().to_dict()
    values["schema"]["candidate"][0]["max_tokens"] = 100_000
    return config_from_dict(values)


def test_vectors_are_as_long_as_the_last_layer_or_the_embeddings():
    values = config().to_dict()
    for sizes, length in (([128, 32], 32), ([], 64)):
        values["model"]["layer_sizes"] = sizes
        found = needs(config_from_dict(values), data_of(100))
        assert {need.least for need in found if "vectors" in need.what} == {100 * length * 4}


def test_small_logs_are_not_talked_about():
    progress = RecordedProgress()
    check_memory(config(), data_of(1_000), progress, available=10**9)
    assert progress.notes == []


def test_long_ids_count_with_their_length():
    # 1,000 bytes instead of 1 to 3 digits: 992 bytes beyond a short id's 8, of 1,000 ids, in 9 copies.
    short, long = data_of(1_000), data_of(1_000)
    padded = long.items.with_columns(pl.col("item_id").str.pad_end(1_000, "x"))
    long = Interactions(long.log, long.users, padded)
    (plain,), (wide,) = (
        [need for need in needs(config(), data) if "items" in need.what and "vectors" not in need.what]
        for data in (short, long)
    )
    assert wide.likely - plain.likely == 992 * 1_000 * 9
    assert "of 1,000 items with ids of up to 1,000 bytes" in wide.what
    assert "ids of items by shorter ones" in wide.advice
    assert "bytes" not in plain.what
    assert "shorter ones" not in plain.advice
    with pytest.raises(DataError, match="ids of up to 1,000 bytes"):
        check_memory(config(), long, available=4 * 10**6)


def test_texts_of_a_megabyte_are_refused_with_their_size():
    # 200 texts, one of 200,000 words and a million bytes: 200 x 200,000 x 8 bytes = 320 MB at least.
    long = pl.when(pl.int_range(pl.len()) == 7).then(pl.lit("word " * 200_000)).otherwise(pl.lit("tea"))
    data = data_of(200, text=long)
    feature = {"type": "text", "column": "text"}
    with pytest.raises(DataError, match="of up to 200,000 words, 1,000,000 bytes") as error:
        check_memory(config(feature), data, available=200 * 10**6)
    assert 'Take "text" out of the schema, or shorten it' in str(error.value)


def test_long_lists_count_at_the_width_of_the_longest():
    data = data_of(100, tags=pl.lit(["a"] * 1_000))
    found = needs(config({"type": "multi_categorical", "column": "tags"}), data)
    assert {need.least for need in found if "tags" in need.what} == {100 * 1_000 * 8}


def test_lists_with_nulls_are_counted():
    tags = pl.when(pl.int_range(pl.len()) % 2 == 0).then(pl.lit(["a", None]))
    found = needs(config({"type": "multi_categorical", "column": "tags"}), data_of(10, tags=tags))
    assert {need.least for need in found if "tags" in need.what} == {10 * 2 * 8}


@pytest.mark.slow
def test_nothing_is_refused_where_the_memory_is_not_known(monkeypatch):
    monkeypatch.setattr("tfrecall.runs.memory.available_bytes", lambda: None)
    progress = RecordedProgress()
    check_memory(config(), data_of(10_000_000), progress)
    assert "GB are free" not in progress.notes[0]


def test_this_machine_has_memory():
    found = available_bytes()
    assert found is None or found > 10**8
