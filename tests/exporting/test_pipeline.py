"""A pipeline's answers: of live models, of the release, of its SavedModel, of the command line."""

import json
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.tiny import ANNOY
from tests.tiny_pipeline import N_CANDIDATES
from tfrecall.cli import app
from tfrecall.errors import ConfigError, ExportError, ReleaseError
from tfrecall.exporting import round_trip as pipeline_check
from tfrecall.exporting.export import export
from tfrecall.exporting.pipeline import Pipeline, export_pipeline
from tfrecall.exporting.round_trip import Case, replayed
from tfrecall.index.repeats import Repeats
from tfrecall.release import load
from tfrecall.release.reindex import reindex
from tfrecall.release.rules import Rules

QUERIES = ["u1", "u2", "absent", "nobody", {"history": ["i3", "i8"], "device": "web"}]


@pytest.fixture(scope="module")
def released_model(pipeline_root, pipeline_release):
    """The SavedModel, asked in a process of its own for all cases of this file at once."""
    version = str(pipeline_release.version)
    asked = pipeline_release.users.build_queries(QUERIES)
    raw = {name: values.tolist() for name, values in asked.features.items()}
    seen = [pipeline_release.item_ids[pipeline_release.users.seen(user)] for user in asked.users]
    seen = [[*ids, *lists.get("history", [])] for ids, lists in zip(seen, asked.lists, strict=True)]
    width = max(map(len, seen))
    exclude = [[*ids, *[""] * (width - len(ids))] for ids in seen]
    free = {**raw, "k": 7, "n_candidates": N_CANDIDATES, "exclude": exclude}
    nothing = {"k": 7, "n_candidates": N_CANDIDATES, "exclude": [[""]] * len(QUERIES)}
    requests = {
        "serving_default": raw,
        "recommend": free,
        "recommend_allowed": {**free, "allow": ["i1", "i2", "i5", "not there"]},
    }
    inputs = [
        *requests.items(),
        ("recommend_allowed", {**raw, **nothing, "allow": ["not there"]}),
        ("recommend", {**raw, **nothing, "k": 100, "n_candidates": 3}),
    ]
    root = pipeline_root / "pipeline"
    return replayed(root, [Case(version, name, given, {}) for name, given in inputs])


def same(answers, told):
    for answer, ids, scores in zip(answers, told["candidate_ids"], told["scores"], strict=True):
        assert answer.item_ids == [item for item in ids if item]
        there = [score for item, score in zip(ids, scores, strict=True) if item]
        np.testing.assert_allclose(answer.scores, there, rtol=1e-5)
        assert all(score == -np.inf for item, score in zip(ids, scores, strict=True) if not item)


# The same answer four ways


def test_live_models_and_their_release_answer_alike(live_pipeline, pipeline_release):
    for live, released in zip(
        live_pipeline.recommend(QUERIES, 7, details=True),
        pipeline_release.recommend(QUERIES, 7, details=True),
        strict=True,
    ):
        assert live.item_ids == released.item_ids
        assert live.candidates == released.candidates
        assert (live.known, set(live.defaulted)) == (released.known, set(released.defaulted))
        np.testing.assert_allclose(live.scores, released.scores, rtol=1e-5)
    assert live_pipeline.items.equals(pipeline_release.items)


def test_the_saved_model_gives_what_recommend_gives(pipeline_release, released_model):
    same(pipeline_release.recommend(QUERIES, 5, exclude_seen=False), released_model[0])


def test_what_was_seen_is_left_out_by_exclude(pipeline_release, released_model):
    same(pipeline_release.recommend(QUERIES, 7), released_model[1])


def test_the_saved_model_takes_an_allow_list(pipeline_release, released_model):
    same(pipeline_release.recommend(QUERIES, 7, allow=["i1", "i2", "i5"]), released_model[2])
    everything_barred = released_model[3]
    same(pipeline_release.recommend(QUERIES, 7, allow=[], exclude_seen=False), everything_barred)
    assert set(np.ravel(everything_barred["candidate_ids"])) == {""}


def test_a_list_of_the_saved_model_is_no_longer_than_the_candidates(pipeline_release, released_model):
    short = released_model[4]
    assert np.shape(short["candidate_ids"]) == (len(QUERIES), 3)
    same(pipeline_release.recommend(QUERIES, 7, exclude_seen=False, n_candidates=3), short)


