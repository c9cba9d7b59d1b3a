"""Negatives from a release stand between the ranks asked for of its own lists, and nobody has them."""

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.progress import RecordedProgress
from tfrecall.baselines.item_cf import ItemCF
from tfrecall.baselines.popularity import Popularity
from tfrecall.data import Interactions
from tfrecall.errors import ConfigError, DataError, ReleaseError
from tfrecall.exporting.export import export
from tfrecall.schema.negatives import Hard
from tfrecall.training.inputs import mining as released_negatives
from tfrecall.training.inputs.mining import ReleasedItems

RANKS = (3, 7)


def hard(**settings):
    return Hard(**{"ranks": RANKS, "per_positive": 6, "release": "somewhere", **settings})


def items(log, release, rows=None, progress=None, **settings):
    rows = np.arange(len(log)) if rows is None else rows
    return ReleasedItems(log, hard(**settings), rows, release, progress)


def listed(release, log, exclude_known):
    """For each user item rows in the order in which the release lists all that it has, without the user's."""
    users, ids = log.log["user_id"].unique().to_list(), log.items["item_id"].to_list()
    answers = release.recommend(users, len(release.item_ids), exclude_seen=False)
    lists = {}
    for user, answer in zip(users, answers, strict=True):
        had = set(log.log.filter(user_id=user)["item_id"]) if exclude_known else set()
        lists[user] = [ids.index(item) for item in answer.item_ids if item not in had]
    return lists


def check_places(log, release, drawn, exclude_known=True, ranks=RANKS):
    seen_a_draw, lists = False, listed(release, log, exclude_known)
    for row, (user, item) in enumerate(log.log.select("user_id", "item_id").iter_rows()):
        wanted = lists[user][ranks[0] - 1 : ranks[1]]
        target = log.items["item_id"].to_list().index(item)
        assert set(drawn[row].tolist()) - {-1} <= set(wanted) - {target}
        if set(wanted) - {target}:
            seen_a_draw |= bool((drawn[row] >= 0).any())
        else:
            assert (drawn[row] == -1).all()
        if wanted and target not in wanted:
            assert (drawn[row] >= 0).all()
    assert seen_a_draw


@pytest.mark.parametrize("exclude_known", [True, False])
@pytest.mark.parametrize("block", [1, 100, 1 << 20])
def test_towers_give_items_of_their_places(tiny_log, tiny_release, monkeypatch, exclude_known, block):
    monkeypatch.setattr(released_negatives, "BLOCK_PLACES", block)
    log = tiny_log.with_log(tiny_log.log[::7])
    drawn = items(log, tiny_release, exclude_known=exclude_known).draw(
        np.arange(len(log)), np.random.default_rng(1)
    )
    assert (drawn.shape, drawn.dtype) == ((len(log), 6), np.int32)
    check_places(log, tiny_release, drawn, exclude_known)


def test_nobody_gets_what_this_log_says_that_they_have(tiny_log, tiny_release):
    drawn = items(tiny_log, tiny_release, ranks=(1, 30)).draw(
        np.arange(len(tiny_log)), np.random.default_rng(1)
    )
    had = set(zip(tiny_log.user_rows.tolist(), tiny_log.item_rows.tolist(), strict=True))
    found = {(user, item) for user, row in zip(tiny_log.user_rows, drawn, strict=True) for item in row}
    assert len(found) > 100
    assert not had & found


@pytest.fixture(scope="module")
def item_cf(tiny_log, tmp_path_factory):
    return export(ItemCF().fit(tiny_log), tmp_path_factory.mktemp("released") / "item_cf")


def test_baselines_and_their_short_lists_give_items_too(tiny_log, item_cf):
    """ItemCF leaves items of score 0 out, so some lists end early."""
    log = tiny_log.with_log(tiny_log.log[::5])
    sampler = items(log, item_cf, ranks=(12, 25))
    drawn = sampler.draw(np.arange(len(log)), np.random.default_rng(1))
    check_places(log, item_cf, drawn, ranks=(12, 25))


def test_users_whose_lists_are_too_short_are_told():
    log = Interactions.from_frame(
        pl.DataFrame({"user_id": ["u", "v", "v"], "item_id": ["a", "a", "b"], "timestamp": [1, 2, 3]}),
        items=pl.DataFrame({"item_id": list("abcde")}),
    )

    class Short:
        """Lists b and c for u, c alone for v."""

        root, item_ids = "short", np.array(list("abcde"), dtype=object)
        users = SimpleNamespace(
            rows_of=lambda ids: np.array(["uv".index(i) for i in ids]), seen_offsets=np.array([0, 1, 3])
        )

        def find(self, ids, k, **_):
            rows = {"u": [1, 2], "v": [2, -1]}
            return None, SimpleNamespace(rows=np.array([rows[user] for user in ids]))

    sampler = items(log, Short(), ranks=(2, 3), per_positive=3)
    assert "shorter than 2 for 1 of 2 users, whose targets stand without" in sampler.notes[0]
    drawn = sampler.draw(np.arange(3), np.random.default_rng(0))
    assert drawn.tolist() == [[2] * 3, [-1] * 3, [-1] * 3]


