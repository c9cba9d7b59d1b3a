"""Every Python block of the documentation runs, and every TOML block is a recipe or a part of one."""

import re
import sys

import polars as pl
import pytest

from tests.docs.markdown import DOCS, ROOT, blocks, examples, name, pages
from tfrecall._keras import keras
from tfrecall.config.recipes import config_from_text
from tfrecall.data import Interactions, synthetic
from tfrecall.data.datasets import cache

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

N_USERS, N_ITEMS, N_ROWS = 60, 60, 1500
# Ids that the pages name.
NAMED_ITEMS = ("50", "100", "172", "181")
# What a block that is a part of a recipe lacks.
SCHEMA = """
[schema]
query = [{ type = "categorical", column = "user_id" }]
candidate = [{ type = "categorical", column = "item_id" }]
"""
WITH_PYTHON = [page for page in pages() if blocks(page, "python")]
# Exports write, open and compare SavedModels; a pipeline trains two models, some guides one a block.
TAKES_TIME = ("tr.export(model", "tr.Pipeline(", "tr.fit(", "model.fit(")
RUNS = [
    pytest.param(
        page,
        id=name(page),
        marks=[pytest.mark.slow] * any(call in page.read_text("utf-8") for call in TAKES_TIME),
    )
    for page in WITH_PYTHON
]
WITH_TOML = [page for page in pages() if blocks(page, "toml")]


def small_movielens() -> Interactions:
    """A log with the columns of MovieLens-100K and a sixtieth of its rows."""
    data = synthetic(N_USERS, N_ITEMS, N_ROWS, seed=5)
    item_ids = [*NAMED_ITEMS, *(str(1000 + i) for i in range(N_ITEMS - len(NAMED_ITEMS)))]
    ids = pl.DataFrame({"item_id": data.items["item_id"], "new": item_ids})
    item, user, event = pl.int_range(N_ITEMS), pl.int_range(N_USERS), pl.int_range(pl.len())

    def renamed(frame: pl.DataFrame) -> pl.DataFrame:
        return (
            frame.join(ids, on="item_id", maintain_order="left")
            .drop("item_id")
            .rename({"new": "item_id"})
        )

    rating = (event % 5 + 1).cast(pl.Float64).alias("rating")
    return Interactions.from_frame(
        renamed(data.log).with_columns(pl.col("user_id").str.strip_prefix("u"), rating),
        users=data.users.select(
            pl.col("user_id").str.strip_prefix("u"),
            (user % 50 + 18).cast(pl.Float64).alias("raw_user_age"),
            pl.when(user % 2 == 0).then(pl.lit("F")).otherwise(pl.lit("M")).alias("user_gender"),
            pl.format("job {}", user % 4).alias("user_occupation_text"),
        ),
        items=renamed(data.items).select(
            "item_id",
            pl.format("Movie {} (19{})", item % 20, item % 40 + 60).alias("movie_title"),
            pl.format("Drama,Genre {}", item % 3).str.split(",").alias("movie_genres"),
        ),
        rating="rating",
        name="movielens-100k",
    )


@pytest.fixture(scope="module")
def small_cache(tmp_path_factory):
    """A cache of data sets in which `movielens-100k` is the small log."""
    folder = tmp_path_factory.mktemp("cache")
    cache.store(folder / "movielens-100k", small_movielens(), "made for the examples")
    return folder


@pytest.mark.parametrize("page", RUNS)
def test_python_blocks_run(page, small_cache, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TFRECALL_CACHE", str(small_cache))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    # As in a new process: Keras numbers the names of the models of one (two_tower_8).
    keras.backend.reset_uids()
    scope: dict[str, object] = {"__name__": "example"}
    for block, shown in examples(page):
        exec(compile(block, name(page), "exec"), scope)
        printed = capsys.readouterr().out
        if shown is not None:
            assert_same_text(printed, shown)


# Two runs on different processors differ in the last bits, and after training in the third digit.
TOLERANCE = 0.02


def assert_same_text(printed: str, shown: str) -> None:
    """Compare word by word; numbers may differ a little."""
    # An interval, 0.255-0.294, is two numbers.
    words, expected = (re.findall(r"[^\s-]+", text) for text in (printed, shown))
    assert len(words) == len(expected), printed
    for word, other in zip(words, expected, strict=True):
        if "." in other and other.replace(".", "").isdecimal():
            assert abs(float(word) - float(other)) <= TOLERANCE, printed
        else:
            assert word == other, printed


@pytest.mark.parametrize("printed", ["hits 0.26", "hits 0.23 0", "hit 0.23", "hits x"])
def test_other_output_than_the_page_shows_is_found(printed):
    assert_same_text("hits  0.22\n", "hits 0.23")
    with pytest.raises((AssertionError, ValueError)):
        assert_same_text(printed, "hits 0.23")


@pytest.mark.parametrize("page", WITH_TOML, ids=name)
def test_toml_blocks_are_settings_of_a_recipe(page):
    for block in blocks(page, "toml"):
        schema = "" if "schema" in tomllib.loads(block) else SCHEMA
        config_from_text(f"{block}\n{schema}", "example")


def test_guides_have_examples():
    guides = set((DOCS / "guides").glob("*.md"))
    assert guides <= set(WITH_PYTHON)
