"""The round trip refuses each way in which an exported model can answer unlike the live one."""

import os
import select
import stat
import subprocess
import sys

import numpy as np
import pytest

from tfrecall.errors import ExportError
from tfrecall.exporting import round_trip
from tfrecall.exporting.replay import WATCH
from tfrecall.exporting.round_trip import check_round_trip
from tfrecall.exporting.signatures import QUERY_OUTPUT
from tfrecall.index.exact import Exact

IDS = ["a", "b", "c"]
# Scores of the two queries: 3, 2, 1 and 1, 2, 3. With k = 3 and the best left out, one place stays empty.
ITEMS = np.array([[3.0, 1.0], [2.0, 2.0], [1.0, 3.0]], np.float32)
QUERIES = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)


def answers_of(cases, items):
    """What a faithful SavedModel answers: an item for each score, none where the score is -inf."""
    answers = []
    for case in cases:
        answer = {name: values.tolist() for name, values in case.outputs.items()}
        if case.live is not None:
            answer["candidate_ids"] = [
                ["" if score == -np.inf else IDS[int(np.argmax(live == score))] for score in scores]
                for live, scores in zip(case.live, case.outputs["scores"], strict=True)
            ]
        answers.append(answer)
    return answers


def check(monkeypatch, tmp_path, tamper=None, items=ITEMS):
    def replayed(directory, cases):
        answers = answers_of(cases, items)
        if tamper is not None:
            by_signature = {
                (case.name, case.signature): answer for case, answer in zip(cases, answers, strict=True)
            }
            tamper(by_signature)
        return answers

    monkeypatch.setattr(round_trip, "replayed", replayed)
    features = {"user_id": np.array(["u", "v"], object)}
    candidates = {"item_id": np.array(IDS, object)}
    exact = Exact().build(items, np.array(IDS, object))
    return check_round_trip(tmp_path, features, QUERIES, candidates, items, exact, 3)


def test_a_faithful_model_differs_by_nothing(monkeypatch, tmp_path):
    assert check(monkeypatch, tmp_path) == 0.0


def test_rounding_is_measured(monkeypatch, tmp_path):
    def tamper(answers):
        answers["retrieval", "recommend"]["scores"][0][0] *= 1 + 3e-6

    # The largest score of `recommend` without the best is 2: 3e-6 relative to it.
    assert check(monkeypatch, tmp_path, tamper) == pytest.approx(3e-6, rel=0.1)


def swap_ids(answers):
    ids = answers["retrieval", "recommend"]["candidate_ids"][0]
    ids[0], ids[1] = ids[1], ids[0]


def fill_an_empty_place(answers):
    ids = answers["retrieval", "recommend"]["candidate_ids"][0]
    assert ids[2] == ""
    ids[2] = "a"


def score_an_empty_place(answers):
    scores = answers["retrieval", "recommend"]["scores"][0]
    assert scores[2] == -np.inf
    scores[2] = 0.0


def lose_an_item(answers):
    answers["retrieval", "serving_default"]["candidate_ids"][0][0] = ""


def name_a_stranger(answers):
    answers["retrieval", "recommend_allowed"]["candidate_ids"][0][0] = "z"


def forget_a_score(answers):
    answers["retrieval", "serving_default"]["scores"][0][0] = -np.inf


def drop_a_place(answers):
    for row in answers["retrieval", "serving_default"]["scores"]:
        del row[-1]


def shift_a_vector(answers):
    answers["query", "serving_default"][QUERY_OUTPUT][0][0] += 1e-3


@pytest.mark.parametrize(
    ("tamper", "message"),
    [
        (swap_ids, r"recommend, gives \['c', 'b', ''\] to query 0"),
        (fill_an_empty_place, "recommend, gives"),
        (score_an_empty_place, "recommend, does not answer like the live model: scores"),
        (lose_an_item, "serving_default, gives"),
        (name_a_stranger, "recommend_allowed, gives"),
        (forget_a_score, "serving_default, does not answer like the live model: scores"),
        (drop_a_place, "serving_default, answers scores of shape"),
        (shift_a_vector, "query, asked by serving_default, does not answer like the live model"),
    ],
)
def test_every_other_answer_is_refused(monkeypatch, tmp_path, tamper, message):
    with pytest.raises(ExportError, match=message):
        check(monkeypatch, tmp_path, tamper)


def test_an_item_must_not_stand_twice_where_scores_are_equal(monkeypatch, tmp_path):
    """All items are alike, so scores alone do not tell them apart."""

    def tamper(answers):
        for one in answers.values():
            if "candidate_ids" in one:
                one["candidate_ids"] = [
                    ["" if score == -np.inf else "a" for score in scores] for scores in one["scores"]
                ]

    with pytest.raises(ExportError, match="gives an item twice to query 0"):
        check(monkeypatch, tmp_path, tamper, np.ones([3, 2], np.float32))


@pytest.mark.slow
def test_the_fresh_process_ends_with_its_input(tmp_path):
    """Cases in a pipe that nobody writes to: the process would wait for them for ever."""
    os.mkfifo(tmp_path / "cases.json")
    files = [str(tmp_path / name) for name in ("cases.json", "answers.json")]
    command = [sys.executable, "-m", "tfrecall.exporting.replay", *files, WATCH]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(3)
        process.stdin.close()
        assert process.wait(300) == 1


@pytest.mark.usefixtures("fresh_replay")
def test_its_input_ends_with_the_process_that_started_it(tmp_path, monkeypatch):
    """Of the pipe this process alone has the end to write to, which the system closes; nothing is written."""

    def run(command, *, stdin, **settings):
        assert command[-1] == WATCH
        assert stat.S_ISFIFO(os.fstat(stdin).st_mode)
        assert select.select([stdin], [], [], 0)[0] == []
        (tmp_path / "answers.json").write_text("[]")
        opened.append(stdin)

    opened = []
    monkeypatch.setattr(subprocess, "run", run)
    assert round_trip.replayed(tmp_path, []) == []
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened[0])
