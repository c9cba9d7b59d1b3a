"""`tfrecall similar`: the item by id or title, the score by name."""

import json

import pytest

from tests import commands
from tfrecall.release import load


def ask(*arguments, status=0):
    result = commands.ask("similar", *arguments, status=status)
    return " ".join((result.stdout if not status else result.stderr).split())


def test_a_title_names_the_item(tiny_root):
    release = load(tiny_root)
    title = release.items["title"][release.item_ids.tolist().index("i4")]
    by_title, by_id = (
        json.loads(ask(tiny_root, *named, "-k", 3, "--json"))
        for named in (["--title", title.upper()], ["i4"])
    )
    assert by_title == by_id
    assert f"Similar to {title} (i4)" in ask(tiny_root, "--title", title)


def test_the_score_is_chosen(tiny_root):
    release = load(tiny_root)
    for score in ("cosine", "inner"):
        told = json.loads(ask(tiny_root, "i4", "-k", 5, "--score", score, "--json"))
        assert told["scores"] == pytest.approx(release.similar_items("i4", 5, score=score).scores)
    assert "Received: 'angle'" in ask(tiny_root, "i4", "--score", "angle", status=1)


def test_a_title_of_several_items_and_no_item_at_all_are_refused(tiny_root):
    assert "items fit the title" in ask(tiny_root, "--title", "i", status=1)
    assert "Received: neither" in ask(tiny_root, status=1)
    assert "Received: the id 'i4' and the title 'x'" in ask(tiny_root, "i4", "--title", "x", status=1)
