"""Releases side by side: the same rows or a refusal that names the difference, and what they differ in."""

import json
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from tests.cli.test_cli import ask
from tests.progress import RecordedProgress
from tests.report.helpers import Page, a_retriever
from tests.report.test_run_page import assert_alone
from tfrecall.baselines import ease
from tfrecall.baselines.ease import EASE
from tfrecall.baselines.item_cf import ItemCF
from tfrecall.baselines.popularity import Popularity
from tfrecall.cli.tables import comparison_tables
from tfrecall.data.splits import split_random
from tfrecall.errors import ConfigError, DataError, ReleaseError
from tfrecall.evaluation import evaluate, user_lists
from tfrecall.evaluation.comparison import compare
from tfrecall.evaluation.truth import had_before
from tfrecall.exporting.export import export
from tfrecall.report import comparison_page
from tfrecall.runs.comparable import comparable


def a_release(item_ids, seed, **manifest):
    """What `compare` asks of a release."""
    retriever = a_retriever(item_ids, seed=seed)
    return SimpleNamespace(
        item_ids=retriever.item_ids,
        scores=retriever.scores,
        manifest={"schema": {"candidate": [{"type": "text", "column": "title"}]}, **manifest},
    )


@pytest.fixture(scope="module")
def rows(tiny_log):
    return split_random(tiny_log, 0.2, seed=1)


@pytest.fixture(scope="module")
def releases(tiny_log):
    ids = tiny_log.items["item_id"].to_list()
    return {"old": a_release(ids, 1), "new": a_release(ids, 2), "again": a_release(ids, 1)}


@pytest.fixture(scope="module")
def compared(releases, rows):
    return compare(releases, rows[1], seen=rows[0], ks=(5, 10), resamples=200)


# Figures


def test_figures_are_those_of_evaluate_and_baselines_stand_once(compared, rows, tiny_log):
    known, test = rows
    for name, seed in (("old", 1), ("new", 2)):
        alone = evaluate(
            a_retriever(tiny_log.items["item_id"].to_list(), name, seed), test, seen=known, ks=(5, 10)
        )
        assert compared.models[name] == alone.test
    assert compared.baselines == alone.baselines
    assert list(compared.models) == ["old", "new", "again"]
    assert list(compared.differences) == ["new", "again"]


def test_intervals_lie_about_the_difference_of_the_figures(compared):
    for rule in ("seen_removed", "seen_kept"):
        found = compared.differences["new"].intervals[rule]
        assert {"hit_rate@5", "ndcg@10", "mrr", "user_recall@10", "user_ndcg@5"} <= found.keys()
        for metric, interval in found.items():
            new, old = (compared.models[name][rule][metric] for name in ("new", "old"))
            assert interval.difference == pytest.approx(new - old)
            assert interval.low <= interval.difference <= interval.high


def test_a_model_does_not_differ_from_itself(compared):
    same = compared.differences["again"]
    for intervals in same.intervals.values():
        assert {(i.difference, i.low, i.high, i.excludes_zero) for i in intervals.values()} == {
            (0, 0, 0, False)
        }
    assert (same.common, same.gained, same.lost) == (1, [], [])


def test_plain_types_say_what_excludes_zero(compared):
    told = json.loads(json.dumps(compared.to_dict()))
    interval = told["differences"]["new"]["intervals"]["seen_kept"]["mrr"]
    assert interval["excludes_zero"] == (interval["low"] > 0 or interval["high"] < 0)


# Lists


@pytest.mark.slow
@pytest.mark.parametrize("leading", ["seen_removed", "seen_kept"])
def test_what_one_recommends_and_the_other_does_not(releases, rows, tiny_log, leading):
    """By sets, user by user."""
    known, test = rows
    found = compare(
        {name: releases[name] for name in ("old", "new")},
        test,
        seen=known,
        ks=(5,),
        leading=leading,
        k=4,
    ).differences["new"]
    ids = tiny_log.items["item_id"].to_list()
    old, new = (
        user_lists(a_retriever(ids, seed=s), test, seen=known, k=4, keep_seen=leading == "seen_kept")
        for s in (1, 2)
    )
    pairs = [(set(a) - {-1}, set(b) - {-1}) for a, b in zip(old.rows, new.rows, strict=True)]
    assert found.common == pytest.approx(
        np.mean([len(a & b) / max(len(a), len(b)) for a, b in pairs if a or b])
    )
    only_new = [item for a, b in pairs for item in b - a]
    for item in found.gained:
        row = ids.index(item["item_id"])
        assert item["users"] == only_new.count(row)
        assert item["second"] == sum(row in b for _, b in pairs)
        assert item["train_rows"] == known.log.filter(item_id=item["item_id"]).height
        assert item["title"] == tiny_log.items["title"][row]
    counts = [item["users"] for item in found.gained]
    assert counts == sorted((only_new.count(row) for row in set(only_new)), reverse=True)[: len(counts)]


