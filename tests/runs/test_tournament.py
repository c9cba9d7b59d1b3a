"""Tournaments with stub networks: who is judged, who wins, what is kept, what a killed one goes on from."""

import json

import numpy as np
import polars as pl
import pytest

from tests.commands import ask
from tests.progress import RecordedProgress
from tests.report.helpers import Page
from tfrecall.baselines.popularity import OwnItems
from tfrecall.config.inference import Entrant, entrants, propose
from tfrecall.errors import CheckpointError, ConfigError, DataError
from tfrecall.release import load
from tfrecall.runs import tournament
from tfrecall.runs.halving import halve
from tfrecall.runs.preparation import prepare
from tfrecall.runs.tournament import run_best
from tfrecall.training.fitting import Fitted

# A budget that a slow machine does not spend on baselines.
HOUR = 3600


def log_of_habits(n_users=60, n_items=80, events=25, seed=0):
    """Users who mostly come back to four items of their own: counting these is hard to beat."""
    random, rows = np.random.default_rng(seed), []
    for user in range(n_users):
        own = random.choice(n_items, 4, replace=False)
        for event in range(events):
            item = own[random.integers(4)] if random.random() < 0.8 else random.integers(n_items)
            rows.append((f"u{user}", f"i{item}", 1_600_000_000 + 86_400 * (7 * event) + user))
    return pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")


@pytest.fixture(scope="module")
def proposal(tmp_path_factory):
    file = tmp_path_factory.mktemp("habits") / "habits.parquet"
    log_of_habits().write_parquet(file)
    return propose(file)


class Network:
    """A stub that knows a share of the targets of the validation rows, one a user."""

    name = "stub"

    def __init__(self, share, rows):
        self.share, self.rows = share, rows
        self.item_ids = rows.item_vocabulary.ids

    def retriever(self, log):
        return self

    def scores(self, queries):
        random = np.random.default_rng(0)
        scores = random.random((queries.height, len(self.item_ids)), np.float32)
        asked = queries.select("user_id").join(
            self.rows.log, on="user_id", how="left", maintain_order="left"
        )
        found = np.arange(queries.height) < self.share * queries.height
        scores[found, self.rows.item_vocabulary.rows(asked["item_id"])[found]] = 2
        return scores


@pytest.fixture
def stubs(monkeypatch):
    """Share of the targets that the network of each learning rate finds, and the turns it had."""
    shares, turns = {}, []

    def first_fit(config, splits, progress, checkpoints):
        rate = config.training.learning_rate
        turns.append(rate)
        checkpoints.paused = turns.count(rate) < 3 and checkpoints.until != np.inf
        share = shares[rate]
        if isinstance(share, BaseException):
            raise share
        return Network(share, splits.validation), Fitted({}, turns.count(rate), 1, 1.0, 1.0)

    monkeypatch.setattr(tournament, "first_fit", first_fit)
    return shares, turns


def networks(proposal, *rates):
    own = [one for one in entrants(proposal) if one.config is None or one.config.counts]
    made = [
        Entrant(f"network {rate}", "a stub", proposal.config([f"training.learning_rate={rate}"]))
        for rate in rates
    ]
    return [*own, *made]


@pytest.fixture
def no_run(monkeypatch):
    """The configuration that a tournament would run."""
    ran = []

    def run(config, out, progress, **options):
        ran.append((config, options))

    monkeypatch.setattr(tournament, "run", run)
    return ran


# Who wins


@pytest.mark.slow
def test_the_baseline_is_run_where_no_network_is_above_it(proposal, stubs, tmp_path):
    shares, turns = stubs
    shares[0.5] = 0.1
    progress = RecordedProgress()
    outcome = run_best(networks(proposal, 0.5), HOUR, tmp_path / "out", progress)
    told = outcome.metrics["tournament"]
    assert told["chosen"] == outcome.metrics["model"] == "own_most_frequent"
    assert outcome.release.manifest["kind"] == "baseline"
    # After its only round it is below counting: it trains to its end before that is decided.
    assert turns == [0.5, 0.5]
    states = {one["name"]: one["state"] for one in told["entrants"]}
    assert states["network 0.5"] == "finished"
    assert states["own_most_frequent"] == "chosen"
    assert not (tmp_path / "out" / "tournament").exists(), (
        "nothing is kept of a tournament that is over"
    )
    text = Page((tmp_path / "out" / "report.html").read_text("utf-8")).text
    assert "How it was chosen" in text
    assert "network 0.5" in text


