"""A release of a model with repeats answers alike from Python, from the SavedModel and from a table."""

import json

import numpy as np
import polars as pl
import pytest

from tests.tiny import ANNOY
from tests.tiny_repeats import REPEATS, export_repeating
from tfrecall.errors import ConfigError, DataError, MissingColumnError
from tfrecall.exporting.signatures import TracedTower, save_retrieval
from tfrecall.release import load


@pytest.fixture(scope="module")
def repeating(request, release_copy):
    """The tiny model, exported as one whose users come back; its lists keep what they had."""

    def write(root):
        export_repeating(request.getfixturevalue("tiny_model"), root, index=ANNOY)

    return load(release_copy("tiny_repeating", write))


def saved_model_answer(release, user, k):
    """What `retrieval` says to the features and the history of a user."""
    import tensorflow as tf

    signature = tf.saved_model.load(str(release.root / "retrieval" / "1")).signatures["recommend"]
    asked = release.users.build_queries([user])
    history = release.item_ids[release.users.seen(int(asked.users[0]))]
    inputs = {name: tf.constant(values) for name, values in asked.features.items()}
    inputs |= {"history": tf.constant([history.tolist()]), "exclude": tf.constant([[""]])}
    answer = signature(k=tf.constant(k), **inputs)
    return [item.decode() for item in answer["candidate_ids"].numpy()[0]], answer["scores"].numpy()[0]


@pytest.mark.slow
def test_python_saved_model_and_table_of_scores_agree(repeating, tiny_log) -> None:
    user = "u3"
    (answer,) = repeating.recommend([user], k=8)
    ids, scores = saved_model_answer(repeating, user, 8)
    assert answer.item_ids == ids
    np.testing.assert_allclose(answer.scores, scores, rtol=1e-5)
    last = tiny_log.with_log(tiny_log.log.filter(pl.col("user_id") == user).tail(1)).queries
    (row,) = repeating.scores(last)
    best = np.argsort(-row, kind="stable")[:8]
    assert repeating.item_ids[best].tolist() == ids


def test_own_items_stand_where_their_weight_puts_them_with_either_index(repeating) -> None:
    past = repeating.users.seen(repeating.users.vocabulary.row("u3"))
    recent = set(repeating.item_ids[past[-3:]])
    for index in ("exact", "annoy"):
        (answer,) = repeating.recommend(["u3"], k=10, index=index)
        assert recent & set(answer.item_ids), "the bias of 3 lifts what was had"


def test_lists_keep_what_users_had_unless_they_are_asked_not_to(repeating, tiny_release) -> None:
    assert not repeating.exclude_seen
    had = set(repeating.item_ids[repeating.users.seen(repeating.users.vocabulary.row("u3"))])
    (default,) = repeating.recommend(["u3"], k=10)
    (without,) = repeating.recommend(["u3"], k=10, exclude_seen=True)
    assert had & set(default.item_ids)
    assert not had & set(without.item_ids)
    assert tiny_release.exclude_seen


def test_a_history_in_the_query_takes_the_place_of_what_is_known(repeating) -> None:
    (answer,) = repeating.recommend([{"user_id": "u3", "history": ["i7", "unheard of"]}], k=40)
    (plain,) = repeating.recommend([{"user_id": "u3", "history": []}], k=40)
    scores, plain_scores = (dict(zip(a.item_ids, a.scores, strict=True)) for a in (answer, plain))
    # The unknown item is the latest, i7 one event back: w = 2 ** -.7 * exp(-.01).
    expected = -0.7 * np.log(2) - 0.01 + 3.0 + 0.4 * plain_scores.pop("i7")
    assert scores.pop("i7") == pytest.approx(expected, rel=1e-5)
    assert scores == plain_scores


def test_a_stranger_may_bring_a_history(repeating) -> None:
    (answer,) = repeating.recommend([{"history": ["i7"]}], k=3)
    assert not answer.known
    assert answer.item_ids[0] == "i7"


def test_histories_that_cannot_be_used_are_refused(repeating, tiny_release) -> None:
    with pytest.raises(DataError, match="list of item ids"):
        repeating.recommend([{"user_id": "u3", "history": "i7"}])
    with pytest.raises(MissingColumnError, match="history"):
        tiny_release.recommend([{"user_id": "u3", "history": ["i7"]}])


def test_a_release_keeps_the_repeats_of_its_model(repeating) -> None:
    assert repeating.repeats == REPEATS
    assert json.loads((repeating.root / "manifest.json").read_text())["exclude_seen"] is False


def test_a_feature_called_history_is_refused(tiny_model, tmp_path, monkeypatch) -> None:
    spec = type(tiny_model.query_tower).signature
    with_history = property(lambda tower: {**spec.fget(tower), "history": None})
    monkeypatch.setattr(type(tiny_model.query_tower), "signature", with_history)
    with pytest.raises(ConfigError, match="Rename the column"):
        save_retrieval(
            TracedTower(tiny_model.query_tower),
            tiny_model.catalogue,
            tiny_model.embed_candidates(),
            5,
            str(tmp_path),
            REPEATS,
        )