def test_examples_go_from_the_least_alike_lists_to_the_most_alike(compared, rows, tiny_log):
    examples = compared.differences["new"].examples
    shares = [one["common"] for one in examples]
    assert shares == sorted(shares)
    titles = dict(tiny_log.items.select("item_id", "title").iter_rows())
    for one in examples:
        assert one["common"] == pytest.approx(len(one["both"]) / 10)
        assert len(one["both"]) + len(one["only_first"]) == 10
        log = rows[1].log.filter(user_id=one["user_id"])
        shown = {*one["both"], *one["only_first"], *one["only_second"]}
        assert set(one["chosen"]) == shown & {titles[item] for item in log["item_id"]}


def test_catalogues_in_another_order_are_compared_by_id(tiny_log, rows):
    ids = tiny_log.items["item_id"].to_list()
    straight, turned = a_release(ids, 1), a_release(ids, 1)
    turned.item_ids = turned.item_ids[::-1]
    turned.scores = lambda queries: straight.scores(queries)[:, ::-1]
    found = compare({"a": straight, "b": turned}, rows[1], seen=rows[0], ks=(5,), resamples=10)
    assert found.differences["b"].common == 1
    assert found.models["a"]["seen_kept"]["mrr"] == pytest.approx(found.models["b"]["seen_kept"]["mrr"])


@pytest.mark.parametrize(
    ("names", "leading"), [(["old"], "seen_kept"), (["old", "new"], "kept"), ([], "seen_kept")]
)
def test_one_release_or_no_rule_is_refused(releases, rows, names, leading):
    with pytest.raises(ConfigError, match=r"two or more releases, or one and a baseline.* one rule"):
        compare({n: releases[n] for n in names}, rows[1], seen=rows[0], leading=leading)


# Baselines


@pytest.fixture(scope="module")
def beside_baselines(releases, rows):
    """One release, and two baselines of which one stands beside every release."""
    return compare(
        {"old": releases["old"]},
        rows[1],
        seen=rows[0],
        ks=(5, 10),
        baselines=["ease", "popularity"],
        resamples=200,
    )


def test_baselines_are_judged_as_if_they_were_releases(beside_baselines, releases, rows):
    """The same figures, lists and intervals as those of a release with the same scores."""
    known, test = rows
    fitted = {"mine": EASE().fit(known), "most": Popularity().fit(known)}
    as_releases = {
        name: SimpleNamespace(item_ids=one.item_ids, scores=one.scores, manifest={})
        for name, one in fitted.items()
    }
    wanted = compare(
        {"old": releases["old"], **as_releases}, test, seen=known, ks=(5, 10), resamples=200
    )
    assert list(beside_baselines.models) == ["old", "ease", "popularity"]
    assert list(beside_baselines.differences) == ["ease", "popularity"]
    for name, other in (("ease", "mine"), ("popularity", "most")):
        assert beside_baselines.models[name] == wanted.models[other]
        assert beside_baselines.differences[name] == wanted.differences[other]
    assert beside_baselines.differences["ease"].gained


def test_what_is_compared_does_not_stand_beside(beside_baselines, releases, rows):
    assert list(beside_baselines.baselines) == ["item_cf", "own_most_frequent", "own_most_recent"]
    chosen = compare(
        {"old": releases["old"]}, rows[1], seen=rows[0], baselines=["swing"], beside=["user_cf"]
    )
    assert list(chosen.baselines) == ["user_cf"]


def test_own_items_are_compared_where_seen_ones_are_kept_and_nowhere_else(releases, rows):
    found = compare(
        {"old": releases["old"]},
        rows[1],
        seen=rows[0],
        baselines=["own_most_recent"],
        beside=["own_most_frequent"],
        resamples=50,
    )
    assert found.models["own_most_recent"].keys() == {"seen_kept"}
    assert found.baselines["own_most_frequent"].keys() == {"seen_kept"}
    assert found.differences["own_most_recent"].intervals.keys() == {"seen_kept"}
    told = found.to_dict()
    assert told["targets_had"] == had_before(rows[1], rows[0]).sum() > 0
    sentence = f"{told['targets_had']:,} of {len(rows[1]):,} targets had been had before"
    assert sentence in comparison_page(told)
    table, said, *_ = comparison_tables(told)
    assert table.row_count == 2 * 3 - 2
    assert sentence in said


def test_the_page_shows_baselines_as_members(beside_baselines):
    page = Page(comparison_page(beside_baselines.to_dict()))
    assert "ease against old" in page.text
    assert "Recommended by popularity only" in page.text


