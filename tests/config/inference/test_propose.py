"""A recipe for a log nobody wrote one for: it loads, it fits the files, and it says why."""

import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from tests.commands import ask
from tests.progress import RecordedProgress
from tests.tiny import tiny_interactions
from tfrecall.cli import app
from tfrecall.config.inference import propose
from tfrecall.config.inference.proposal import value
from tfrecall.config.inference.settings import Facts, choose_training, monitored_k
from tfrecall.config.recipes import load_config
from tfrecall.errors import DataError
from tfrecall.runs.preparation import prepare
from tfrecall.runs.run import run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The tiny log under other names, as files."""
    data, folder = tiny_interactions(), tmp_path_factory.mktemp("shop")
    names = {"user_id": "customer_id", "item_id": "sku"}
    log = data.log.rename({**names, "timestamp": "bought_at"}).with_columns(
        price=pl.int_range(pl.len()) * 0.5, basket_id=pl.int_range(pl.len()) // 3
    )
    log.write_csv(folder / "purchases.csv")
    data.users.rename({"user_id": "customer_id"}).write_parquet(folder / "customers.parquet")
    data.items.rename({"item_id": "sku"}).write_parquet(folder / "products.parquet")
    return folder


@pytest.fixture(scope="module")
def proposal(folder):
    return propose(folder / "purchases.csv", folder / "customers.parquet", folder / "products.parquet")


def test_columns_are_found_and_features_chosen(proposal):
    config = proposal.config()
    assert (config.recipe, config.data.user_column, config.data.item_column) == (
        "purchases",
        "customer_id",
        "sku",
    )
    query = {f.column: f.type for f in config.schema.query}
    assert query["user_id"] == "categorical"
    assert "timestamp" not in query, "the time orders the log and is no feature unless it is added"
    assert query["device"] == "categorical"
    assert query["tags"] == "multi_categorical"
    candidate = {f.column: f.type for f in config.schema.candidate}
    assert candidate["item_id"] == "categorical"
    assert candidate["genres"] == "multi_categorical"
    assert candidate["price"] == "bucketized"
    assert "basket_id" not in query


def test_what_stands_in_two_tables_is_read_where_it_describes_a_thing(proposal):
    # Both the log and the products have a price, which a run would refuse.
    assert proposal.config().data.ignore_columns == ("log.price",)
    assert "log.price: left out: stands in the items table" in "\n".join(proposal.messages)


def test_the_file_loads_and_fits_the_data(proposal, tmp_path):
    file = tmp_path / "purchases.toml"
    file.write_text(proposal.to_toml(f"tfrecall run {file}"), "utf-8")
    config = load_config(str(file))
    assert config == proposal.config()
    prepared = prepare(config)
    assert prepared.validation is not None
    assert prepared.known.items.height == 40


def test_every_column_has_a_line_with_its_reason(proposal):
    text = proposal.to_toml()
    assert "#   tfrecall run recipe.toml\n" in text
    for one in (*proposal.decisions, *proposal.query, *proposal.candidate):
        assert f"{one.column}: " in text
        assert one.why.split()[0] in text
    assert "# Left out:\n#   log.timestamp" in text
    assert "#   log.price" in text


def test_settings_take_precedence(proposal):
    assert proposal.config(["training.epochs=3"]).training.epochs == 3


def write(folder, **columns):
    pl.DataFrame(columns).write_csv(folder / "log.csv")
    return folder / "log.csv"


def test_users_who_come_once_are_split_by_time(tmp_path):
    log = write(
        tmp_path,
        user_id=[f"u{i}" for i in range(300)],
        item_id=[f"i{i % 7}" for i in range(300)],
        timestamp=[f"2024-01-01T00:{i // 60:02}:{i % 60:02}" for i in range(300)],
    )
    proposal = propose(log)
    config = proposal.config()
    assert config.split.method == "by_time"
    assert "have one event" in proposal.reasons["split"][0]
    prepared = prepare(config)
    # From the 90 % quantile on; of the rows before, again.
    assert (len(prepared.known), len(prepared.test), len(prepared.validation)) == (270, 30, 27)


def sessions(folder, days=60, count=400, seconds=60):
    """Sessions that last minutes, spread over days, each through neighbouring items."""
    rows = [
        (f"s{s:03}", f"i{(s * 7 + k) % 30}", s * days * 86_400 // count + k * seconds)
        for s in range(count)
        for k in range(2 + s % 4)
    ]
    names = ("session_id", "item_id", "timestamp")
    return write(folder, **dict(zip(names, zip(*rows, strict=True), strict=True)))


@pytest.mark.parametrize("seconds", [60, 0])
def test_users_who_never_come_back_are_known_by_their_history_alone(tmp_path, seconds):
    proposal = propose(sessions(tmp_path, seconds=seconds), user_id="session_id")
    config = proposal.config()
    assert [(f.type, f.column) for f in config.schema.query] == [("history", "history")]
    assert (config.split.method, config.split.train_users) == ("by_user", 360)
    assert "do not come back" in proposal.reasons["split"][0]
    prepared = prepare(config)
    # No test row is of a user who was trained on, each has a history, and none of it is the row itself.
    trained = set(prepared.trainable.log["user_id"])
    assert not trained & set(prepared.test.log["user_id"])
    assert len(prepared.test) == 40
    assert set(prepared.test.log["user_id"]) <= set(prepared.known.log["user_id"])


@pytest.mark.slow
def test_a_release_of_sessions_answers_strangers_by_what_they_had(tmp_path):
    proposal = propose(sessions(tmp_path), user_id="session_id")
    release = run(proposal.config(["training.epochs=4"]), tmp_path / "release").release
    here, there, nobody = release.recommend(
        [{"history": ["i3", "i4"]}, {"history": ["i20"]}, "new"], k=3
    )
    assert here.item_ids != there.item_ids
    # Sessions go on to the next item: i5 after i4, i21 after i20.
    assert "i5" in here.item_ids
    assert "i21" in there.item_ids
    assert len(nobody.item_ids) == 3


def test_users_who_come_back_and_logs_of_a_day_are_no_sessions(tmp_path):
    assert not propose(sessions(tmp_path, days=0.1), user_id="session_id").description.short_lived
    log = pl.read_csv(sessions(tmp_path)).with_columns(
        session_id=pl.format("u{}", pl.col("session_id").str.slice(1).cast(pl.Int64) % 60)
    )
    log.write_csv(tmp_path / "log.csv")
    config = propose(tmp_path / "log.csv", user_id="session_id").config()
    assert [f.column for f in config.schema.query] == ["user_id", "history"]
    assert config.split.method == "leave_last_out"


def test_orders_and_visits_of_a_shop_are_baskets_that_stay_whole(tmp_path):
    rows = [(u, f"i{(u + v * k) % 17}", v) for u in range(40) for v in range(4) for k in range(1, 4)]
    names = ("user_id", "item_id", "timestamp")
    log = write(tmp_path, **dict(zip(names, zip(*rows, strict=True), strict=True)))
    proposal = propose(log)
    config = proposal.config()
    # What is popular, and what the user likes beside it, learned in small steps: the rest are repeats.
    assert [(one.column, one.max_tokens) for one in config.schema.query] == [
        ("user_id", 1),
        ("user_id", None),
    ]
    assert config.training.learning_rate == 0.03
    assert config.split.baskets
    assert "baskets" in " ".join(proposal.messages)
    prepared = prepare(config)
    places = [
        {(row[0], row[1]) for row in part.log.select("user_id", "timestamp").rows()}
        for part in (prepared.train, prepared.validation, prepared.test)
    ]
    assert len(set.union(*places)) == sum(map(len, places))


def test_equal_times_give_no_feature_and_keep_the_order_of_the_file(tmp_path):
    users = [f"u{i % 30}" for i in range(120)]
    # Not in steps of one length, in which any two items would have one order, that of a sorted file.
    items = [f"i{i * i % 97 % 7}" for i in range(120)]
    log = write(tmp_path, user_id=users, item_id=items, timestamp=[5] * 120)
    proposal = propose(log)
    assert [f.column for f in proposal.config().schema.query] == ["user_id"]
    progress = RecordedProgress()
    prepared = prepare(proposal.config(), progress)
    assert any("all timestamps are equal: the order of the file" in note for note in progress.notes)
    assert prepared.test.log["item_id"].to_list() == items[90:]


def test_a_log_without_times_is_taken_in_the_order_of_the_file(tmp_path):
    log = write(
        tmp_path,
        user=[f"u{i % 30}" for i in range(120)],
        item=[f"i{i * i % 97 % 7}" for i in range(120)],
    )
    config = propose(log).config()
    assert config.data.timestamp_column == ""
    assert len(prepare(config).test) == 30


def chains(users=200, items=60, follow=0.9, seed=0):
    """Users of five groups of items, each item once, who mostly take the next one of the group."""
    random, rows = np.random.default_rng(seed), []
    width = items // 5
    for user in range(users):
        left = list(random.permutation(width))
        item = left[0]
        for _ in range(6):
            left.remove(item)
            rows.append((f"u{user}", f"i{user % 5 * width + item}"))
            item = (item + 1) % width
            if item not in left or random.random() > follow:
                item = left[0]
    return pl.DataFrame(rows, schema=["user_id", "item_id"], orient="row")


@pytest.mark.parametrize("times", [None, 5])
@pytest.mark.parametrize("order", ["events", "shuffled", "sorted", "sorted by a code", "no order"])
def test_the_order_of_a_file_without_times_is_used_where_it_is_one_of_events(tmp_path, order, times):
    log = chains(follow=0.0 if order == "no order" else 0.9)
    if order == "shuffled":
        log = log.sample(fraction=1, shuffle=True, seed=1)
    elif order == "sorted":
        log = log.sort("item_id")
    elif order == "sorted by a code":
        codes = log["item_id"].unique().sort().sample(fraction=1, shuffle=True, seed=2).to_list()
        log = log.sort(log["item_id"].replace_strict(codes, range(len(codes))))
    log = log if times is None else log.with_columns(timestamp=pl.lit(times))
    proposal = propose(write(tmp_path, **log.to_dict(as_series=False)))
    config = proposal.config()
    *user, history = config.schema.query
    # A sum of all events, or of those before with the newest first.
    assert history.anytime == (order != "events")
    # What is popular is learned beside a bag, and fitted afterwards for users without events in order.
    assert [(one.column, one.max_tokens) for one in user] == [("user_id", 1)] * history.anytime
    assert history.empty == ("zeros" if history.anytime else "popular")
    assert history.encoder.type == ("decay" if order == "events" else "root_sum")
    is_sorted = order.startswith("sorted")
    assert config.split.method == ("random" if is_sorted else "leave_last_out")
    assert ("sorted by item" in " ".join(proposal.messages)) == is_sorted
    splits = prepare(config)
    assert len(splits.test)
    assert len(splits.validation)


@pytest.mark.parametrize("events", [6, 30])
def test_users_of_many_events_in_order_have_an_id_beside_their_history(tmp_path, events):
    rows = [
        (f"u{u}", f"i{u % 5 * 40 + (u + 3 * k) % 40}", k) for u in range(100) for k in range(events)
    ]
    names = ("user_id", "item_id", "timestamp")
    log = write(tmp_path, **dict(zip(names, zip(*rows, strict=True), strict=True)))
    config = propose(log).config()
    *users, history = config.schema.query
    few = events == 6
    assert [one.column for one in users] == ([] if few else ["user_id"])
    assert (history.encoder.type, history.empty) == ("decay", "popular" if few else "zeros")
    # Few events are learned by heart: longer vectors, with dropout of the queries.
    assert (config.model.dropout, history.of.embedding_dim) == ((0.5, 128) if few else (0.0, 64))
    assert config.model.candidate_dropout == (0.0 if few else None)
    # In whole sequences the user's own next items would be most of the negatives.
    assert config.histories.form == "windows"
    assert history.history_length == (events if few else 20)


@pytest.mark.parametrize(("again", "events"), [(0.0, 8), (0.5, 8), (0.0, 30)])
def test_users_of_few_events_are_known_by_their_items_unless_they_come_back(tmp_path, again, events):
    random, rows = np.random.default_rng(0), []
    for user in range(100):
        had = []
        for k in range(events):
            back = had and random.random() < again
            had.append(had[random.integers(len(had))] if back else int(random.integers(900)))
            rows.append((f"u{user}", f"i{had[-1]}", k))
    names = ("user_id", "item_id", "timestamp")
    log = write(tmp_path, **dict(zip(names, zip(*rows, strict=True), strict=True)))
    config = propose(log).config()
    query = [(one.column, getattr(one, "max_tokens", None)) for one in config.schema.query]
    is_bag = not again and events == 8
    assert query == ([("user_id", 1), ("history", None)] if is_bag else [("user_id", None)])
    assert config.model.repeats == bool(again)


def test_users_with_two_events_are_validated_by_none(tmp_path):
    log = write(
        tmp_path,
        user_id=[f"u{i % 50}" for i in range(100)],
        item_id=[f"i{i % 7}" for i in range(100)],
        timestamp=[*range(100)],
    )
    config = propose(log).config()
    assert (config.split.validation_fraction, config.training.refit) == (0.0, False)
    assert prepare(config).validation is None


def test_ratings_that_cannot_be_read_are_left_out_and_said(tmp_path):
    log = write(
        tmp_path,
        user_id=["a", "a", "b", "b"],
        item_id=["x", "y", "x", "y"],
        timestamp=[1, 2, 3, 4],
        rating=[None, 1.0, 2.0, 3.0],
    )
    proposal = propose(log)
    assert proposal.config().data.ignore_columns == ("log.rating",)
    assert "No rating is read." in " ".join(proposal.messages)
    assert "rating" not in prepare(proposal.config()).known.log.columns


@pytest.mark.parametrize(("absent", "policy", "rows"), [(1, "drop", 399), (40, "add", 400)])
def test_items_that_the_table_lacks_are_dropped_if_few_and_added_if_many(
    tmp_path, absent, policy, rows
):
    items = [f"i{i % 40}" if i >= absent else f"new{i}" for i in range(400)]
    log = write(
        tmp_path, user_id=[f"u{i % 50}" for i in range(400)], item_id=items, timestamp=[*range(400)]
    )
    table = pl.DataFrame(
        {"item_id": [f"i{i}" for i in range(40)], "price": [i * 0.5 for i in range(40)]}
    )
    table.write_csv(tmp_path / "items.csv")
    proposal = propose(log, items=tmp_path / "items.csv")
    config = proposal.config()
    assert config.data.missing_items == policy
    # Items that are added have no price, and a number cannot be unknown.
    assert ("price" in config.schema.candidate_columns) == (policy == "drop")
    prepared = prepare(config)
    assert len(prepared.known) + len(prepared.test) == rows


def test_a_log_of_one_user_is_refused(tmp_path):
    log = write(tmp_path, user_id=["a", "a"], item_id=["x", "y"], timestamp=[1, 2])
    with pytest.raises(DataError, match=r'only one user \("a"\)'):
        propose(log)


@given(st.text(max_size=20))
def test_texts_are_written_as_toml_reads_them(text):
    from tfrecall.config.recipes import tomllib

    try:
        text.encode()
    except UnicodeEncodeError:
        return
    assert tomllib.loads(f"x = {value({'a b': [text]})}") == {"x": {"a b": [text]}}


def test_strange_names_and_paths_are_written_so_that_they_can_be_read(tmp_path):
    folder = tmp_path / 'a "folder" of 🎬 = films\\'
    folder.mkdir()
    log = write(
        folder,
        **{
            "user_id": [f"u{i % 30}" for i in range(120)],
            "item_id": [f"i{i % 7}" for i in range(120)],
            "timestamp": [*range(120)],
            "a\nname = [with] \x07 all 'kinds' of \"things\"": ["a", "b"] * 60,
        },
    )
    config = propose(log).config()
    assert config.data.source == str(log)
    assert len(prepare(config).test) == 30


@given(st.integers(2, 10**8), st.integers(2, 10**7), st.booleans())
def test_settings_are_valid_for_logs_of_every_size(rows, items, has_validation):
    facts = Facts(rows, rows // 2, items, 0.0, 0.0, has_validation, "leave_last_out")
    choice = choose_training(facts)
    assert 1 <= monitored_k(items) <= items
    assert choice.training["refit"] == has_validation


# At the command line


@pytest.mark.slow
def test_init_writes_a_file_that_loads_and_never_over_another(folder, tmp_path):
    file = tmp_path / "mine.toml"
    arguments = ["recipes", "init", folder / "purchases.csv", "--out", file]
    result = ask(*arguments)
    assert "log.price: left out: known only with the event" in result.stderr
    assert f" run {file}" in result.stdout  # after the program, as it can be called here
    assert load_config(str(file)).data.item_column == "sku"
    assert "is there already" in ask(*arguments, status=1).stderr
    answer = json.loads(ask(*arguments, "--force", "--json").stdout)
    assert answer["config"]["recipe"] == "purchases"
    assert "ends in .toml" in ask(*arguments[:-1], tmp_path / "mine.txt", status=1).stderr


def test_a_run_without_a_recipe_says_what_it_infers(folder, monkeypatch):
    seen = []

    def run(config, out, progress, **options):
        seen.append(config)
        raise DataError("enough")

    monkeypatch.setattr("tfrecall.runs.run.run", run)
    options = ["--data", folder / "purchases.csv", "--set", "training.epochs=2", "--budget", "0"]
    said = ask("run", *options, status=1).stderr
    assert "Inferred from the files" in said
    assert 'The user is taken from the column "customer_id"' in said
    assert (seen[0].recipe, seen[0].training.epochs) == ("purchases", 2)
    ask("run", "two_tower_ml100k", *options, status=1)
    assert seen[1].recipe == "two_tower_ml100k"


def test_movielens_folders_have_their_own_recipe(movielens_folder, monkeypatch):
    seen = []
    monkeypatch.setattr("tfrecall.runs.run.run", lambda config, *_, **__: seen.append(config) or 1 / 0)
    CliRunner().invoke(app, ["run", "--data", str(movielens_folder / "ml-100k")])
    CliRunner().invoke(app, ["run"])
    assert [config.recipe for config in seen] == ["two_tower_ml100k"] * 2


GOOD = {
    "user_id": [f"u{i % 30}" for i in range(120)],
    "item_id": [f"i{i % 7}" for i in range(120)],
    "timestamp": [*range(1_700_000_000, 1_700_000_120)],
}
ITEMS = {"item_id": [f"i{i}" for i in range(7)], "price": [i * 0.5 for i in range(7)]}


@pytest.mark.parametrize(
    ("log", "items", "said"),
    [
        (GOOD, ITEMS, ""),
        ({**GOOD, "user_id": ["NULL", *GOOD["user_id"][1:]]}, ITEMS, ""),
        ({**GOOD, "discount": [None, float("nan"), *[0.5] * 118]}, ITEMS, ""),
        (GOOD, {**ITEMS, "item_id": [f"x{i}" for i in range(7)]}, ""),  # added without features
        ({**GOOD, "timestamp": ["soon", *["2024-05-01"] * 119]}, ITEMS, "timestamp"),
        ({**GOOD, "user_id": ["a"] * 120}, ITEMS, "only one user"),
        (GOOD, {**ITEMS, "item_id": ["i0"] * 7}, "duplicate ids"),
        (GOOD, {**ITEMS, "item_id": [f"I{i}" for i in range(7)]}, "spell their ids differently"),
        ({**GOOD, "user_id": [None] * 120}, ITEMS, "no user"),
    ],
)
def test_describe_refuses_what_a_run_refuses_and_advises_alike(tmp_path, monkeypatch, log, items, said):
    pl.DataFrame(log).write_parquet(tmp_path / "log.parquet")
    pl.DataFrame(items).write_csv(tmp_path / "items.csv")

    def only_prepare(config, *_, **__):
        prepare(config)
        raise DataError("It was read.")

    monkeypatch.setattr("tfrecall.runs.run.run", only_prepare)
    tables = ["--items", tmp_path / "items.csv", "--timestamp-column", "timestamp"]
    run_alone = ["run", "--budget", "0", "--data", tmp_path / "log.parquet"]
    ran = " ".join(ask(*run_alone, *tables, status=1).stderr.split())
    described = ask("data", "describe", tmp_path / "log.parquet", *tables, status=1 if said else 0)
    assert ("It was read." in ran) == (not said)
    assert said in ran
    assert said in " ".join((described.stdout + described.stderr).split())
    if not said:
        advice = [
            line[2:] for line in described.stdout.split("Advice:")[1].splitlines() if line[:2] == "- "
        ]
        assert advice
        assert all(" ".join(line.split()) in ran for line in advice)
