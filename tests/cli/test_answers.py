"""Answers for people: a column of reasons where they differ, one line where they do not."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from tfrecall.cli.answers import Answers
from tfrecall.core.results import Explanation, Reason, Recommendation


@dataclass
class Told:
    """A release with given reasons."""

    reasons: dict[str, list[Reason]]
    additive: bool = True
    needs_tensorflow: bool = False
    exclude_seen: bool = True
    item_ids: np.ndarray = field(default_factory=lambda: np.array(["i1", "i2", "i3"], dtype=object))

    def item_names(self):
        return {"i1": "Tea", "i2": "i2", "i3": "Mug"}

    def explanations(self, query, item_ids):
        return [
            Explanation("u", item, 1.0, 0.0, self.reasons[item], additive=self.additive)
            for item in item_ids
        ]


def shown(release, items):
    answer = Recommendation("u", True, items, [1.0] * len(items), [])
    tables = Answers(release, ["u"], [answer], 2, explain=True).tables()
    return [column.header for column in tables[0].columns], tables[1:]


MUG, AGE = Reason("i3", None, 0.5), Reason(None, None, 0.25, "age", 34.0)


def test_different_reasons_have_a_column():
    columns, texts = shown(Told({"i1": [MUG, AGE], "i2": [AGE]}), ["i1", "i2"])
    assert columns == ["item_id", "score", "because of"]
    assert not texts


@pytest.mark.parametrize(
    ("reasons", "additive", "text"),
    [
        ([MUG, AGE], True, "All of them because of: Mug, age 34."),
        ([], True, "All of them because of: everyone is given this."),
        ([Reason("i3", None, -0.5)], False, "All of them because of: nothing by itself."),
    ],
)
def test_equal_reasons_are_said_once(reasons, additive, text):
    release = Told({"i1": reasons, "i2": list(reasons)}, additive)
    columns, texts = shown(release, ["i1", "i2"])
    assert columns == ["item_id", "score"]
    assert texts == [text]


def test_a_single_item_keeps_its_contributions():
    columns, texts = shown(Told({"i1": [MUG]}), ["i1"])
    assert columns == ["item_id", "score", "because of"]
    assert not texts