@pytest.mark.parametrize(
    ("name", "baselines", "said"),
    [
        ("old", ["eas"], 'no baseline "eas"'),
        ("ease", ["ease"], 'both called "ease"'),
        ("item_cf", ["ease"], 'both called "item_cf"'),
    ],
)
def test_wrong_names_are_refused_before_anything_is_judged(releases, rows, name, baselines, said):
    deaf = SimpleNamespace(manifest=releases["old"].manifest)
    with pytest.raises(ConfigError, match=said):
        compare({name: deaf}, rows[1], seen=rows[0], baselines=baselines)


def test_a_baseline_that_does_not_fit_is_refused_before_anything_is_judged(releases, rows, monkeypatch):
    monkeypatch.setattr(ease, "available_bytes", lambda: 100)
    deaf = SimpleNamespace(manifest=releases["old"].manifest)
    with pytest.raises(DataError, match="EASE inverts"):
        compare({"old": deaf}, rows[1], seen=rows[0], baselines=["swing", "ease"])


def test_the_page_is_whole_alone_and_names_everybody(compared):
    html = comparison_page(compared.to_dict())
    assert_alone(html)
    page = Page(html)
    assert len(page.all("svg")) == 2 + 2 * 2  # recall by rule; for each other release both rules
    for text in ("old", "new", "again", "popularity", "Recommended by new only", "user_ndcg@5"):
        assert text in page.text
    evil = compared.to_dict()
    evil["differences"]["new"]["gained"][0]["title"] = "<script>alert(1)</script>"
    assert_alone(comparison_page(evil))


# The same rows


@pytest.fixture
def log_file(tiny_log, tmp_path):
    tiny_log.log.write_csv(tmp_path / "log.csv")
    return tmp_path / "log.csv"


def a_config(log_file, **sections):
    schema = {
        "query": [{"type": "categorical", "column": "user_id", "embedding_dim": 2}],
        "candidate": [{"type": "categorical", "column": "item_id", "embedding_dim": 2}],
    }
    return {"recipe": "r", "schema": schema, "data": {"source": str(log_file)}, **sections}


def releases_of(*configs):
    """Releases that say what a run of each configuration would say."""
    from tfrecall.config.recipes import config_from_dict
    from tfrecall.runs.preparation import prepare

    made = {}
    for name, config in zip("ab", configs, strict=True):
        known = prepare(config_from_dict(config)).known
        facts = {"fingerprint": known.fingerprint, "train_rows": len(known), "items": 40}
        made[name] = SimpleNamespace(manifest={"config": config, "data": facts})
    return made


def test_equal_data_and_split_give_the_rows_of_the_first(log_file):
    made = releases_of(a_config(log_file), a_config(log_file, model={"layer_sizes": [3]}))
    progress = RecordedProgress()
    prepared, config = comparable(made, progress=progress)
    assert len(prepared.test) == 180
    assert config.recipe == "r"
    assert not any("not the data" in text for text in progress.notes)


def test_other_training_rows_are_refused_by_the_setting(log_file):
    made = releases_of(a_config(log_file), a_config(log_file, split={"seed": 7}))
    with pytest.raises(
        ReleaseError, match=r"did not learn from the same data: split\.seed is 42 in a and 7 in b"
    ):
        comparable(made)


def test_other_files_of_the_same_name_are_told(log_file, tiny_log):
    before = releases_of(a_config(log_file), a_config(log_file))["a"]
    tiny_log.log[:-5].write_csv(log_file)
    after = releases_of(a_config(log_file), a_config(log_file))["b"]
    with pytest.raises(ReleaseError, match=r"train_rows 720 against 716"):
        comparable({"a": before, "b": after})


def test_other_test_rows_after_the_same_training_rows_are_refused(log_file, tiny_log):
    """By time, one of them without the test rows of items that are new then."""
    log = tiny_log.log.sort("timestamp", maintain_order=True)
    at = log["timestamp"][500]
    before, after = log.filter(pl.col("timestamp") < at), log.filter(pl.col("timestamp") >= at)
    old = after.join(before, on="item_id", how="semi").height
    assert 0 < old < after.height
    split = {"method": "by_time", "at": str(at), "validation_fraction": 0.0}
    made = releases_of(
        a_config(log_file, split=split), a_config(log_file, split={**split, "known_items": True})
    )
    with pytest.raises(ReleaseError) as refused:
        comparable(made)
    told = str(refused.value)
    assert "not judged by the same test rows: split.known_items is False in a and True in b" in told
    assert f"gives {after.height} and {old} test rows, {old} of the first also among" in told


