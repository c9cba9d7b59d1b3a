"""The views of a release for people, over a release with titles, dates and accents."""

import json
from datetime import date

import numpy as np
import polars as pl
import pytest
from fastapi.testclient import TestClient

import tfrecall as tr
from tfrecall.serving.app import create_app
from tfrecall.serving.config import ServingConfig
from tfrecall.serving.explore import MOST, Explorer
from tfrecall.serving.recent import RecentEvent

TITLES = {
    "m1": "Alien (1979)",
    "m2": "Aliens (1986)",
    "m3": "My Alien Friend",
    "m4": "Matrix, The (1999)",
    "m5": "Amélie (2001)",
    "m6": None,
    "m7": "Amelie",
    "m8": "Amélie",
}
# m3 is the most popular of the aliens, m1 the least.
EVENTS = "u1:m1 m2 m3 m4;u2:m2 m3;u3:m3 m5;U4:m3 m6"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    pairs = [
        (u, i) for part in EVENTS.split(";") for u, _, ids in [part.partition(":")] for i in ids.split()
    ]
    log = pl.DataFrame(pairs, ["user_id", "item_id"], orient="row").with_columns(
        timestamp=pl.int_range(pl.len()) + 880_000_000
    )
    items = pl.DataFrame(
        {
            "item_id": list(TITLES),
            "title": list(TITLES.values()),
            "genres": [["Horror", "Sci-Fi"], ["Horror"], [], ["Sci-Fi"], ["Romance"], None, [], []],
            "released": [
                date(1979, 5, 25),
                None,
                None,
                date(1999, 3, 31),
                date(2001, 4, 25),
                *[None] * 3,
            ],
        }
    )
    model = tr.ItemCF().fit(tr.data.from_frame(log, items=items))
    return tr.export(model, tmp_path_factory.mktemp("release") / "movies").root


@pytest.fixture(scope="module")
def explorer(root):
    return Explorer(tr.load(root))


@pytest.fixture(scope="module")
def client(root):
    with TestClient(create_app(ServingConfig({"movies": root}))) as client:
        yield client


def found(explorer, query, k=10):
    return [item["item_id"] for item in explorer.items(query, k)["items"]]


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("alien", ["m2", "m1", "m3"]),  # beginnings first, and of these the popular one
        ("ALIEN  f", ["m3"]),
        ("the matrix", ["m4"]),  # word by word
        ("amelie", ["m7", "m8", "m5"]),  # with and without the accent, the exact title first
        ("amélie", ["m8", "m7", "m5"]),
        ("amelie (", ["m5"]),
        ("m6", ["m6"]),  # an item without a title is called by its id
        ("m1", ["m1"]),
        ("zzz", []),
        ("(19", ["m1", "m2", "m4"]),  # no pattern: the letters themselves
    ],
)
def test_items_are_found_by_parts_of_titles(explorer, query, ids):
    assert found(explorer, query) == ids if query != "(19" else set(found(explorer, query)) == set(ids)


def test_the_empty_search_finds_the_popular_items(explorer):
    # m3 has 4 users, m2 2, the others 1.
    assert found(explorer, "", 2) == ["m3", "m2"]
    assert explorer.items("", 2)["total"] == len(TITLES)


def test_users_are_found_whatever_their_case(explorer):
    assert [user["user_id"] for user in explorer.users("u4", 5)["users"]] == ["U4"]
    assert explorer.users("", 2)["total"] == 4


def test_a_history_is_newest_first_with_titles(explorer):
    user = explorer.user("u1", 3)
    assert [item["title"] for item in user["history"]] == [TITLES["m4"], TITLES["m3"], TITLES["m2"]]
    assert (user["known"], user["events"]) == (True, 4)
    # 880,000,000 s after 1970 is 20 November 1997.
    assert {item["when"] for item in user["history"]} == {user["last_active"]} == {"20 Nov 1997"}
    assert explorer.user("nobody", 3) == {
        "user_id": "nobody", "known": False, "events": 0, "features": [], "history": []
    }  # fmt: skip


def test_recent_events_stand_before_the_stored_ones_and_count_once(explorer):
    stored = explorer.user("u1", 9)
    logged = RecentEvent("m4", 880_000_003.0)  # the newest of u1, which came as feedback, too
    # 1,700,000,000 s after 1970 is 14 November 2023.
    new = [RecentEvent("m2", 1.7e9), RecentEvent("brand new", 1.7e9 + 60)]
    user = explorer.user("u1", 9, [logged, *new])
    assert user["history"][2:] == stored["history"]
    assert user["history"][:2] == [
        {
            "item_id": "brand new",
            "title": "brand new",
            "columns": {},
            "when": "14 Nov 2023",
            "new": True,
        },
        {**explorer.item_line(1), "when": "14 Nov 2023", "new": True},
    ]
    assert (user["events"], user["last_active"]) == (6, "14 Nov 2023")
    assert len(explorer.user("u1", 1, new)["history"]) == 1
    nobody = explorer.user("nobody", 9, new)
    assert (nobody["known"], nobody["events"], len(nobody["history"])) == (False, 2, 2)


