"""Every table of the commands fits terminals of 80 and of 40 columns."""

import io

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from tfrecall.cli import tables
from tfrecall.cli.console import show
from tfrecall.cli.narrow import fitted
from tfrecall.core.seen import Seen
from tfrecall.data import describe

ID = "9780679783268-978067978326"
RETRIEVAL = {
    "hit_rate@10": 0.284,
    "hit_rate@50": 0.589,
    "hit_rate@100": 0.746,
    "ndcg@10": 0.1,
    "mrr": 0.1,
}
BOTH = {Seen.KEPT: RETRIEVAL, Seen.REMOVED: RETRIEVAL}
BASELINES = dict.fromkeys(("popularity", "item_cf", "own_most_frequent", "own_most_recent"), BOTH)
RUN = {
    "model": "two_tower",
    "recipe": "a_recipe_of_somebody_with_a_long_name",
    "data": {"test_rows": 1999},
    "targets_had": 424,
}
ITEMS = [
    {
        "item_id": "SKU4451",
        "score": -1234.5,
        "title": "Bergdorf Light Sparkling Rose",
        "tags": ["vegan"],
    },
    {"item_id": ID, "score": 3.994, "title": "千と千尋の神隠し " * 20, "tags": ["vegan", "refill"] * 9},
]
INTERVAL = {"difference": -0.0123, "low": -0.0345, "high": 0.0012, "excludes_zero": True}
GAINED = [
    {"item_id": ID, "title": "Rosencrantz and Guildenstern", "users": 12345, "train_rows": 1234567}
]
COMPARISON = {
    "rows": 1999,
    "users": 1234,
    "targets_had": 424,
    "leading": Seen.KEPT,
    "reference": "two_tower",
    "k": 10,
    "models": {"two_tower": BOTH, "two_tower_of_yesterday": BOTH},
    "baselines": BASELINES,
    "differences": {
        "two_tower_of_yesterday": {
            "common": 0.5,
            "gained": GAINED,
            "lost": GAINED,
            "intervals": dict.fromkeys(BOTH, dict.fromkeys(RETRIEVAL, INTERVAL)),
        }
    },
}
SEARCH = {
    "metric": "hit_rate@10",
    "best": {
        "settings": {"training.epochs": 3, "model.layer_sizes": [64, 32], "task.temperature": 0.1}
    },
    "trials": [
        {
            "number": 12,
            "state": "complete",
            "value": 0.2842,
            "seconds": 1234.5,
            "settings": {"training.epochs": 3, "model.layer_sizes": [64], "task.temperature": 0.12345},
        },
        {"number": 13, "state": "pruned", "settings": {}},
    ],
}
FIGURES = {"hit_rate@10": 0.123, "hit_rate@100": 0.456, "ndcg@10": 0.07}
TOURNAMENT = {
    "rows": 10_000,
    "rule": "seen_kept",
    "chosen": "history, repeats",
    "because": "history, repeats is chosen: 1.061 (+-0.013) of the best that counts.",
    "metrics": list(FIGURES),
    "entrants": [
        {"name": "recent_popularity, 30 days", "score": 0.444, "epochs": 0, "figures": FIGURES},
        {"name": "ease", "state": "not invited", "why": "inverses take 184 s", "epochs": 0},
        {"name": "history, repeats", "score": 1.061, "epochs": 12, "figures": FIGURES},
    ],
}
SUMMARY = {"folds": [0.1, 0.2, 0.3, 0.4, 0.5], "mean": 0.3, "spread": 0.05}
FOLDS = {
    "seen": "seen_kept",
    "folds": 5,
    "figures": {name: {"hit_rate@10": SUMMARY} for name in ("two_tower", "own_most_frequent")},
}
TUNING = [
    {"search_k": 1500, "recall": 0.95, "mean_ms": 0.12, "p95_ms": 0.2, "exact_ms": 1.2},
]


@pytest.fixture(scope="module")
def description(tmp_path_factory):
    file = tmp_path_factory.mktemp("log") / "purchases.csv"
    rows = [f"customer-{i % 7},product-{i % 5},2024-01-{i % 28 + 1:02},{i}" for i in range(60)]
    file.write_text("\n".join(["user_id,item_id,timestamp,a_column_of_a_long_name", *rows]), "utf-8")
    return describe(file)


