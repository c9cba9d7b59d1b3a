"""Charts, the map of items, tables and users, one by one."""

import itertools
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.report.helpers import a_retriever, a_run
from tfrecall.core.results import Explanation, Reason
from tfrecall.core.titles import title_column, titles
from tfrecall.report import charts, tables
from tfrecall.report import item_map as item_map_module
from tfrecall.report.directory import user_directory
from tfrecall.report.images import ItemImages, is_image
from tfrecall.report.item_map import MAX_LABELS, MAX_POINTS, colour_column, item_map, principal_plane
from tfrecall.report.run_page import run_page
from tfrecall.report.svg import Axis, Series, intervals, line_chart, tag, ticks
from tfrecall.report.users import UserCards, example_users, worst_users

# Charts


def paths(svg):
    """For each path its points."""
    return [
        [tuple(map(float, point.split())) for point in d[1:].split("L")]
        for d in re.findall(r'<path d="([^"]+)"', svg)
    ]


def test_a_line_goes_through_its_points():
    """x from 46 to 342 over 1..3, y from 194 (bottom) to 12 over 0..2."""
    svg = line_chart("a", [Series("s", [(1, 0), (2, 1), (3, 2)])], x_label="x")
    assert paths(svg) == [[(46, 194), (194, 103), (342, 12)]]


def test_equal_ratios_are_equally_wide_on_a_log_axis():
    axis = Axis(1, 100, 0, 200, log=True)
    assert [axis(1), axis(10), axis(100)] == [0, 100, 200]


def test_what_is_not_a_number_is_a_gap_and_a_lone_point_a_dot():
    points = [(1, 1.0), (2, 2.0), (3, None), (4, float("nan")), (5, 1.5)]
    svg = line_chart("a", [Series("s", points)], x_label="x")
    assert [len(path) for path in paths(svg)] == [2]
    assert svg.count("<circle") == 1


def test_nothing_to_draw_draws_nothing():
    assert line_chart("a", [Series("s", [(1, None)])], x_label="x") == ""
    assert intervals("a", []) == ""


def test_intervals_that_exclude_zero_are_coloured():
    svg = intervals("a", [("x", 0.2, 0.1, 0.3), ("y", 0.1, -0.1, 0.3)])
    assert re.findall(r'class="dot (\w+)"', svg) == ["s0", "unsure"]


def test_intervals_of_the_leading_metric_have_a_row_for_each_model_that_has_one():
    figures = {"seen_kept": {"hit_rate@10": 0.2, "mrr": 0.1}}
    metrics = {
        "model": "mine",
        "test": figures,
        "baselines": {"popularity": {"seen_kept": {"hit_rate@10": 0.3}}, "own": {}},
        "intervals": {
            "mine": {"seen_kept": {"hit_rate@10": [0.1, 0.3]}, "seen_removed": {"hit_rate@10": [0, 1]}},
            "popularity": {"seen_kept": {"hit_rate@10": [0.25, 0.35]}},
        },
    }
    svg = charts.leading_intervals(metrics, "seen_kept")
    assert svg.count("<figure") == 1
    assert re.findall(r"<title>([^<]+)</title></circle>", svg) == [
        "mine: 20 %, 10 % to 30 %",
        "popularity: 30 %, 25 % to 35 %",
    ]
    assert re.findall(r'class="dot (\w+)"', svg) == ["s0", "unsure"]
    assert 'class="zero"' not in svg
    assert charts.leading_intervals({**metrics, "intervals": {}}, "seen_kept") == ""


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_ticks_are_few_even_and_hold_all_values(a, b):
    low, high = min(a, b), max(a, b)
    found = ticks(low, high)
    span = found[-1] - found[0]
    assert found[0] <= low + 1e-6 * span
    assert found[-1] >= high - 1e-6 * span
    assert 2 <= len(found) <= 8
    np.testing.assert_allclose(np.diff(found), span / (len(found) - 1), rtol=1e-6)


