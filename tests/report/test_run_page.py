"""The page of a run: whole, alone, safe, and it says what was measured."""

import base64
import hashlib
import json
import re

import polars as pl
import pytest

from tests.progress import RecordedProgress
from tests.report.helpers import Page, a_run
from tfrecall.errors import ExportError
from tfrecall.evaluation.summary import primary_metrics
from tfrecall.report import page_or_error, run_page, write_page
from tfrecall.report.images import is_image

EVIL = "</title><script>alert('x')</script>\"><img src=x onerror=alert(1)>&amp;"


@pytest.fixture(scope="module")
def subject(tiny_log):
    return a_run(tiny_log)


@pytest.fixture(scope="module")
def html(subject):
    return run_page(subject)


@pytest.fixture(scope="module")
def parsed(html):
    return Page(html)


# Whole and alone


def test_every_element_is_closed_and_the_page_is_small(html, parsed):
    assert html.lower().startswith("<!doctype html>")
    assert len(parsed.all("svg")) == 8
    assert len(html.encode()) < 1_000_000


def assert_alone(html):
    """Nothing but pictures beside the page is loaded; one script runs, which the page's policy names."""
    page = Page(html)
    names = {name for name, _, _ in page.elements}
    assert not names & {"link", "iframe", "object", "embed", "base", "form", "use"}
    for name, attributes, _ in page.elements:
        assert not {"srcset", "action", "xlink:href"} & attributes.keys()
        assert not [name for name in attributes if name.startswith("on")]
        assert attributes.get("href", "#").startswith("#")
        assert name == "img" or "src" not in attributes
    assert all(is_image(image["src"]) for image in page.all("img"))
    styles = "".join(text for name, text in page.texts if name == "style")
    assert "url(" not in styles
    assert "@import" not in styles
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    assert html.count("<script") == len(scripts) + html.count('<script type="application/json"')
    (policy,) = [m["content"] for m in page.all("meta") if m.get("http-equiv")]
    assert policy.startswith("default-src 'none'; ")
    assert re.findall(r"(\S+)-src 'self'|(https?:|\*)", policy) == [("img", "")]
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"script-src 'sha256-{digest}';" in policy


def test_nothing_is_loaded_and_nothing_runs(html):
    assert_alone(html)


def test_it_fits_a_phone_and_the_dark(html, parsed):
    (viewport,) = [m["content"] for m in parsed.all("meta") if m.get("name") == "viewport"]
    assert "width=device-width" in viewport
    assert "prefers-color-scheme: dark" in html
    for name, attributes, around in parsed.elements:
        if name == "table" and attributes.get("class") != "bars":
            assert "div.scroll" in around
        if any(element.startswith("svg") for element in around):  # colours come from the style sheet
            assert not {"fill", "stroke", "style"} & attributes.keys()


def test_every_colour_has_one_for_the_dark(html):
    light, dark = re.findall(r":root \{(.*?)\}", html, re.DOTALL)
    names = [re.findall(r"--\w+", part) for part in (light, dark)]
    assert names[0] == names[1]
    assert set(re.findall(r"var\((--\w+)\)", html)) <= {*names[0], "--c"}


def test_texts_of_data_are_never_markup(tiny_log):
    evil = pl.lit(EVIL)
    items = tiny_log.items.with_columns(title=evil + pl.col("title"), genres=pl.concat_list(evil))
    log = tiny_log.log.with_columns(user_id=evil + pl.col("user_id"))
    users = tiny_log.users.with_columns(user_id=evil + pl.col("user_id"))
    data = type(tiny_log)(log, users, items, EVIL)
    evil_subject = a_run(data, recipe=EVIL, model=EVIL, notes=[EVIL], diagnostics=[EVIL])
    evil_subject.metrics["baselines"] = {EVIL: evil_subject.metrics["test"]}
    evil_subject.metrics["data"]["name"] = EVIL
    evil_subject.manifest["config"]["recipe"] = EVIL
    html = run_page(evil_subject)
    assert_alone(html)
    assert html.count("<script") == 2
    page = Page(html)
    assert page.text.count("<script>alert('x')</script>") > 40
    assert {"li", "th", "title", "text", "pre"} <= {
        name for name, text in page.texts if "<script>" in text
    }


# What it says


def test_figures_are_those_of_the_metrics(subject, parsed):
    test = subject.metrics["test"]["seen_removed"]
    for metric in ("hit_rate@10", "mrr", "gini@20"):
        assert metric in parsed.text
        assert f"{test[metric]:.3f}" in parsed.text
    for text in ("made_up", "popularity", "item_cf", "5 rows were filtered", "3.11.7", "epoch 2"):
        assert text in parsed.text
    assert "Worth knowing" not in parsed.text