@pytest.mark.slow
def test_the_configuration_of_the_winner_gives_the_same_model_alone(proposal, stubs, tmp_path):
    stubs[0][0.5] = 0.0
    first = run_best(networks(proposal, 0.5), HOUR, tmp_path / "out")
    told = ask("run", tmp_path / "out" / "config.toml", "--out", tmp_path / "alone", "--json").stdout
    assert json.loads(told)["test"] == first.metrics["test"]
    ours, theirs = first.release, load(tmp_path / "alone")
    assert ours.manifest["model"]["fingerprint"] == theirs.manifest["model"]["fingerprint"]
    users = first.splits.test.log["user_id"].unique().to_list()
    for one, other in zip(ours.recommend(users, 5), theirs.recommend(users, 5), strict=True):
        assert one.item_ids == other.item_ids


@pytest.mark.slow
def test_the_release_of_own_items_answers_as_they_do(proposal, stubs, tmp_path):
    stubs[0][0.5] = 0.0
    outcome = run_best(networks(proposal, 0.5), HOUR, tmp_path / "out")
    own = OwnItems("frequency").fit(outcome.splits.known)
    queries = outcome.splits.test.queries
    np.testing.assert_array_equal(load(tmp_path / "out").scores(queries), own.scores(queries))


def test_a_network_above_counting_by_more_than_noise_is_run(proposal, stubs, no_run, tmp_path):
    shares, turns = stubs
    shares |= {0.1: 0.2, 0.2: 1.0, 0.3: 0.3, 0.4: 0.5}
    run_best(networks(proposal, *shares), HOUR, tmp_path / "out")
    ((config, options),) = no_run
    assert config.training.learning_rate == 0.2
    assert "network 0.2 is chosen" in config.description
    # Four, then the better two, then the best, which stops by itself in its third turn.
    assert turns == [0.1, 0.2, 0.3, 0.4, 0.2, 0.4, 0.2]
    rows = {one["name"]: one for one in options["tournament"]["entrants"]}
    assert [rows[f"network {rate}"]["epochs"] for rate in shares] == [1, 3, 1, 2]
    assert [rows[f"network {rate}"]["state"] for rate in shares] == [
        "stopped",
        "chosen",
        "stopped",
        "stopped",
    ]
    assert rows["network 0.2"]["lead"] > rows["network 0.2"]["noise"] > 0


@pytest.mark.slow
def test_who_cannot_be_judged_is_out_with_the_reason(proposal, stubs, no_run, tmp_path):
    stubs[0].update({0.1: DataError("too wide"), 0.2: 1.0})
    progress = RecordedProgress()
    run_best(networks(proposal, 0.1, 0.2), HOUR, tmp_path / "out", progress)
    rows = {one["name"]: one for one in no_run[0][1]["tournament"]["entrants"]}
    assert (rows["network 0.1"]["state"], rows["network 0.1"]["why"]) == ("failed", "too wide")
    assert "network 0.1 is out: too wide" in progress.notes
    assert rows["network 0.2"]["state"] == "chosen"


@pytest.mark.slow
def test_a_budget_of_nothing_has_a_turn_for_the_first_network_alone(proposal, stubs, no_run, tmp_path):
    stubs[0].update({0.1: 0.1, 0.2: 1.0})
    run_best(networks(proposal, 0.1, 0.2), 1e-9, tmp_path / "out")
    rows = {one["name"]: one for one in no_run[0][1]["tournament"]["entrants"]}
    assert rows["network 0.2"]["why"] == "the budget ended before its turn"
    assert rows["network 0.1"]["state"] == "finished"
    assert set(stubs[1]) == {0.1}


# What is kept


