"""The rule for seen items is one word, a key of figures and a setting of releases at once."""

import json

import pytest

from tfrecall.core.seen import Seen


def test_a_rule_looks_up_what_its_name_does():
    figures = {"seen_removed": 1, "seen_kept": 2}
    assert [figures[rule] for rule in Seen] == [1, 2]
    assert {Seen.KEPT: 2} == {"seen_kept": 2}


def test_a_rule_is_written_as_its_name():
    assert f"{Seen.REMOVED}/hit_rate@50" == "seen_removed/hit_rate@50"
    assert json.dumps({Seen.KEPT: Seen.REMOVED}) == '{"seen_kept": "seen_removed"}'
    assert [rule.word for rule in Seen] == ["removed", "kept"]


@pytest.mark.parametrize(
    ("leading", "words"), [("seen_removed", "removed kept"), ("seen_kept", "kept removed")]
)
def test_the_leading_rule_comes_first(leading, words):
    assert " ".join(rule.word for rule in Seen.ordered(leading)) == words


def test_an_unknown_rule_is_none():
    with pytest.raises(ValueError, match="seen_twice"):
        Seen("seen_twice")