def test_elements_escape_text_and_attributes():
    assert tag("text", "a<b", text_anchor='"end') == '<text text-anchor="&#34;end">a&lt;b</text>'
    assert tag("g", tag("title", "&"), class_="x") == '<g class="x"><title>&amp;</title></g>'


# The map


def test_the_plane_is_that_of_the_largest_singular_values():
    vectors = np.random.default_rng(3).normal(size=(50, 6)) * [1, 9, 2, 5, 1, 1] + 4
    plane = principal_plane(vectors)
    left, values, _ = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
    expected = left[:, :2] * values[:2]
    np.testing.assert_allclose(np.abs(plane.places), np.abs(expected), atol=1e-9)
    assert plane.explained == pytest.approx((values[:2] ** 2).sum() / (values**2).sum())


@pytest.mark.parametrize("vectors", [np.ones((5, 3)), np.arange(4.0)[:, None], np.ones((1, 2))])
def test_vectors_without_two_directions_have_a_plane(vectors):
    plane = principal_plane(vectors)
    assert plane.places.shape == (len(vectors), 2)
    assert plane.explained == pytest.approx(1)


def test_the_column_that_the_plane_sorts_colours_it():
    places = np.array([[0, 0], [0, 1], [9, 0], [9, 1]], dtype=float)
    items = pl.DataFrame(
        {
            "item_id": list("abcd"),
            "chance": ["x", "y", "x", "y"],
            "side": [["left", "z"], ["left"], ["right"], ["right"]],
            "alike": ["one"] * 4,
            "price": [1.5, 2.5, 3.5, 4.5],
        }
    )
    assert colour_column(items, places, ["item_id"]) == "side"
    assert colour_column(items.select("item_id", "alike", "price"), places, ["item_id"]) is None