@pytest.mark.slow
def test_a_killed_tournament_goes_on_where_it_ended(proposal, stubs, no_run, tmp_path, monkeypatch):
    shares, turns = stubs
    shares |= {0.1: 0.2, 0.2: 1.0, 0.3: 0.1}
    whole = tmp_path / "whole"
    run_best(networks(proposal, *shares), HOUR, whole)
    once = [*turns]
    turns.clear()
    judged = []
    original = tournament._Tournament._fitted

    def fitted(self, one, seconds):
        judged.append(one.name)
        if len(judged) in (3, 9, 14):  # a baseline, a network, a second turn
            raise KeyboardInterrupt
        return original(self, one, seconds)

    monkeypatch.setattr(tournament._Tournament, "_fitted", fitted)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            run_best(networks(proposal, *shares), HOUR, tmp_path / "out")
    run_best(networks(proposal, *shares), HOUR, tmp_path / "out")
    assert turns == once, "what was judged is not repeated"
    ended, resumed = (options["tournament"] for _, options in no_run)
    assert resumed["because"] == ended["because"]
    assert [one["name"] for one in resumed["entrants"]] == [one["name"] for one in ended["entrants"]]


@pytest.mark.slow
def test_records_of_other_settings_do_not_count(proposal, stubs, no_run, tmp_path, monkeypatch):
    shares, turns = stubs
    shares |= {0.1: 0.9, 0.2: 1.0}
    kept = tournament.Records.discard
    monkeypatch.setattr(tournament.Records, "discard", lambda self: None)
    run_best(networks(proposal, 0.1), HOUR, tmp_path / "out")
    renamed = [
        *networks(proposal, 0.1)[:-1],
        Entrant("network 0.1", "", networks(proposal, 0.2)[-1].config),
    ]
    run_best(renamed, HOUR, tmp_path / "out")
    assert turns == [0.1, 0.2]
    monkeypatch.setattr(tournament.Records, "discard", kept)
    run_best(renamed, HOUR, tmp_path / "out", fresh=True)
    assert turns == [0.1, 0.2, 0.2]


def test_checkpoints_of_another_run_are_not_replaced(proposal, stubs, no_run, tmp_path):
    stubs[0][0.1] = 0.5
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "000001.npz").write_bytes(b"")
    with pytest.raises(CheckpointError, match="--budget 0"):
        run_best(networks(proposal, 0.1), HOUR, tmp_path)
    run_best(networks(proposal, 0.1), HOUR, tmp_path, fresh=True)
    assert not (tmp_path / "checkpoints").exists()


def test_the_checkpoints_of_the_winner_are_those_of_its_run(
    proposal, stubs, no_run, tmp_path, monkeypatch
):
    stubs[0][0.1] = 1.0
    original = tournament.first_fit

    def first_fit(config, splits, progress, checkpoints):
        checkpoints.folder.mkdir(parents=True, exist_ok=True)
        (checkpoints.folder / "000001.npz").write_bytes(b"weights")
        return original(config, splits, progress, checkpoints)

    monkeypatch.setattr(tournament, "first_fit", first_fit)
    run_best(networks(proposal, 0.1), HOUR, tmp_path / "out")
    assert (tmp_path / "out" / "checkpoints" / "000001.npz").read_bytes() == b"weights"


def test_test_rows_are_not_looked_at(proposal, stubs, no_run, tmp_path):
    stubs[0][0.1] = 1.0
    invited = networks(proposal, 0.1)
    splits = prepare(invited[0].config)
    run_best(invited, HOUR, tmp_path / "out")
    assert no_run[0][1]["tournament"]["rows"] == len(splits.validation)
    assert no_run[0][1]["splits"].test.fingerprint == splits.test.fingerprint


# Halving


def given(names, seconds, took=None, scores=None):
    turns = []

    def turn(name, share, number):
        turns.append((name, round(share, 6), number))
        return share if took is None else took(name, share)

    left = halve(names, seconds, turn, (scores or {n: -i for i, n in enumerate(names)}).__getitem__)
    return left, turns


def test_rounds_share_the_budget_and_the_worse_half_stops():
    left, turns = given([*"abcd"], 120, scores=dict(zip("abcd", [1, 4, 2, 3], strict=True)))
    assert left == ["b"]
    assert turns == [
        *[(name, 10, 1) for name in "abcd"],
        *[(name, 20, 2) for name in "bd"],
        ("b", 40, 3),
    ]