def test_events_over_http_are_in_the_history_at_once(root, tmp_path):
    with TestClient(create_app(ServingConfig({"movies": root}, events=tmp_path))) as client:
        event = {"user_id": "u2", "item_id": "m1"}
        assert client.post("/v1/events", json={"events": [event]}).status_code == 200
        history = client.get("/v1/users/u2").json()["history"]
    assert [item["item_id"] for item in history] == ["m1", "m3", "m2"]


def test_an_item_has_its_columns_in_words(explorer):
    item = explorer.item("m1")
    assert (item["title"], item["users"]) == ("Alien (1979)", 1)
    assert {"name": "released", "value": "25 May 1979"} in item["facts"]
    assert {"name": "genres", "value": "Horror, Sci-Fi"} in item["facts"]


def test_a_user_who_came_back_to_an_item_is_one_of_its_users(tmp_path):
    events = {
        "user_id": ["a", "a", "b", "a"],
        "item_id": ["x", "x", "x", "y"],
        "timestamp": [1, 2, 3, 4],
    }
    release = tr.load(
        tr.export(tr.ItemCF().fit(tr.data.from_frame(pl.DataFrame(events))), tmp_path).root
    )
    explorer = Explorer(release)
    assert [explorer.item(item_id)["users"] for item_id in ("x", "y")] == [2, 1]
    counts = dict(zip(release.item_ids.tolist(), release.event_counts.tolist(), strict=True))
    assert counts == {"x": 3, "y": 1}


def test_a_map_places_items_together_that_the_same_users_had(tmp_path):
    log = tr.data.synthetic(n_users=80, n_items=40, n_rows=2400, seed=2)
    explorer = Explorer(tr.export(tr.Popularity().fit(log), tmp_path / "popular"))
    told = explorer.map(40)
    groups = dict(log.items.select("item_id", "group").iter_rows())
    places = np.array([point[:2] for point in told["points"]])
    labels = np.array([groups[point[3]] for point in told["points"]])
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1)
    same = labels[:, None] == labels[None]
    assert apart[same & ~np.eye(len(labels), dtype=bool)].mean() < 0.7 * apart[~same].mean()
    assert told["by_users"]
    assert told["colour"] == "group"
    assert (places.min(), places.max()) == (0, 1)
    assert len(explorer.map(7)["points"]) == 7


def test_a_map_of_few_items_is_drawn_too(explorer):
    assert len(explorer.map(100)["points"]) == len(TITLES)


def test_figures_of_a_run_stand_beside_baselines(root, explorer, monkeypatch):
    figures = {"hit_rate@10": 0.25, "ndcg@10": 0.125, "mrr": float("nan")}
    metrics = {
        "model": "ours",
        "test": {"seen_removed": figures},
        "baselines": {"popularity": {"seen_removed": {"hit_rate@10": 0.5}}},
        "leading": "seen_removed",
    }
    monkeypatch.setattr(
        "tfrecall.serving.explore.documents", lambda *_: {"metrics.json": json.dumps(metrics)}
    )
    told = Explorer(explorer.release).evaluation()
    assert told["metrics"] == ["hit_rate@10", "ndcg@10"]
    assert [(row["name"], row["is_model"]) for row in told["rows"]] == [
        ("ours", True),
        ("popularity", False),
    ]
    # NaN is no JSON: such a figure is left out.
    assert told["rows"][0]["figures"] == {"seen_removed": {"hit_rate@10": 0.25, "ndcg@10": 0.125}}


def test_a_release_without_a_run_has_no_figures(explorer):
    assert explorer.evaluation()["rows"] == []


@pytest.mark.parametrize(
    "path",
    [
        "items?query=alien",
        "items/m1",
        "users?query=u",
        "users/u1",
        "map",
        "evaluation",
        "releases/movies",
    ],
)
def test_views_answer_over_http_and_name_no_paths(client, root, path):
    answer = client.get(f"/v1/{path}")
    assert answer.status_code == 200
    assert answer.json()
    assert str(root.parent) not in answer.text


def test_ids_may_hold_slashes(client):
    assert client.get("/v1/users/a%2Fb").json()["user_id"] == "a/b"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("items?k=0", 400),
        ("items?k=many", 400),
        pytest.param("items?query=" + "a" * 300, 400, id="long query"),
        ("items/nothing", 400),
        ("items?release=other", 404),
        ("releases/other", 404),
    ],
)
def test_what_cannot_be_answered_is_refused(client, path, status):
    answer = client.get(f"/v1/{path}")
    assert answer.status_code == status
    assert answer.json()["error"]["message"]


def test_lists_are_bounded(client, explorer):
    assert client.get("/v1/items?k=1000000").status_code == 200
    assert len(explorer.items("", MOST)["items"]) <= MOST


def test_the_page_allows_nothing_from_elsewhere(client):
    answer = client.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy


@pytest.mark.parametrize("name", ["nothing.js", "..%2F..%2Fapp.py", "%2e%2e/app.py", "index.html.bak"])
def test_only_files_of_the_page_are_sent(client, name):
    assert client.get(f"/page/{name}").status_code == 404
