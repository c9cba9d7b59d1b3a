"""A whole run without a recipe: networks train in turns, and the winner's recipe alone gives the same model."""

import json

import numpy as np
import polars as pl
import pytest

from tests.commands import ask
from tfrecall.release import load

pytestmark = pytest.mark.slow


def log_in_sequence(n_users=400, n_items=60, seed=0):
    """Users who go from item to item: seven in ten of the next ones are the one after."""
    random, rows = np.random.default_rng(seed), []
    for user in range(n_users):
        item = int(random.integers(n_items))
        for event in range(6 + int(random.integers(6))):
            rows.append((f"u{user}", f"i{item}", 1_600_000_000 + 3_600 * (24 * event) + user))
            item = (item + 1 if random.random() < 0.7 else int(random.integers(n_items))) % n_items
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    return frame.unique(["user_id", "item_id"], keep="first", maintain_order=True)


def test_the_recipe_of_the_winner_gives_the_same_model_alone(tmp_path):
    log_in_sequence().write_csv(tmp_path / "log.csv")
    settings = ("training.epochs=3", "index.n_trees=5", "evaluation.ks=[1,10]")
    options = ["--allow-worse", "--json"]
    command = ["run", "--data", tmp_path / "log.csv", *(f"--set={one}" for one in settings), *options]
    # A budget of nothing to speak of: a network stops after its first epoch, and the winner goes on.
    first = json.loads(ask(*command, "--budget", "20s", "--out", tmp_path / "out").stdout)
    told = {one["name"]: one for one in first["tournament"]["entrants"]}
    assert told["user_id"]["state"] == "not invited"
    assert {"history", "item_transitions", "popularity"} <= {
        n for n, one in told.items() if "score" in one
    }
    alone = ["run", tmp_path / "out" / "config.toml", "--out", tmp_path / "alone", *options]
    again = json.loads(ask(*alone).stdout)
    assert again["test"] == first["test"]
    assert again["training"] == first["training"]
    users = ["u1", "u2", "u3"]
    ours, theirs = load(tmp_path / "out"), load(tmp_path / "alone")
    for one, other in zip(ours.recommend(users, 5), theirs.recommend(users, 5), strict=True):
        assert (one.item_ids, one.scores) == (other.item_ids, other.scores)