def all_tables(description):
    figures = {"rmse": 0.91234, "mae": 0.7, "auc": 0.8, "log_loss": 0.61, "ndcg@10": 0.5}
    ranked = {**RUN, "model": "ranker", "test": figures, "baselines": {"own_most_frequent": figures}}
    return {
        "metrics": [tables.metric_table({**RUN, "test": BOTH, "baselines": BASELINES})],
        "ranking": [tables.ranking_table(ranked)],
        "items": [tables.item_table(f"Recommended to user {ID} and nobody else", ITEMS)],
        "comparison": tables.comparison_tables(COMPARISON),
        "description": tables.description_tables(description),
        "tournament": tables.tournament_tables({"tournament": TOURNAMENT}),
        "trials": [tables.trial_table(SEARCH)],
        "folds": [tables.fold_table(FOLDS, "hit_rate@10")],
        "index": [tables.item_table("Annoy index of saved_models/two_tower", TUNING)],
    }


NAMES = ["metrics", "ranking", "items", "comparison", "description", "tournament", "trials"]
NAMES += ["folds", "index"]


def test_each_table_has_a_name(description):
    assert list(all_tables(description)) == NAMES


def test_a_tournament_is_shown_best_first_with_who_was_not_judged():
    table, text = tables.tournament_tables({"tournament": TOURNAMENT})
    assert list(table.columns[0].cells) == ["history, repeats", "recent_popularity, 30 days"]
    assert list(table.columns[1].cells) == ["*1.061", "0.444"]
    assert text.splitlines()[1:] == ["ease: not invited: inverses take 184 s"]
    assert tables.tournament_tables({}) == []


def printed(shown, width):
    screen = Console(file=io.StringIO(), width=width, highlight=False, markup=False, emoji=False)
    screen.print(fitted(shown, width))
    return screen.file.getvalue()


@pytest.mark.parametrize("width", [40, 80])
@pytest.mark.parametrize("name", NAMES)
def test_no_line_is_longer_than_the_terminal_and_no_number_is_broken(description, name, width):
    for shown in all_tables(description)[name]:
        if isinstance(shown, Table):
            text = printed(shown, width)
            assert max(map(cell_len, text.splitlines())) <= width
            numbers = [
                str(c) for column in shown.columns if column.justify == "right" for c in column.cells
            ]
            assert [number for number in numbers if number not in text] == []


@pytest.mark.parametrize("width", range(24, 64, 4))
def test_short_words_are_not_broken_while_there_is_room(width):
    """The first column needs 11, the second 8: with borders and blanks 11 + 8 + 3 * 2 + 1 = 26."""
    rows = [
        {"": "Gini coefficient", "events of an item": "0.09"},
        {"": "top 1 %", "events of an item": "2"},
    ]
    rows += [{"": "first", "events of an item": "on 2024-07-03 11:57:25 in the morning"}]
    text = printed(tables.item_table("Distributions", rows), width)
    assert max(map(cell_len, text.splitlines())) <= width
    assert ("coefficient" in text and "morning" in text) or width < 26


def test_a_row_of_a_number_is_named_by_its_column():
    text = printed(tables.item_table("Index", [{**TUNING[0], "kind": "angular"}]), 40)
    assert text.splitlines()[1] == "search_k 1500"


def test_names_of_rows_stay_whole_where_a_table_is_divided():
    text = printed(tables.metric_table({**RUN, "test": BOTH, "baselines": BASELINES}), 40)
    assert text.count("own_most_frequent,") == text.count("item_cf, kept") * 2 > 4


@pytest.mark.parametrize("name", ["metrics", "ranking"])
def test_a_long_name_of_a_model_is_folded_not_cut(description, name):
    (table,) = all_tables(description)[name]
    assert "…" not in printed(table, 80)


@pytest.mark.parametrize("width", [40, 80])
def test_title_and_caption_stay(width):
    table = tables.metric_table({**RUN, "test": BOTH, "baselines": BASELINES})
    table.caption = "Beside what people count."
    text = " ".join(printed(table, width).split())
    assert "1,999 test rows" in text
    assert text.endswith("Beside what people count.")


