"""Releases of Bayesian rankers: scores and their spread from one SavedModel."""

import json

import numpy as np
import pytest

from tests.commands import ask
from tests.tiny_ratings import DIM, SCHEMA
from tfrecall.errors import DataError
from tfrecall.exporting.ranker import export_ranker
from tfrecall.models.bayesian_ranker import BayesianRanker
from tfrecall.schema.features import Day, Schema
from tfrecall.schema.labels import Label
from tfrecall.training import fit

DAYS = Schema((*SCHEMA.query, Day(embedding_dim=DIM, per="user_id")), SCHEMA.candidate)


@pytest.fixture(scope="module")
def drawn(rating_log, tmp_path_factory):
    """A ranker of few draws and its release."""
    model = BayesianRanker(DAYS, 3, sweeps=1, label=Label("rating", 1, 5), name="drawn")
    fit(model, rating_log, epochs=4, verbose=0)
    return model, export_ranker(model, tmp_path_factory.mktemp("drawn") / "release")


@pytest.mark.slow
def test_a_release_has_the_scores_and_the_spread_of_the_model(drawn):
    model, release = drawn
    users, items = ["u3", "u8", "absent", "nobody"], ["i1", "i2", "i3", "i1"]
    assert release.predict(users, items) == pytest.approx(model.scores(users, items), abs=1e-5)
    spread = release.spread(users, items)
    assert spread == pytest.approx(model.spreads(users, items), abs=1e-5)
    assert spread.dtype == np.float32
    assert (spread > 0.3).all()
    assert len(release.spread(["u3"], [])) == 0
    assert release.manifest["model"]["draws"] == 3


@pytest.mark.slow
def test_the_command_shows_the_spread(drawn):
    _, release = drawn
    said = ask("rank", str(release.root), "--user", "u3", "--items", "i1,i2", "--json")
    rows = json.loads(said.stdout)["scores"]
    assert [row["spread"] for row in rows] == pytest.approx(
        release.spread(["u3"], [row["item_id"] for row in rows]).tolist()
    )


def test_a_release_of_gradients_has_no_spread(rating_release):
    with pytest.raises(DataError, match=r"no spread.*BayesianRanker"):
        rating_release.spread(["u3"], ["i1"])