def test_moved_files_are_named_and_changed_ones_are_said(log_file, tiny_log, tmp_path):
    made = releases_of(a_config(log_file), a_config(log_file))
    moved = log_file.rename(tmp_path / "moved.csv")
    progress = RecordedProgress()
    prepared, _ = comparable(made, {"source": str(moved)}, progress)
    assert len(prepared.test) == 180
    tiny_log.log[5:].write_csv(moved)
    comparable(made, {"source": str(moved)}, progress)
    assert progress.notes[-1].startswith("These are not the data of the runs")


def test_a_release_without_a_configuration_is_named(log_file):
    made = releases_of(a_config(log_file), a_config(log_file))
    fingerprint = made["b"].manifest["data"].pop("fingerprint")
    del made["b"].manifest["config"]
    with pytest.raises(ReleaseError, match=r"b was exported without a configuration, so its test rows"):
        comparable(made)
    made["b"].manifest["data"]["fingerprint"] = fingerprint  # it learned from the same rows after all
    prepared, config = comparable({"b": made["b"], "a": made["a"]})
    assert (len(prepared.test), config.recipe) == (180, "r")


@pytest.fixture
def saved(log_file, tmp_path):
    """A release that says what a run would say, and a baseline saved in Python, fitted to the same rows."""
    from tfrecall.config.recipes import config_from_dict
    from tfrecall.runs.preparation import prepare

    config = config_from_dict(a_config(log_file, evaluation={"ks": (5, 10), "baselines": ("user_cf",)}))
    known = prepare(config).known
    facts = {"config": config.to_dict(), "data": {"fingerprint": known.fingerprint, "train_rows": 720}}
    export(ItemCF(3).fit(known), tmp_path / "mine", exclude_seen=False, facts=facts)
    export(ItemCF().fit(known), tmp_path / "bare")
    export(ItemCF().fit(known.with_log(known.log[5:])), tmp_path / "other")
    return tmp_path


def compared_by_command(*arguments):
    return json.loads(ask("compare", *arguments, "--json").stdout)


@pytest.mark.slow
def test_saved_baselines_are_compared_at_the_command_line(saved):
    """`bare` has no configuration, but learned from the rows of `mine`; with all neighbours it is other."""
    found = compared_by_command(saved / "mine", saved / "bare", "--baseline", "item_cf")
    assert list(found["models"]) == ["mine", "bare", "item_cf"]
    assert list(found["baselines"]) == ["user_cf"]
    assert found["leading"] == "seen_kept"
    assert found["models"]["bare"] == found["models"]["item_cf"]
    assert found["models"]["mine"] != found["models"]["bare"]
    assert found["differences"]["bare"]["gained"]
    assert compared_by_command(saved / "bare", saved / "mine")["reference"] == "bare"


@pytest.mark.slow
def test_one_release_is_compared_with_baselines(saved):
    result = ask("compare", saved / "mine", "--baseline", "ease", "--baseline", "popularity")
    shown = " ".join(result.stdout.split())
    for text in (
        "ease less mine",
        "popularity less mine",
        "┃ @10 ┃ @10 ┃ mrr ┃",
        "user_cf",
        "not by mine",
    ):
        assert text in shown


def test_a_saved_baseline_of_other_rows_is_refused_and_what_to_do_is_said(saved):
    told = ask("compare", saved / "mine", saved / "other", status=1).stderr
    assert "other was exported without a configuration" in told
    assert "did not learn from the same data as mine: train_rows 715 against 720" in told
    assert "Leave it out and say `--baseline item_cf`" in told
    told = ask("compare", saved / "bare", "--baseline", "ease", status=1).stderr
    assert "bare was exported without a configuration" in told


def test_a_wrong_baseline_is_refused_before_a_release_is_opened(tmp_path):
    told = ask("compare", tmp_path / "nothing", "--baseline", "eas", status=1).stderr
    assert 'no baseline "eas". Did you mean "ease"?' in told


# The command


def test_the_command_refuses_before_it_works(tiny_root):
    assert "two or more different" in ask("compare", tiny_root, status=1).stderr
    assert "two or more different" in ask("compare", tiny_root, tiny_root, status=1).stderr
    assert "no version 9" in ask("compare", tiny_root, f"{tiny_root}@9", status=1).stderr
    told = ask("compare", tiny_root, f"{tiny_root}@1", status=1).stderr
    assert "tiny was exported without a configuration" in told


def test_names_are_short_where_that_is_enough():
    from tfrecall.cli.compare import named

    assert named(["runs/a", "runs/b"]) == {"a": "runs/a", "b": "runs/b"}
    assert named(["x/a", "y/a", "b@2"]) == {"x/a": "x/a", "y/a": "y/a", "b@2": "b@2"}
    assert named(["runs/swing", "b"]) == {"runs/swing": "runs/swing", "b": "b"}