def test_what_one_leaves_over_goes_to_the_next_and_a_debt_is_paid_by_all():
    # a stops after 1 of its 15 s: b has the rest of the round, then its own and what is left.
    _, turns = given([*"ab"], 60, took=lambda name, share: 1 if name == "a" else share)
    assert turns == [("a", 15, 1), ("b", 29, 1), ("a", 30, 2)]
    # The first epoch of a takes a minute: nothing is left for b.
    _, turns = given([*"ab"], 60, took=lambda name, share: 70 if name == "a" else 0)
    assert turns == [("a", 15, 1), ("b", -40, 1), ("a", -10, 2)]


def test_one_has_the_whole_budget_and_none_has_no_turn():
    assert given(["a"], 60) == (["a"], [("a", 60, 1)])
    assert given([], 60) == ([], [])


# Who is invited


def test_baselines_are_invited_by_what_the_log_says(proposal, tmp_path):
    names = {one.name: one for one in entrants(proposal)}
    assert names["own_most_frequent"].config is not None
    assert names["recent_popularity, 30 days"].config.model.settings == {"window_days": 30.0}
    assert "recent_popularity, 90 days" not in names, "the log lasts 168 days"
    assert names["ease, l2 100"].config.data == proposal.config().data
    alone = log_of_habits(events=12).unique(["user_id", "item_id"], maintain_order=True)
    alone.drop("timestamp").write_csv(tmp_path / "untimed.csv")
    others = {one.name: one for one in entrants(propose(tmp_path / "untimed.csv"))}
    assert others["own_most_frequent"].config is None
    assert "repeat an item" in others["own_most_frequent"].why
    assert (others["recent_popularity"].config, others["recent_popularity"].why) == (
        None,
        "the log has no times",
    )


def test_ease_is_not_invited_where_its_inverse_takes_too_much_of_the_budget(proposal):
    # Two inverses of 80 x 80 are 1,024,000 operations, 51 microseconds: more than a fifth of 200.
    (ease,) = [one for one in entrants(proposal, budget_seconds=2e-4) if one.name.startswith("ease")]
    assert ease.config is None
    assert "80 x 80" in ease.why


def test_settings_hold_for_all_whom_they_concern(proposal):
    more = entrants(proposal, ["split.validation_fraction=0.2", "training.epochs=3"])
    assert {one.config.split.validation_fraction for one in more if one.config} == {0.2}
    networks = [one.config for one in more if one.config and not one.config.counts]
    assert {config.training.epochs for config in networks} == {3}
    with pytest.raises(ConfigError, match="there is no such setting"):
        entrants(proposal, ["training.epoch=3"])


def test_without_validation_rows_what_is_inferred_is_run(proposal, no_run, tmp_path):
    progress = RecordedProgress()
    alone = entrants(
        proposal, ["split.validation_fraction=0", "training.refit=false", "model.repeats=false"]
    )
    run_best(alone, HOUR, tmp_path / "out", progress)
    assert no_run[0][0].model.type == "two_tower"
    assert any("no validation rows" in note for note in progress.notes)


# At the command line


@pytest.mark.parametrize(
    ("budget", "said"), [("soon", "takes a time such as 90s"), ("-1m", "takes a time")]
)
def test_a_budget_is_a_time(tmp_path, budget, said):
    log_of_habits().write_csv(tmp_path / "log.csv")
    command = ["run", "--data", tmp_path / "log.csv", f"--budget={budget}"]
    assert said in ask(*command, status=1).stderr


def test_a_budget_beside_a_recipe_is_refused():
    assert "a recipe is a choice" in ask("run", "sasrec_ml1m", "--budget", "5m", status=1).stderr


@pytest.mark.slow
def test_a_baseline_that_is_chosen_ends_with_0_and_shows_the_table(tmp_path, stubs, monkeypatch):
    stubs[0][0.1] = 0.0
    log_of_habits().write_csv(tmp_path / "log.csv")
    result = ask("run", "--data", tmp_path / "log.csv", "--out", tmp_path / "out", "--budget", "2m")
    assert "own_most_frequent is chosen" in result.stdout
    assert "user_id, repeats" in result.stdout
    assert "Choose among" in result.stderr
    assert "within 2 min" in result.stderr
