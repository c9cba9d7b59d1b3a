"""Which figures lead a table follows from the lengths of lists that were measured."""

import pytest

from tfrecall.evaluation.summary import primary_metrics


def measured(*ks):
    names = [f"{metric}@{k}" for metric in ("hit_rate", "ndcg", "user_recall") for k in ks]
    return [*names, "mrr"]


@pytest.mark.parametrize(
    ("ks", "leading"),
    [
        ((1, 5, 10, 20, 50, 100), "hit_rate@10 hit_rate@50 hit_rate@100 ndcg@10 mrr user_recall@20"),
        ((10, 20, 50, 100), "hit_rate@10 hit_rate@50 hit_rate@100 ndcg@10 mrr user_recall@20"),
        ((10, 50, 100, 200), "hit_rate@10 hit_rate@50 hit_rate@200 ndcg@10 mrr"),
        ((30, 60), "hit_rate@30 hit_rate@60 ndcg@30 mrr"),
        ((3, 5), "hit_rate@5 ndcg@5 mrr"),
        ((50,), "hit_rate@50 ndcg@50 mrr"),
    ],
)
def test_short_middle_and_longest(ks, leading):
    assert primary_metrics(measured(*ks)) == leading.split()
    assert primary_metrics(reversed(measured(*ks))) == leading.split()


def test_means_over_users_can_be_left_out():
    assert primary_metrics(measured(10, 20), of_users=False) == [
        "hit_rate@10",
        "hit_rate@20",
        "ndcg@10",
        "mrr",
    ]


def test_what_was_not_computed_does_not_lead():
    assert primary_metrics(["hit_rate@10"]) == ["hit_rate@10"]
    assert primary_metrics([]) == []