def test_of_a_large_catalogue_the_popular_items_are_drawn_and_named():
    n = MAX_POINTS + 500
    items = pl.DataFrame({"item_id": [f"i{i}" for i in range(n)], "kind": ["a", None] * (n // 2)})
    vectors = np.random.default_rng(0).normal(size=(n, 3))
    popularity = np.arange(n)
    svg, told = item_map(vectors, items, items["item_id"], popularity, ["item_id"])
    assert svg.count("<circle") == MAX_POINTS
    assert f"the {MAX_POINTS:,} with most training rows of {n:,} are drawn" in told
    assert "coloured by kind" in told
    named = re.findall(r'class="name wide">(\w+)<', svg)
    assert len(named) == MAX_LABELS
    assert named[0] == f"i{n - 1}"


# True widths of DejaVu Sans, the widest of the usual fonts, in multiples of the letter size.
WIDTHS = {"W": 0.99, "m": 0.98, "O": 0.79, "e": 0.62, "i": 0.28, "7": 0.64, "電": 1.0}


@given(
    st.lists(st.text("".join(WIDTHS), min_size=1, max_size=40), min_size=1, max_size=12),
    st.integers(0, 2**32 - 1),
)
def test_labels_never_overlap(names, seed):
    """In neither size of letters, whatever the letters; all inside the picture."""
    vectors = np.random.default_rng(seed).normal(size=(len(names), 2)) * [1, 0.1]
    items = pl.DataFrame({"item_id": [str(i) for i in range(len(names))]})
    svg, _ = item_map(vectors, items, pl.Series(names), np.arange(len(names)), ["item_id"])
    for css, size in (("wide", 11), ("narrow", 21)):
        found = re.findall(rf'<text x="([-\d.]+)" y="([-\d.]+)" class="name {css}">([^<]+)<', svg)
        assert found  # the most popular one always
        boxes = [
            (
                x,
                y - 0.8 * size,
                x + size * sum(WIDTHS.get(letter, 1) for letter in label),
                y + 0.24 * size,
            )
            for x, y, label in ((float(x), float(y), label) for x, y, label in found)
        ]
        for left, _, right, _ in boxes:
            assert left >= 0
            assert right <= 720
        for one, other in itertools.combinations(boxes, 2):
            apart = one[2] < other[0] or other[2] < one[0] or one[3] < other[1] or other[3] < one[1]
            assert apart, found


def test_sizes_of_labels_are_those_of_the_style_sheet():
    style = (Path(item_map_module.__file__).parent / "templates" / "style.css").read_text("utf-8")
    assert f".map .chart text {{ font-size: {item_map_module._LETTERS}px; }}" in style
    assert f"font-size: {item_map_module._LETTERS_OF_PHONES}px" in style


def test_a_label_at_the_place_of_another_is_left_out():
    items = pl.DataFrame({"item_id": ["a", "b", "c"]})
    vectors = np.array([[0.0, 0], [0, 0], [5, 5]])
    svg, _ = item_map(
        vectors, items, pl.Series(["same", "place", "apart"]), np.array([3, 2, 1]), ["item_id"]
    )
    for css in ("wide", "narrow"):
        assert re.findall(rf'class="name {css}">(\w+)<', svg) == ["same", "apart"]


# Tables


def test_the_headline_names_the_best_baseline():
    one, two = ({"seen_removed": {"hit_rate@10": v}} for v in (0.2, 0.3))
    metrics = {"test": {"seen_removed": {"hit_rate@10": 0.5}}, "baselines": {"a": one, "b": two}}
    (tile,) = tables.tiles(metrics, "seen_removed")
    assert tile == {"metric": "hit_rate@10", "value": 0.5, "name": "b", "best": 0.3}
    (alone,) = tables.tiles({**metrics, "baselines": {}}, "seen_removed")
    assert (alone["name"], alone["best"]) == (None, None)


def test_the_list_length_nearest_to_ten_is_taken():
    assert tables.list_length({"hit_rate@1": 0, "hit_rate@20": 0, "hit_rate@9": 0, "mrr": 0}) == 9


def test_the_items_in_most_lists_are_counted(tiny_log):
    run = a_run(tiny_log)
    names = run.known.items["item_id"].to_list()
    rows = tables.most_shown(run.evaluation, names, np.arange(len(names)), "seen_removed")
    exposure = run.evaluation.rankings["made_up"].removed.exposure[10]
    assert [row["lists"] for row in rows] == sorted(exposure, reverse=True)[:10]
    assert rows[0]["title"] == names[int(np.argmax(exposure))]
    assert rows[0]["share"] == rows[0]["lists"] / run.evaluation.users


def test_exposure_cumulates_from_the_most_popular_item(tiny_log):
    run = a_run(tiny_log, baselines=False)
    svg = charts.exposure(run.evaluation, "m", np.arange(40)[::-1], "seen_removed")
    model, train = paths(svg)
    assert model[0] == train[0]
    assert model[-1] == train[-1]
    assert all(a[1] >= b[1] for a, b in itertools.pairwise(train))  # upwards in the picture


def test_a_title_is_free_text_or_called_so():
    items = pl.DataFrame(
        {"item_id": ["1"], "note": ["n"], "brand_name": [None]},
        schema_overrides={"brand_name": pl.String},
    )
    assert title_column(items, [{"type": "text", "column": "note"}]) == "note"
    assert title_column(items) == "brand_name"
    assert title_column(items.select("item_id", "note")) is None
    assert titles(items, "brand_name").to_list() == ["1"]  # null: its id
    assert titles(items, None).to_list() == ["1"]


# Users


def cards(run, names, leading="seen_removed", explain=None, images=None):
    return UserCards(run.retriever, run.known, run.test, names, leading, explain, images)


def test_example_users_go_from_the_shortest_history_to_the_longest(tiny_log):
    run = a_run(tiny_log)
    names = pl.Series([f"T{item}" for item in run.known.items["item_id"]])
    users = example_users(cards(run, names))
    lengths = dict(run.known.log.group_by("user_id").len().iter_rows())
    tested = run.test.log["user_id"].unique().to_list()
    among = sorted(lengths.get(user, 0) for user in tested)
    assert [user["length"] for user in users] == sorted(user["length"] for user in users)
    assert (users[0]["length"], users[-1]["length"]) == (among[0], among[-1])
    for user in users:
        log = run.known.log.filter(pl.col("user_id") == user["user_id"])
        assert user["length"] == log.height
        latest = log.sort("timestamp", descending=True, maintain_order=True)["item_id"][:8]
        assert [item["title"] for item in user["had"]] == [f"T{item}" for item in latest]
        chosen = run.test.log.filter(pl.col("user_id") == user["user_id"])["item_id"].unique()
        assert user["chosen"] == len(chosen)
        marked = {item["title"] for item in user["shown"] if item["chosen"]}
        assert marked == {i["title"] for i in user["shown"]} & {f"T{item}" for item in chosen}
        assert not {i["title"] for i in user["shown"]} & {f"T{item}" for item in log["item_id"]}
        missed = {f"T{item}" for item in chosen} - {item["title"] for item in user["shown"]}
        assert {item["title"] for item in user["missed"]} <= missed
        assert len(user["missed"]) == min(5, len(missed))


@pytest.mark.slow
def test_beside_what_is_shown_stand_the_two_strongest_reasons(tiny_log):
    """Items by name, features by value; what speaks against an item is left out."""
    run = a_run(tiny_log)
    ids = run.known.items["item_id"]
    names = pl.Series([f"T{item}" for item in ids])
    asked = []

    def explain(query, rows):
        asked.append(query["user_id"].to_list())
        strong = [Reason(ids[0], None, 0.5), Reason(None, None, 0.2, "age", 34.0)]
        weak = [Reason(None, None, 0.1, "device", "web"), Reason(ids[1], None, -0.1)]
        reasons = [[*strong, *weak], weak, *[[]] * (len(rows) - 2)]
        return [
            Explanation(None, ids[row], 1.0, 0.0, some, additive=False)
            for row, some in zip(rows.tolist(), reasons, strict=True)
        ]

    users = example_users(cards(run, names, explain=explain))
    assert asked == [[user["user_id"]] for user in users]
    for user in users:
        because = [item["because"] for item in user["shown"]]
        assert because[:3] == [[f"T{ids[0]}", "age 34"], ["device web"], []]
    shown = run_page(replace(run, explain=explain))
    assert "because of device web" in shown
    assert "because of" not in run_page(run)


def test_the_lists_are_those_of_the_retriever_alone(tiny_log):
    """Asked for five users only, each gets the list that it gets among all."""
    from tfrecall.evaluation import user_lists

    run = a_run(tiny_log)
    names = run.known.items["item_id"]
    few = example_users(cards(run, names, "seen_kept"))
    whole = user_lists(a_retriever(names.to_list()), run.test, seen=run.known, k=10, keep_seen=True)
    rows = dict(zip(whole.user_ids, whole.rows, strict=True))
    for user in few:
        assert [item["title"] for item in user["shown"]] == [
            names[row] for row in rows[user["user_id"]].tolist()
        ]


def test_reasons_that_all_items_share_stand_once_below_the_list(tiny_log):
    run = a_run(tiny_log)
    names = run.known.items["item_id"]

    def explain(query, rows):
        shared = [Reason(names[0], None, 0.5)]
        return [Explanation(None, names[row], 1.0, 0.0, shared) for row in rows.tolist()]

    for user in example_users(cards(run, names, explain=explain)):
        assert user["because"] == [names[0]]
        assert not any(item["because"] for item in user["shown"])
    assert f"All because of {tiny_log.items['title'][0]}" in run_page(replace(run, explain=explain))


def test_worst_users_are_those_whose_items_rank_lowest(tiny_log):
    run = a_run(tiny_log)
    users = worst_users(cards(run, run.known.items["item_id"]), run.evaluation)
    targets = run.evaluation.rankings["made_up"].removed.targets
    tested = run.test.log["user_id"].unique(maintain_order=True).to_list()
    means = {
        user: np.mean([1 / (float(rank) + 1) for rank in targets.ranks[targets.users == i]])
        for i, user in enumerate(tested)
    }
    lowest = sorted(means.values())[:3]
    np.testing.assert_allclose([means[user["user_id"]] for user in users], lowest)
    assert not worst_users(cards(run, run.known.items["item_id"]), replace(run.evaluation, rankings={}))


# The directory


def test_every_user_of_the_test_is_in_the_directory_with_the_list_of_the_cards(tiny_log):
    run = a_run(tiny_log)
    names = pl.Series([f"T{item}" for item in run.known.items["item_id"]])
    directory = user_directory(cards(run, names))
    tested = run.test.log["user_id"].unique().to_list()
    assert [user[0] for user in directory["users"]] == sorted(tested)
    assert directory["of"] == len(tested)
    titles = directory["titles"]
    assert len(set(titles)) == len(titles)
    entries = {user[0]: user for user in directory["users"]}
    for card in example_users(cards(run, names)):
        _, length, chosen, had, shown, hits = entries[card["user_id"]]
        assert (length, chosen) == (card["length"], card["chosen"])
        assert [titles[place] for place in had] == [item["title"] for item in card["had"]]
        assert [titles[place] for place in shown] == [item["title"] for item in card["shown"]]
        assert hits == [i for i, item in enumerate(card["shown"]) if item["chosen"]]


@pytest.mark.parametrize("budget", [0, 500, 2_000])
def test_the_directory_of_a_huge_log_is_bounded(tiny_log, budget):
    run = a_run(tiny_log)
    names = pl.Series(["long " * 40] * run.known.items.height)
    directory = user_directory(cards(run, names), budget)
    tested = run.test.log["user_id"].n_unique()
    assert 1 <= len(directory["users"]) < tested == directory["of"]
    # One user is there, however large.
    if len(directory["users"]) > 1:
        assert len(str(directory["users"])) + sum(map(len, directory["titles"])) < budget + 100
    assert max(map(len, directory["titles"])) == 80


# Pictures of items

PNG = "data:image/png;base64,iVBORw0KGgo="


@pytest.mark.parametrize("address", [PNG, "a.png", "images/7.JPG", "/static/x y.webp", "../a(1).svg"])
def test_pictures_of_the_same_origin_are_shown(address):
    assert is_image(address)


@pytest.mark.parametrize(
    "address",
    [
        "https://example.org/a.png",
        "HTTPS://example.org/a.png",
        "//example.org/a.png",
        "/\\example.org/a.png",
        "\\\\example.org\\a.png",
        "\t//example.org/a.png",
        " //example.org/a.png",
        "javascript:alert(1)//a.png",
        "file:///etc/a.png",
        "data:text/html;base64,PHNjcmlwdD4=",
        "data:image/png,<script>",
        'x" onerror="alert(1).png',
        "a.png?u=//example.org",
        "a.exe",
        "",
        pytest.param("data:image/png;base64," + "A" * 60_000, id="too long"),
    ],
)
def test_other_addresses_are_no_pictures(address):
    assert not is_image(address)


def test_the_column_with_most_pictures_is_taken_until_the_page_is_full():
    items = pl.DataFrame(
        {
            "item_id": ["a.png", "b.png", "c.png"],
            "thumb": ["t.png", None, "https://example.org/t.png"],
            "photo": ["p1.png", "p2.png", None],
        }
    )
    images = ItemImages(items, budget=13)  # two of six characters
    assert [images.take(row) for row in (2, 0, 1, 0)] == [None, "p1.png", "p2.png", None]
    assert ItemImages(items.select("item_id")).take(0) is None