def test_the_best_of_each_column_is_marked_whichever_model_it_is(subject, html):
    """In the table of all models and in that of all figures, which has a row for each metric."""
    models = {"made_up": subject.metrics["test"], **subject.metrics["baselines"]}
    expected = []
    for rule in ("seen_removed", "seen_kept"):
        shown = {name: rules[rule] for name, rules in models.items() if rule in rules}
        for metric in primary_metrics(list(subject.metrics["test"][rule])):
            best = max(figures[metric] for figures in shown.values())
            expected += [f"{best:.3f}" for figures in shown.values() if figures[metric] == best]
    marked = re.findall(r'<td class="n best">([^<]+)', html)
    assert sorted(marked) == sorted(expected * 2)
    assert max(models["made_up"]["seen_removed"].values()) > 0


def test_diagnostics_stand_before_the_figures(tiny_log):
    finding = {"name": "same_lists", "severity": "warning", "text": "All users get the same list"}
    text = Page(run_page(a_run(tiny_log, diagnostics=["Plain words", finding]))).text
    assert "Plain words" in text
    assert "Warning: All users" in text
    assert text.index("All users get the same list") < text.rindex("How good it is")


def test_the_leading_rule_comes_first(tiny_log, parsed):
    text = Page(run_page(a_run(tiny_log, leading="seen_kept"))).text
    assert text.index("Seen items kept") < text.index("Seen items removed")
    assert parsed.text.index("Seen items removed") < parsed.text.index("Seen items kept")


def test_titles_of_items_stand_on_the_map_and_in_the_lists(subject, parsed):
    titles = subject.known.items["title"].to_list()
    named = [text for name, text in parsed.texts if name == "title" and text in titles]
    assert sorted(named) == sorted(titles)  # one for each point
    assert any(text.startswith(tuple(titles)) for name, text in parsed.texts if name == "li")


def test_long_titles_are_cut_with_the_whole_in_the_tooltip(tiny_log):
    long = tiny_log.items.with_columns(title=pl.lit('"long" ' * 20) + pl.col("title"))
    html = run_page(a_run(type(tiny_log)(tiny_log.log, tiny_log.users, long, "log")))
    shown = [text for name, text in Page(html).texts if name == "span" and text.startswith('"long" ')]
    assert shown
    assert {len(text) for text in shown} == {80}
    whole = f"{'&#34;long&#34; ' * 20}"
    assert f'<span title="{whole}' in html.replace("&quot;", "&#34;")


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"training": {"best_epoch": 1, "history": {"loss": [2.0]}}},
        {"training": {"best_epoch": 2, "history": {"loss": [2.0, None, 1.0], "val_loss": [None] * 3}}},
        {"training": {"best_epoch": 1, "history": {}}},
        {"index": {}},
        {"notes": [], "unknown_targets": 3},
    ],
)
def test_runs_of_other_kinds_have_a_page(tiny_log, changes):
    assert_alone(run_page(a_run(tiny_log, **changes)))


def test_without_baselines_titles_or_tuning_there_is_a_page(tiny_log):
    bare = type(tiny_log)(tiny_log.log, tiny_log.users, tiny_log.items.select("item_id"))
    plain = a_run(bare, baselines=False)
    for key in ("tuning", "config", "made_with", "created_at"):
        del plain.manifest[key]
    html = run_page(plain)
    assert_alone(html)
    assert "coloured by" not in html


def test_the_contents_lead_to_every_section(html, parsed):
    titles = re.findall(r"<h2[^>]*>(.*?)</h2>", html)
    links = re.findall(r'<li><a href="#(section-\d+)">(.*?)</a></li>', html)
    assert [title for _, title in links] == titles
    assert [target for target, _ in links] == [h2["id"] for h2 in parsed.all("h2")]
    assert {"Worst users", "Any user", "Map of the items"} <= set(titles)


def test_the_directory_is_data_and_the_script_reads_it(html, subject):
    (data,) = re.findall(r'<script type="application/json" id="directory">(.*?)</script>', html)
    users = json.loads(data)["users"]
    assert {user[0] for user in users} == set(subject.test.log["user_id"])
    ids = {attributes.get("id") for _, attributes, _ in Page(html).elements}
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    assert set(re.findall(r'getElementById\("(\w+)"\)', script)) <= ids
    assert "innerHTML" not in script


def test_pictures_of_items_are_shown_and_foreign_ones_are_not(tiny_log):
    addresses = ["pictures/1.png", "https://example.org/2.png"] * (tiny_log.items.height // 2)
    items = tiny_log.items.with_columns(cover=pl.Series(addresses))
    html = run_page(a_run(type(tiny_log)(tiny_log.log, tiny_log.users, items)))
    assert_alone(html)
    assert Page(html).all("img")
    assert "example.org" not in html


# Written, or not


def test_an_error_in_a_picture_costs_a_note_and_not_the_run():
    progress = RecordedProgress()

    def broken():
        raise ZeroDivisionError("<b>no items</b>")

    page = Page(page_or_error(broken, progress))
    assert "ZeroDivisionError: <b>no items</b>" in page.text
    assert "not affected" in progress.notes[0]


def test_a_page_that_cannot_be_written_is_named(tmp_path):
    assert write_page(tmp_path / "new" / "page.html", "x").read_text() == "x"
    with pytest.raises(ExportError, match=f"{tmp_path} could not be written"):
        write_page(tmp_path, "x")
