"""What is said about a log is what is in it, also about one that a run would refuse."""

import json
import re

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from tfrecall.cli import app
from tfrecall.data import describe
from tfrecall.data.inspection.profiles import gini, top_share
from tfrecall.errors import DataError
from tfrecall.report.plots import log_picture

EVENTS = pl.DataFrame(
    {
        "customer_id": ["a", "a", "a", "b", "b", "c"],
        "sku": ["x", "x", "y", "x", "y", "x"],
        "bought_at": [
            "2024-05-01",
            "2024-05-01",
            "2024-05-03",
            "2024-05-02",
            "2024-05-04",
            "2024-05-11",
        ],
        "stars": [5, 5, 1, 3, 4, 2],
        "till": [1, 2, 1, 1, 1, 1],
        "shop": ["north"] * 6,
    }
)
# The last event was logged twice.
LOG = EVENTS.vstack(EVENTS[-1:])
ITEMS = pl.DataFrame({"sku": ["x", "z", "w"], "title": ["Tea", None, "Mug"], "note": [None] * 3})


@pytest.fixture
def found():
    return describe(LOG, items=ITEMS)


def test_sizes_and_repetitions(found):
    assert (found.rows, found.usable_rows, found.users, found.items) == (7, 6, 3, 2)
    assert found.density == 5 / (3 * 2)  # a-x, a-y, b-x, b-y, c-x
    assert found.repeated_share == pytest.approx(1 / 6)  # a bought x twice
    assert (found.exact_duplicates, found.dropped_duplicates) == (1, 1)
    assert "1 of 7 rows of the log (14.3%) repeat another row in every column" in found.cleaned[0]
    assert found.single_event_users == 1
    assert found.equal_times == pytest.approx(2 / 6)


def test_times_and_ratings(found):
    assert found.time == {"first": "2024-05-01T00:00:00", "last": "2024-05-11T00:00:00", "days": 10}
    assert found.rating["mean"] == pytest.approx(20 / 6)
    assert found.rating["values"] == {"1": 1, "2": 1, "3": 1, "4": 1, "5": 2}


def test_distributions(found):
    assert found.history_lengths["mean"] == 2  # 3, 2, 1
    assert (found.history_lengths["min"], found.history_lengths["max"]) == (1, 3)
    assert found.popularity["max"] == 4
    assert found.popularity["gini"] == pytest.approx(2 * (1 * 2 + 2 * 4) / (2 * 6) - 3 / 2)


def test_gaps_between_log_and_table(found):
    assert found.missing == {"items": {"ids": 1, "events": 2}}  # y
    assert found.never_seen == {"items": 2}  # z and w
    assert "1 items of the log (33.3% of the events) are not in the item table" in " ".join(
        found.advice
    )
    assert "An inferred run keeps them without features" in " ".join(found.advice)
    assert found.refused == ()


def test_empty_and_constant_columns_are_named(found):
    assert "log.shop (constant), items.note (empty)" in " ".join(found.advice)


def test_guesses_are_said(found):
    assert [said.split('"')[1] for said in found.guessed] == [
        "customer_id",
        "sku",
        "bought_at",
        "stars",
    ]


def test_a_log_that_is_refused_is_described_as_far_as_possible():
    log = pl.DataFrame(
        {
            "user_id": ["a", None, "b", "b", " "],
            "item_id": ["x", "x", "y", "x", "y"],
            "timestamp": ["2024-05-01", "2024-05-01", "soon", "2024-05-01", None],
            "discount": [0.1, 0.2, float("nan"), 0.3, 0.4],
        }
    )
    users = pl.DataFrame({"user_id": ["a", "a"]})
    found = describe(log, users=users)
    assert (found.rows, found.usable_rows, found.users) == (5, 3, 2)
    assert found.time is None
    said = " | ".join(found.refused)
    for text in ('cannot be read: 1 of 3 rows, the first is row 2: "soon"', "duplicate ids"):
        assert text in said
    assert len(found.refused) == 2
    assert [text.split(" of the log")[0] for text in found.cleaned[:1]] == ["2 of 5 rows"]
    assert found.cleaned[1].startswith("log.discount is not read: ")


def test_a_log_that_can_be_used_is_refused_nothing():
    assert describe(LOG).refused == ()