@pytest.mark.parametrize("name", NAMES)
def test_eighty_columns_are_enough_for_a_table(description, name):
    for shown in all_tables(description)[name]:
        assert isinstance(shown, str) or fitted(shown, 80) is shown


def test_the_best_of_each_column_is_marked_whichever_model_it_is():
    own = {**RETRIEVAL, "hit_rate@10": 0.3}
    baselines = {"own_most_frequent": {Seen.KEPT: own}, "popularity": BOTH}
    table = tables.metric_table({**RUN, "test": BOTH, "baselines": baselines, "leading": Seen.KEPT})
    _, rules, first, second, *_ = (list(column.cells) for column in table.columns)
    # Where seen items are removed, own items have no row; equal figures are both the best.
    assert rules == ["kept", "kept", "kept", "removed", "removed"]
    assert first == ["0.284", "*.300", "0.284", "*.284", "*.284"]
    assert second == ["*.589"] * 5
    ranked = {**RUN, "test": {"rmse": 0.9}, "baselines": {"biases": {"rmse": 0.8}}}
    assert list(tables.ranking_table(ranked).columns[1].cells) == ["0.9000", "*.8000"]


def test_notes_tell_intervals_of_the_leading_rule_and_what_makes_figures_doubtful():
    ends = {"seen_kept": {"hit_rate@10": [0.262, 0.305]}, "seen_removed": {"hit_rate@10": [0.1, 0.2]}}
    run = {
        **RUN,
        "recipe": "shop",
        "data": {"test_rows": 120},
        "targets_had": 24,
        "leading": "seen_kept",
    }
    assert tables.metric_notes({**run, "intervals": {"two_tower": ends, "popularity": ends}}) == [
        "* the best of its column.",
        "95 % intervals of hit_rate@10 over users, seen items kept: shop 0.262 to 0.305, popularity "
        "0.262 to 0.305.",
        "24 of 120 targets had been had before: misses where seen items are removed.",
        "Only 120 test rows (fewer than 300): differences as wide as the intervals are chance.",
    ]
    kept_only = {"two_tower": ends, "own": {"seen_kept": ends["seen_kept"]}}
    removed = tables.metric_notes({**run, "leading": "seen_removed", "intervals": kept_only})
    assert removed[1].endswith("seen items removed: shop 0.100 to 0.200.")
    told = tables.metric_notes({**RUN, "targets_had": 0, "intervals": {"ranker": {"rmse": [0.8, 0.9]}}})
    assert told[1:] == ["95 % intervals of rmse over users: ranker 0.800 to 0.900."]


def test_each_users_last_event_has_a_table_of_its_own_under_the_name_of_the_run():
    ends = {Seen.KEPT: {"hit_rate@10": [0.1, 0.2]}}
    part = {"test": BOTH, "baselines": {}, "intervals": {"shop": ends}}
    run = {**RUN, "recipe": "shop", "leading": Seen.KEPT, "baselines": BASELINES, "test": BOTH}
    all_rows, *notes, last, interval, few = tables.metric_tables(
        {**run, "last_events": {"rows": 200, **part}}
    )
    assert list(all_rows.columns[0].cells)[:2] == ["shop", "popularity"]
    assert any("targets had been had" in note for note in notes)
    assert last.title == "Each user's last event alone: 200 test rows"
    assert list(last.columns[0].cells) == ["shop", "shop"]
    assert interval == "95 % intervals of hit_rate@10 over users, seen items kept: shop 0.100 to 0.200."
    assert few.startswith("Only 200 test rows")
    # A baseline of that name keeps its row, and the model that of its type.
    taken = tables.metric_table({**run, "baselines": {"shop": BOTH}})
    assert list(taken.columns[0].cells)[:2] == ["two_tower", "shop"]


def test_a_title_wider_than_its_table_stays_on_one_line(capsys):
    show({}, False, tables.item_table("What user 00096 had, latest first", [{"item_id": "A0001"}]))
    assert capsys.readouterr().out.splitlines()[0] == "What user 00096 had, latest first"