@pytest.mark.slow
def test_the_command_line_joins_two_releases(pipeline_models, pipeline_release, rating_root, tmp_path):
    export(pipeline_models[0], tmp_path / "retrieval", index=ANNOY)
    paths = [str(tmp_path / "retrieval"), str(rating_root), "--out", str(tmp_path / "joined")]
    options = [
        "--candidates",
        str(N_CANDIDATES),
        "-k",
        "5",
        "--cap",
        "genres=2",
        "--boost",
        "genres:x0=3",
    ]
    done = CliRunner().invoke(app, ["pipeline", *paths, *options, "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    joined = load(tmp_path / "joined")
    assert told["pipeline"]["rules"]["caps"] == {"genres": 2}
    assert joined.rules.to_dict() == told["pipeline"]["rules"]
    plain = joined.recommend(QUERIES, 7, rules=Rules())
    expected = pipeline_release.recommend(QUERIES, 7)
    assert [answer.item_ids for answer in plain] == [answer.item_ids for answer in expected]
    assert joined.recommend(QUERIES, 7) != plain
    # The releases that were joined are not needed any more.
    shutil.rmtree(tmp_path / "retrieval")
    assert load(tmp_path / "joined").recommend(["u1"], 3)[0].item_ids


# Evidence and refusals


@pytest.mark.slow
def test_a_saved_model_that_answers_otherwise_is_not_published(pipeline_release, tmp_path, monkeypatch):
    real = pipeline_check.replayed

    def off(directory, cases):
        answers = real(directory, cases)
        answers[0]["scores"][0][0] += 0.01
        return answers

    monkeypatch.setattr(pipeline_check, "replayed", off)
    with pytest.raises(ExportError, match="does not answer like the pipeline in process"):
        export_pipeline(pipeline_release, tmp_path / "off", k=5)
    assert not (tmp_path / "off").exists()


def test_an_altered_part_is_refused_by_name(pipeline_root, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(pipeline_root, root)
    file = root / "ranker_context" / "1" / "users.parquet"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ReleaseError, match=r"ranker_context/1/users\.parquet"):
        load(root)


@pytest.mark.parametrize("k", [0, N_CANDIDATES + 1])
def test_lists_longer_than_the_candidates_are_refused_at_export(live_pipeline, tmp_path, k):
    with pytest.raises(
        ConfigError, match=rf"from 1 to {N_CANDIDATES}, the number of candidates.*k={k}"
    ):
        export_pipeline(live_pipeline, tmp_path / "none", k=k)


def test_stages_in_the_wrong_order_are_refused(pipeline_models, rating_release):
    retrieval, ranker = pipeline_models
    with pytest.raises(ConfigError, match="first stage"):
        Pipeline(ranker, ranker)
    with pytest.raises(ConfigError, match="second stage"):
        Pipeline(retrieval, retrieval)
    with pytest.raises(ConfigError, match="first stage"):
        Pipeline(rating_release, ranker)


def test_a_pipeline_is_reindexed_by_its_retriever(pipeline_root):
    with pytest.raises(ConfigError, match="that of the retriever"):
        reindex(pipeline_root, ANNOY)


def test_models_without_a_log_know_nobody(pipeline_models, monkeypatch):
    for model in pipeline_models:
        monkeypatch.setattr(model, "interactions", None)
    pipeline = Pipeline(*pipeline_models, n_candidates=6)
    known, told = pipeline.recommend(["u1", {"history": ["i1"], "rated": ["i2"]}], 4)
    assert not known.known
    assert len(known.item_ids) == 4
    assert not {"i1", "i2"} & set(told.item_ids)


@pytest.mark.slow
def test_people_come_back_to_what_they_had(pipeline_models, tmp_path, monkeypatch):
    """All that was had is an input of the SavedModel, more than the five events of the feature."""
    retrieval, ranker = pipeline_models
    monkeypatch.setattr(retrieval, "repeats", Repeats(recency=0.5, bias=1.0))
    live = Pipeline(retrieval, ranker, n_candidates=N_CANDIDATES, exclude_seen=False)
    released = export_pipeline(live, tmp_path / "repeats", k=5, index=None)
    first, second = (one.recommend(QUERIES, 5, details=True) for one in (live, released))
    assert [a.candidates for a in first] == [a.candidates for a in second]
    assert [a.item_ids for a in first] == [a.item_ids for a in second]
    assert released.manifest["round_trip"]["largest_relative_difference"] < 1e-5


@pytest.mark.slow
def test_a_baseline_can_propose_candidates_in_process(rating_log, rating_release, tmp_path):
    from tfrecall.baselines.item_cf import ItemCF

    export(ItemCF().fit(rating_log), tmp_path / "item_cf")
    baseline = load(tmp_path / "item_cf")
    pipeline = Pipeline(baseline, rating_release, n_candidates=8)
    (answer,) = pipeline.recommend(["u1"], 4, details=True)
    (found,) = baseline.recommend(["u1"], 8)
    assert answer.candidates == found.item_ids
    scores = rating_release.predict(["u1"], found.item_ids)
    assert answer.item_ids[0] == found.item_ids[int(np.argmax(scores))]
    with pytest.raises(ConfigError, match="is a baseline"):
        export_pipeline(pipeline, tmp_path / "none", k=3)
    with pytest.raises(ConfigError, match="no vectors"):
        pipeline.recommend(["u1"], rules=Rules(diversity=0.5))