def test_a_log_without_any_event_is_refused():
    with pytest.raises(DataError, match="no row with a user and an item"):
        describe(LOG.with_columns(sku=pl.lit(None, pl.String)), item_id="sku")


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (LOG, "Split: leave_last_out"),
        (LOG.unique("customer_id", maintain_order=True), "Split: by_time. 100% of the users have one"),
        (
            LOG.unique("customer_id", maintain_order=True).with_columns(bought_at=pl.lit("2024-05-01")),
            "Split: random",
        ),
        (LOG, "17% of the events repeat an item that the user had before: people come back"),
        (LOG.unique(["customer_id", "sku"]), "0% of the events repeat an item"),
        (LOG.drop("bought_at"), "There are no times"),
    ],
)
def test_advice_follows_the_figures(log, said):
    assert said in " ".join(describe(log).advice)


@pytest.mark.parametrize(("in_baskets", "advised"), [(4, False), (5, False), (6, True)])
def test_equal_times_are_advised_on_where_most_events_have_them(in_baskets, advised):
    # User a has one basket of `in_baskets` events at time 0; the rest of the ten come one at a time.
    seconds = [0] * in_baskets + list(range(1, 11 - in_baskets))
    log = pl.DataFrame({"user_id": list("a" * 9 + "b"), "item_id": list("stuvwxyzst"), "time": seconds})
    description = describe(log)
    assert description.equal_times == in_baskets / 10
    assert any("at the same time as another" in text for text in description.advice) == advised


def advice_on(**columns):
    return " | ".join(describe(pl.DataFrame(columns)).advice)


def test_ratings_that_are_no_likes_are_said_with_the_filter():
    # 2 of 5 are zero or below; the least above is 0.5.
    log = {"user_id": list("aabbc"), "item_id": list("xyxyx"), "time": [1, 2, 3, 4, 5]}
    said = advice_on(**log, rating=[-1.0, 0.0, 0.5, 1.0, 2.0])
    assert "40% of the ratings are zero or negative" in said
    assert "min_rating=0.5 leaves them out" in said
    assert "zero or negative" not in advice_on(**log, rating=[0.5, 1.0, 2.0, 2.0, 2.0])
    assert "zero or negative" not in advice_on(**log, rating=[-1, -1, -2, -1, -2])


def test_the_huge_user_is_named_with_the_setting_that_leaves_it_out():
    # 50 users of 20 events, one of 2,100: 100 times the median and more.
    users = [f"u{k % 50}" for k in range(1_000)] + ["till"] * 2_100
    log = {"user_id": users, "item_id": [f"i{k % 30}" for k in range(3_100)], "time": range(3_100)}
    said = advice_on(**log)
    assert 'User "till" has 2,100 events (68% of all), the median user 20' in said
    assert "max_user_interactions=20 leaves it out" in said
    assert "max_user_interactions" not in advice_on(
        **{**log, "user_id": [f"u{k % 50}" for k in range(3_100)]}
    )


def test_a_huge_user_of_a_small_log_is_known_by_its_share():
    users = [f"u{k % 30}" for k in range(300)] + ["till"] * 150
    log = {"user_id": users, "item_id": [f"i{k % 9}" for k in range(450)], "time": range(450)}
    assert 'User "till" has 150 events (33% of all)' in advice_on(**log)


@pytest.mark.parametrize(
    ("name", "values", "offered"),
    [
        ("plays", [1, 2, 3, 4, 5], True),
        ("playCount", [1, 2, 3, 4, 5], True),
        ("plays", [1, 1, 1, 1, 1], False),  # says nothing
        ("plays", [1, 2, 3, 4, -5], False),  # no count
        ("plays", [1.5, 2.0, 3.0, 4.0, 5.0], False),
        ("shelf", [1, 2, 3, 4, 5], False),
    ],
)
def test_a_column_that_counts_is_offered_as_weight(name, values, offered):
    log = {"user_id": list("aabbc"), "item_id": list("xyxyx"), "time": [1, 2, 3, 4, 5], name: values}
    assert (f'weight="{name}" weighs events by it' in advice_on(**log)) == offered