@pytest.mark.slow
@given(seed=st.integers(0, 99), first=st.integers(1, 10), width=st.integers(0, 8))
def test_the_places_are_those_of_any_release(seed, first, width):
    """Random scores of 15 items, of which the release has 3 more and some users have many."""
    random = np.random.default_rng(seed)
    users, ids = [f"u{i}" for i in range(6)], [f"i{i}" for i in range(15)]
    pairs = [(u, i) for u in users for i in random.choice(ids, random.integers(1, 10))]
    log = Interactions.from_frame(
        pl.DataFrame(pairs, schema=["user_id", "item_id"], orient="row").with_row_index("timestamp"),
        items=pl.DataFrame({"item_id": ids}),
    )
    theirs = random.permutation([*ids, "x", "y", "z"])
    scores = {user: random.normal(size=18) for user in users}

    def find(asked, k, *, exclude_seen, allow):
        assert not exclude_seen
        orders = []
        for user in asked:
            order = [row for row in np.argsort(-scores[user]) if theirs[row] in allow]
            orders.append((order + [-1] * 18)[:k])
        return None, SimpleNamespace(rows=np.array(orders))

    stored = SimpleNamespace(rows_of=lambda i: np.arange(len(i)), seen_offsets=np.arange(7))
    release = SimpleNamespace(root="r", item_ids=theirs.astype(object), users=stored, find=find)
    ranks = (min(first, 14), min(first + width, 14))
    drawn = items(log, release, ranks=ranks).draw(np.arange(len(log)), random)
    for row, user in enumerate(log.log["user_id"]):
        had = set(log.log.filter(user_id=user)["item_id"])
        order = [theirs[i] for i in np.argsort(-scores[user])]
        left = [ids.index(item) for item in order if item in ids and item not in had]
        wanted = left[ranks[0] - 1 : ranks[1]] or [-1]
        assert set(drawn[row].tolist()) <= set(wanted)


def test_progress_is_told(tiny_log, tiny_release, monkeypatch):
    monkeypatch.setattr(released_negatives, "MOST_USERS", 25)
    progress = RecordedProgress()
    items(tiny_log, tiny_release, progress=progress)
    assert progress.notes[0].startswith("Asking ")
    assert [count[1:] for count in progress.counts] == [(n, 60, "users") for n in (25, 50, 60)]


# Refusals


def test_items_that_the_release_does_not_know_are_refused(tiny_log, tiny_release):
    more = pl.concat([tiny_log.items, tiny_log.items[:2].with_columns(item_id=pl.Series(["n1", "n2"]))])
    log = Interactions(tiny_log.log, tiny_log.users, more)
    with pytest.raises(
        DataError, match=r'does not know 2 of 42 items, such as "n1".*leave `release` out'
    ):
        items(log, tiny_release)


def test_users_that_the_release_did_not_learn_from_are_refused(tiny_log, tiny_release):
    """One is in its user table, and one is nowhere."""
    people = tiny_log.users[:1].with_columns(user_id=pl.lit("nobody"))
    log = Interactions(
        tiny_log.log.with_columns(
            user_id=pl.Series(["nobody", "absent", *tiny_log.log["user_id"][2:]])
        ),
        pl.concat([tiny_log.users, people]),
        tiny_log.items,
    )
    with pytest.raises(DataError, match=r"no training rows of 2 of 6\d users, such as"):
        items(log, tiny_release)
    items(
        log, tiny_release, rows=np.arange(2, len(log))
    )  # of whom nothing is learned, nothing is asked


def test_places_beyond_the_catalogue_are_refused(tiny_log, tiny_release):
    with pytest.raises(ConfigError, match="`ranks` must end at 39 or before"):
        items(tiny_log, tiny_release, ranks=(5, 40))


# Training


@pytest.mark.slow
def test_a_model_learns_from_the_lists_of_a_release(tiny_log, tmp_path):
    """Each batch has negatives of the places, the same in each run; a lost release is refused first."""
    from tfrecall.core.vocabulary import FIRST
    from tfrecall.models.dssm import DSSM
    from tfrecall.schema.features import Categorical, Schema
    from tfrecall.tasks.pairwise import Pointwise
    from tfrecall.training import fit
    from tfrecall.training.inputs.examples import TrainingExamples

    root = export(Popularity().fit(tiny_log), tmp_path / "popularity").root
    schema = Schema(query=[Categorical("user_id", 4)], candidate=[Categorical("item_id", 4)])

    def model(release):
        negatives = Hard(ranks=RANKS, release=release, per_positive=2)
        return DSSM(schema, task=Pointwise(negatives=negatives), layer_sizes=[4])

    progress = RecordedProgress()
    fitted = model(root)
    fit(fitted, tiny_log, epochs=1, batch_size=256, verbose=0, progress=progress)
    assert any("Asking" in text for text in progress.notes)
    examples = TrainingExamples(fitted, tiny_log, 64)
    first, same, next_one = ([*examples.batches(epoch)] for epoch in (0, 0, 1))
    for batch, equal in zip(first, same, strict=True):
        np.testing.assert_array_equal(batch["negatives"], equal["negatives"])
    assert any(
        (a["negatives"] != b["negatives"]).numpy().any() for a, b in zip(first, next_one, strict=True)
    )
    counts = np.bincount(tiny_log.item_rows, minlength=40)
    order = np.argsort(-counts, kind="stable")
    places = {  # of each user, by popularity
        user: order[~np.isin(order, tiny_log.item_rows[tiny_log.user_rows == user])][2:7]
        for user in range(60)
    }
    allowed = {int(item) for user in places for item in places[user]}
    drawn = {int(index) - FIRST for batch in first for index in batch["negatives"].numpy().ravel()}
    assert drawn <= allowed
    with pytest.raises(ReleaseError, match="nothing"):
        fit(model(tmp_path / "nothing"), tiny_log, epochs=1, verbose=0)
