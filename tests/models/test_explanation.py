"""A model in training says the same of a row of the log as its release says of the user."""

import numpy as np
import polars as pl
import pytest

from tfrecall.evaluation.released import ReleaseRetriever
from tfrecall.index.repeats import Repeats
from tfrecall.models.explanation import explainer

ROWS = np.array([6, 2, 40])


def said(told):
    return [
        {reason.item_id or reason.feature: reason.contribution for reason in one.reasons}
        for one in told
    ]


def agree(one, other):
    assert [told.item_id for told in one] == [told.item_id for told in other]
    assert [told.user_id for told in one] == [told.user_id for told in other]
    for left, right in zip(said(one), said(other), strict=True):
        assert left == pytest.approx(right, rel=1e-4, abs=1e-5)
    for field in ("score", "base"):
        left, right = ([getattr(told, field) for told in some] for some in (one, other))
        assert left == pytest.approx(right, rel=1e-4, abs=1e-5)


def last_event(log, user):
    own = log.queries.filter(pl.col("user_id") == user)
    return own.sort("timestamp", maintain_order=True)[-1:]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tiny", "history", "context", "interest"])
def test_as_of_the_last_event_live_model_release_and_table_agree(kind, request):
    model, release = (request.getfixturevalue(f"{kind}_{what}") for what in ("model", "release"))
    log = request.getfixturevalue("tiny_log" if kind == "tiny" else "history_log")
    rows = ROWS[:2] if kind == "tiny" else ROWS
    query = last_event(log, "u2")
    live = explainer(model)(query, rows)
    agree(live, release.explanations("u2", release.item_ids[rows].tolist()))
    agree(live, ReleaseRetriever("same", release).explanations(query, rows))


def test_lists_in_the_table_take_the_place_of_the_log(history_model, history_release):
    lists = pl.DataFrame({"history": [["i1", "x", "i9"]], "liked": [["i3"]]})
    query = last_event(history_model.interactions, "u2").hstack(lists)
    asked = {column: query[column].to_list()[0] for column in ("user_id", "device", *lists.columns)}
    told = history_release.explanations(asked, history_release.item_ids[ROWS].tolist())
    agree(explainer(history_model)(query, ROWS), told)


def test_before_the_first_event_nothing_but_features_speaks(history_model, history_log):
    early = last_event(history_log, "u2").with_columns(timestamp=pl.lit(0, pl.Int64))
    (told,) = explainer(history_model)(early, ROWS[:1])
    assert all(reason.item_id is None for reason in told.reasons)


def test_what_repeats_weigh_goes_too(history_model, history_log):
    query = last_event(history_log, "u2")
    own = history_log.histories[history_log.user_vocabulary.rows(pl.Series(["u2"]))[0]][-1:]
    (plain,) = explainer(history_model)(query, own)
    history_model.repeats = Repeats(recency=0.5, bias=9.0, blend=1.0)
    try:
        (told,) = explainer(history_model)(query, own)
        expected = history_model.retriever().scores(query)[0, own[0]]
    finally:
        history_model.repeats = None
    assert told.score == pytest.approx(expected, rel=1e-5)
    # Without the item its score is that of the towers alone: nothing of the 9 is left.
    item = told.item_id
    gap = said([told])[0][item] - said([plain])[0][item]
    assert gap == pytest.approx(told.score - plain.score, abs=1e-4)