def test_baskets_are_seen_where_users_come_again():
    def log(visits, items):
        rows = [(u, i, v) for u in range(30) for v in range(visits) for i in range(items)]
        frame = pl.DataFrame(rows, schema=["user_id", "item", "time"], orient="row")
        return frame.with_columns(item_id=pl.format("i{}", pl.col("item") + pl.col("time")))

    found = describe(log(3, 4).drop("item"))
    assert (found.in_baskets, found.basket_items, found.single_visit_users) == (True, 4.0, 0)
    assert "last basket is the test" in " ".join(found.advice)
    for visits, items in ((3, 1), (1, 4)):  # single items; users who never come back
        assert not describe(log(visits, items).drop("item")).in_baskets


def test_days_of_a_spreadsheet_are_doubted_and_not_all_equal():
    # As seconds all lie within the second 1970-01-01T11:58:21.
    log = pl.DataFrame(
        {"user_id": list("aab"), "item_id": list("xyx"), "date": [43101.0, 43101.5, 43101.9]}
    )
    description = describe(log)
    assert not description.all_times_equal
    assert "read as days of a spreadsheet, from 2018-01-01 to 2018-01-01" in description.guessed[-1]


@pytest.mark.slow
def test_movielens_folders_and_interactions_are_described(movielens_folder, tiny_log):
    found = describe(movielens_folder / "ml-100k")
    assert (found.rows, found.users, found.items, found.refused) == (100_000, 943, 1_682, ())
    assert describe(tiny_log).never_seen["users"] == 1  # the absent user


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30))
def test_the_gini_coefficient_is_the_mean_difference(counts):
    # Half the relative mean absolute difference of all pairs, which is its definition.
    counts = np.array(counts)
    pairs = np.abs(counts[:, np.newaxis] - counts).mean()
    wanted = pairs / (2 * counts.mean()) if counts.any() else 0
    assert gini(counts) == pytest.approx(wanted)
    assert top_share(counts, 1.0) == pytest.approx(1.0 if counts.any() else 0)


# At the command line


@pytest.fixture
def file(tmp_path):
    LOG.write_csv(tmp_path / "log.csv")
    return tmp_path / "log.csv"


def ask(*arguments, status=0):
    result = CliRunner().invoke(app, ["data", "describe", *map(str, arguments)])
    assert result.exit_code == status, result.output
    return result


def test_the_command_prints_tables_and_advice(file):
    shown = ask(file).stdout
    assert "events of a user" in shown
    assert "Advice:\n- 6 events of 3 users with 2 items: very few." in shown
    assert "Cleaned:\n- 1 of 7 rows" in shown


def test_the_command_gives_json_of_everything(file):
    answer = json.loads(ask(file, "--json").stdout)
    assert answer["columns"]["item_id"] == "sku"
    assert {"refused", "guessed", "advice", "profiles", "popularity"} <= set(answer)
    assert "arrays" not in answer


@pytest.mark.slow
def test_the_command_draws_a_picture(file, tmp_path):
    for name in ("a.svg", "a.html"):
        ask(file, "--picture", tmp_path / name)
        assert (tmp_path / name).stat().st_size > 5_000


def test_another_format_is_refused_before_the_log_is_read():
    refused = ask("no_such_file.csv", "--picture", "log.png", status=1)
    assert "Name it log.svg" in refused.stderr


def test_the_picture_counts_every_event_user_and_rating(found):
    drawn = log_picture(found).panels
    assert [panel.label for panel in drawn] == [
        "events over time",
        "users by length of history",
        "share of the events by item, Gini 0.17",
        "events by rating",
    ]
    counts = [sum(map(int, re.findall(r": (\d+)</title>", "".join(panel.content)))) for panel in drawn]
    assert counts == [6, 3, 0, 6]
    assert ">2024-05-11</text>" in "".join(drawn[0].content)


def test_times_out_of_the_calendar_and_a_log_without_times_are_drawn():
    counters = EVENTS.with_columns(bought_at=pl.Series(range(6), dtype=pl.Int64) * 10**14)
    assert "as the log counts it" in "".join(log_picture(describe(counters)).panels[0].content)
    timeless = log_picture(describe(EVENTS.drop("bought_at", "stars")))
    assert [panel.label for panel in timeless.panels if panel.content] == [
        "users by length of history",
        "share of the events by item, Gini 0.17",
    ]


def test_a_named_column_that_is_not_there_is_refused(file):
    assert 'no column "skus"' in ask(file, "--item-column", "skus", status=1).stderr
