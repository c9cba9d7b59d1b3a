"""ItemCF on MovieLens-1M, fitted and evaluated, against plain loops that count what occurs together."""

import argparse
from collections import defaultdict

import numpy as np

import tfrecall as tr
from benchmarks.measure import movielens_folder, report, seconds_of
from tfrecall.data import Interactions, movielens, split_by_time, split_leave_last_out

ROUNDS = 2
MOMENT = "2003-01-01"
SEED = 0

Counts = dict[int, dict[int, int]]


def histories(train: Interactions) -> list[list[int]]:
    """The distinct items of each user."""
    past = train.histories
    return [list(dict.fromkeys(past[user].tolist())) for user in range(len(past))]


def by_loop(users: list[list[int]]) -> Counts:
    """How many users have both of two items, counted as tutorials do: a pair at a time."""
    both: Counts = defaultdict(lambda: defaultdict(int))
    for items in users:
        for one in items:
            for other in items:
                if one != other:
                    both[one][other] += 1
    return both


def check_equal(train: Interactions, users: np.ndarray) -> None:
    """Refuses to compare what is not the same: cosines from the counts of the loop, and ItemCF's."""
    ids = train.users["user_id"].gather(users)
    part = train.with_log(train.log.filter(train.log["user_id"].is_in(ids.implode())))
    counts = np.bincount([item for items in histories(part) for item in items])
    scorer = tr.ItemCF().fit(part).answers.scorer
    for one, row in by_loop(histories(part)).items():
        expected = np.zeros(part.items.height)
        for other, both in row.items():
            expected[other] = both / np.sqrt(counts[one] * counts[other])
        np.testing.assert_allclose(scorer.similar(one), expected, rtol=1e-5)


def fit_and_evaluate(train: Interactions, test: Interactions) -> tr.ItemCF:
    """What a table of baselines needs, from a log whose ids are looked up."""
    model = tr.ItemCF().fit(train)
    tr.evaluate(model, test, seen=train, baselines=False)
    return model


def main() -> None:
    """The loop is measured on some users; the time of all is by pairs, of which it visits each once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample-users", type=int, default=300, help="users that the loop is given")
    users_of_sample = parser.parse_args().sample_users
    data = movielens("1m", movielens_folder("1m"))
    train, test = split_by_time(data, MOMENT, known_users=True)
    last = split_leave_last_out(data, validation=False)
    everyone = histories(train)
    pairs = np.array([len(items) * (len(items) - 1) for items in everyone], dtype=np.int64)
    there = np.flatnonzero(pairs)
    drawn = np.random.default_rng(SEED).choice(there, min(users_of_sample, len(there)), replace=False)
    check_equal(train, drawn[:20])
    sample = [everyone[user] for user in drawn]
    loop = min(seconds_of(lambda: by_loop(sample)) for _ in range(ROUNDS))
    fit = min(seconds_of(lambda: tr.ItemCF().fit(train)) for _ in range(ROUNDS))
    ours = min(seconds_of(lambda: fit_and_evaluate(train, test)) for _ in range(ROUNDS))
    whole = min(seconds_of(lambda: fit_and_evaluate(last.train, last.test)) for _ in range(ROUNDS))
    of_all = loop * float(pairs.sum() / pairs[drawn].sum())
    report(
        "item_cf",
        test_rows=len(test),
        seconds=ours,
        fit_seconds=fit,
        last_out_rows=len(last.test),
        last_out_seconds=whole,
        loop_users=len(drawn),
        loop_share_of_pairs=float(pairs[drawn].sum() / pairs.sum()),
        loop_seconds=loop,
        loop_seconds_of_all=of_all,
        ratio=of_all / fit,
    )


if __name__ == "__main__":
    main()
