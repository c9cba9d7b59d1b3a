"""Export: all or nothing, and never anything that answers unlike the live model."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap

import numpy as np
import polars as pl
import pytest

from tests.processes import Forked
from tests.tiny import ANNOY, N_ITEMS
from tfrecall._keras import tf
from tfrecall.data import synthetic
from tfrecall.errors import ConfigError, ExportError
from tfrecall.exporting import retriever as exporting
from tfrecall.exporting.export import export
from tfrecall.exporting.retriever import sample_queries, stage_retriever
from tfrecall.exporting.signatures import FILE
from tfrecall.release import load
from tfrecall.release.layout import stage
from tfrecall.release.manifest import read_manifest
from tfrecall.schema.features import Categorical, Schema


@pytest.fixture
def root(tiny_root, tmp_path):
    return shutil.copytree(tiny_root, tmp_path / "release")


@pytest.fixture
def untested(monkeypatch):
    """Export without the fresh process, where it is not what is tested."""
    monkeypatch.setattr(exporting, "check_round_trip", lambda *args: 0.0)


def contents(root):
    files = (path for path in root.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def small_model():
    from tfrecall.models.two_tower import TwoTower

    data = synthetic(6, 6, 40)
    model = TwoTower(
        Schema(query=[Categorical("user_id", 2)], candidate=[Categorical("item_id", 2)]),
        layer_sizes=[],
        name="small",
    )
    model.adapt(data)
    return model


@pytest.fixture(scope="module")
def small():
    """A model of two features: exports of `tiny_model` take four times as long."""
    return small_model()


@pytest.fixture(scope="module")
def small_root(small, tmp_path_factory):
    """A release of `small`, not to be changed: copy it."""
    return export(small, tmp_path_factory.mktemp("small") / "release", index=None, k=2).root


# What it writes


def test_the_manifest_tells_of_the_model_and_the_comparison(tiny_root, tiny_model):
    manifest = read_manifest(tiny_root)
    assert manifest["model"]["name"] == "tiny"
    assert manifest["model"]["candidates"] == N_ITEMS
    assert manifest["model"]["dimension"] == 8
    assert manifest["query"]["forms"] == tiny_model.query_tower.forms
    assert manifest["query"]["defaults"]["timestamp"] == tiny_model.interactions.log["timestamp"].max()
    assert manifest["index"]["annoy"]["n_trees"] == ANNOY.n_trees
    assert 0 <= manifest["round_trip"]["largest_relative_difference"] <= 1e-5
    assert set(manifest["made_with"]) == {"python", "tfrecall", "tensorflow", "tf-keras", "annoy"}


@pytest.mark.slow
def test_facts_and_documents_are_kept(untested, small, tmp_path):
    with stage(tmp_path) as staged:
        manifest = stage_retriever(small, staged, index=None, k=2, facts={"test": {"mrr": 0.5}})
        staged.write("notes.txt", f"version {manifest['version']}")
    assert read_manifest(tmp_path)["test"] == {"mrr": 0.5}
    assert (tmp_path / "notes.txt").read_text() == "version 1"


@pytest.mark.slow
def test_another_version_is_another_file_tree_and_both_answer(untested, small, small_root, tmp_path):
    root = shutil.copytree(small_root, tmp_path / "release")
    before = contents(root)
    released = export(small, root, index=None, k=3)
    assert released.version == 2
    assert {name: before[name] for name in before if "/1" in name}.items() <= contents(root).items()
    queries = ["u1", "nobody"]
    first, second = (
        release.recommend(queries, 5, exclude_seen=False)
        for release in (load(root, version=1), load(root))
    )
    assert first == second
    assert [len(answer.item_ids) for answer in first] == [5, 5]
    with pytest.raises(ConfigError, match='no index "annoy"'):
        released.recommend(queries, 5, index="annoy")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["query", "candidate", "retrieval"])
def test_warm_up_records_ask_signatures_that_exist_and_are_answered(tiny_root, name):
    """As TF Serving replays them: one that fails would keep the version from loading."""
    from tensorflow_serving.apis import prediction_log_pb2

    path = tiny_root / name / "1"
    signatures = tf.saved_model.load(str(path)).signatures
    asked = []
    for record in tf.data.TFRecordDataset(str(path / FILE)):
        request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
        inputs = {key: tf.make_ndarray(value) for key, value in request.inputs.items()}
        answer = signatures[request.model_spec.signature_name](
            **{key: tf.constant(value) for key, value in inputs.items()}
        )
        assert all(len(values) == 1 for values in answer.values())
        assert request.model_spec.name == name
        asked.append(request.model_spec.signature_name)
    wanted = ["serving_default", "recommend"] if name == "retrieval" else ["serving_default"]
    assert asked == wanted


def test_the_index_is_tuned_as_it_is_asked_without_the_items_that_each_user_has(tiny_model, tiny_log):
    users = sample_queries(tiny_model, exporting.TUNING_ROWS)["user_id"].tolist()
    seen = exporting._seen(tiny_model, len(users))
    had = dict(tiny_log.log.group_by("user_id").agg("item_id").iter_rows())
    assert len(seen) == len(users) > 50
    for user, rows in zip(users, seen, strict=True):
        assert sorted(tiny_model.catalogue.ids[rows]) == sorted(had.get(user, []))


def test_recall_without_seen_items_is_in_the_table_unless_lists_keep_them(tiny_root):
    manifest = read_manifest(tiny_root)
    assert all(0 <= row["recall_excluding"] <= 1 for row in manifest["tuning"]["rows"])
    assert 0 <= manifest["index"]["annoy"]["recall@10_excluding"] <= 1


def test_sample_queries_end_with_one_of_nobody(tiny_model):
    queries = sample_queries(tiny_model, 4)
    assert {len(values) for values in queries.values()} == {5}
    assert queries["user_id"][-1] == "[UNK]"
    assert set(queries["tags"][-1]) == {""}
    assert set(queries["user_id"][:-1]) <= set(tiny_model.interactions.users["user_id"])


@pytest.mark.slow
def test_candidates_named_by_another_column_keep_it(untested, tmp_path):
    """The id column becomes `item_id`; a column of that name that names nothing gives way."""
    from tfrecall.models.two_tower import TwoTower

    ratings = tf.data.Dataset.from_tensor_slices(
        {"user_id": ["a", "b", "a"], "movie_title": ["X", "Y", "Z"], "item_id": ["1", "2", "3"]}
    ).batch(2)
    movies = tf.data.Dataset.from_tensor_slices(
        {"movie_title": ["X", "Y", "Z"], "item_id": ["1", "2", "3"]}
    )
    schema = Schema(
        query=[Categorical("user_id", 2)],
        candidate=[Categorical("movie_title", 2), Categorical("item_id", 2)],
        candidate_id="movie_title",
    )
    model = TwoTower(schema, layer_sizes=[2])
    model.adapt(ratings, movies)
    released = export(model, tmp_path, index=None, k=2)
    (answer,) = released.recommend(["a"], 3, columns=["movie_title"])
    assert sorted(answer.item_ids) == ["X", "Y", "Z"]
    assert [item["movie_title"] for item in answer.items] == answer.item_ids
    assert not answer.known
    assert released.items.columns[0] == "item_id"


def test_models_that_differ_in_candidates_only_have_different_fingerprints(tiny_model):
    vectors = tiny_model.embed_candidates()
    one = exporting._fingerprint(tiny_model, vectors)
    assert one == exporting._fingerprint(tiny_model, vectors)
    assert one != exporting._fingerprint(tiny_model, vectors[::-1].copy())


# What it refuses


@pytest.mark.parametrize("k", [0, -1, N_ITEMS + 1])
def test_an_impossible_k_is_refused(tiny_model, tmp_path, k):
    with pytest.raises(ConfigError, match=rf"from 1 to {N_ITEMS}, the number of candidates.*k={k}"):
        export(tiny_model, tmp_path / "out", k=k)
    assert not (tmp_path / "out").exists()


def test_facts_that_json_cannot_hold_are_refused_at_once(tiny_model, tmp_path):
    with pytest.raises(ConfigError, match="cannot hold these settings or `facts`"):
        export(tiny_model, tmp_path / "out", k=1, facts={"mrr": np.float32(0.5)})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_vectors_that_are_not_finite_are_refused(tiny_model, root, monkeypatch, value):
    vectors = tiny_model.embed_candidates().copy()
    vectors[3, 1] = value
    monkeypatch.setattr(tiny_model, "embed_candidates", lambda: vectors)
    before = contents(root)
    with pytest.raises(ExportError, match=r"1 of 40 candidate vectors hold NaN.*learning rate"):
        export(tiny_model, root, k=1)
    assert contents(root) == before


def another(vectors):
    vectors = vectors.copy()
    vectors[3] *= 1.01
    return vectors


@pytest.mark.slow
@pytest.mark.parametrize("part", ["query", "candidate", "retrieval"])
def test_a_model_that_answers_otherwise_is_not_published(small, root, monkeypatch, part):
    if part == "query":
        original = small.query_tower.embed
        monkeypatch.setattr(small.query_tower, "embed", lambda raw: original(raw) * 1.001)
    elif part == "candidate":
        vectors = another(small.embed_candidates())
        monkeypatch.setattr(small, "embed_candidates", lambda: vectors)
    else:
        save = exporting.save_retrieval

        def spoiled(tower, catalogue, vectors, *others):
            save(tower, catalogue, another(vectors), *others)

        monkeypatch.setattr(exporting, "save_retrieval", spoiled)
    before = contents(root)
    with pytest.raises(ExportError, match=f"The exported model {part}.*Nothing was published"):
        export(small, root, index=None, k=6)  # all of them, so that the other vector is in the list
    assert contents(root) == before


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_replay")
def test_a_model_that_does_not_load_is_not_published(small, root, monkeypatch):
    save = exporting.save_tower

    def spoiled(tower, output, path):
        save(tower, output, path)
        os.truncate(os.path.join(path, "saved_model.pb"), 100)

    monkeypatch.setattr(exporting, "save_tower", spoiled)
    before = contents(root)
    with pytest.raises(ExportError, match=r"(?s)do not load in a fresh process.*Nothing was published"):
        export(small, root, index=None, k=2)
    assert contents(root) == before


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_replay")
def test_a_fresh_process_that_hangs_is_given_up(small, root, monkeypatch):
    def hang(command, timeout, **kwargs):
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", hang)
    before = contents(root)
    with pytest.raises(ExportError, match=r"within 600 seconds.*Nothing was published"):
        export(small, root, index=None, k=2)
    assert contents(root) == before


# Interruptions


STEPS = ["save_tower", "save_retrieval", "write_warmup", "write_bundle", "write_context", "_facts"]


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_an_interrupted_step_publishes_nothing(untested, root, small, monkeypatch, step):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(exporting, step, interrupted)
    before = contents(root)
    with pytest.raises(KeyboardInterrupt):
        export(small, root, index=None, k=2)
    assert contents(root) == before


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        tf.errors.ResourceExhaustedError(None, None, "No space left on device"),
        pl.exceptions.ComputeError("No space left on device"),
    ],
)
def test_a_full_disk_is_told_whoever_writes(untested, root, small, monkeypatch, error):
    def failing(*args, **kwargs):
        raise error

    monkeypatch.setattr(exporting, "save_tower", failing)
    before = contents(root)
    with pytest.raises(ExportError, match=r"could not be written.*No space.*free space there"):
        export(small, root, index=None, k=2)
    assert contents(root) == before


FULL = """
    import resource, sys
    from tests.exporting.test_retriever import small_model
    from tfrecall.errors import ExportError
    from tfrecall.exporting import retriever as exporting
    from tfrecall.exporting.export import export
    exporting.check_round_trip = lambda *args: 0.0
    model = small_model()
    free = resource.RLIM_INFINITY
    for most_bytes, root in zip(map(int, sys.argv[1::2]), sys.argv[2::2], strict=True):
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, free))
        try:
            export(model, root, k=2)
            told = "exported"
        except ExportError as error:
            told = " ".join(str(error).split())
        resource.setrlimit(resource.RLIMIT_FSIZE, (free, free))  # standard output is a file here
        print(told)
"""


@pytest.mark.slow
def test_a_full_disk_is_told_and_leaves_the_version_before(small_root, tmp_path):
    """A real limit on the size of files, which all writers meet: Python, Polars, Annoy, TensorFlow."""
    limits = (1, 2000, 30_000)
    roots = [shutil.copytree(small_root, tmp_path / str(most_bytes)) for most_bytes in limits]
    before = contents(small_root)
    arguments = [part for limited in zip(limits, roots, strict=True) for part in limited]
    status, told, errors = Forked(textwrap.dedent(FULL), *arguments).ended()
    assert status == 0, errors[-2000:]
    assert len(told.splitlines()) == len(limits), told
    assert all("could not be written" in line for line in told.splitlines()), told
    for root in roots:
        assert contents(root) == before
        assert load(root).recommend(["u1"], 3)


KILLED = """
    import os, signal, sys
    from tests.exporting.test_retriever import small_model
    from tfrecall.exporting import retriever as exporting
    from tfrecall.exporting.export import export
    exporting.check_round_trip = lambda *args: 0.0
    step = sys.argv[2]
    setattr(exporting, step, lambda *args, **kwargs: os.kill(os.getpid(), signal.SIGKILL))
    export(small_model(), sys.argv[1], index=None, k=2)
"""


@pytest.mark.slow
@pytest.mark.parametrize("step", ["save_retrieval", "_facts"])  # some models are written, and all files
def test_a_killed_export_leaves_the_version_before_and_the_next_tidies_up(
    untested, small, small_root, tmp_path, step
):
    root = shutil.copytree(small_root, tmp_path / "release")
    before = contents(root)
    status, _, errors = Forked(textwrap.dedent(KILLED), root, step).ended()
    assert status == -signal.SIGKILL, errors[-2000:]
    assert any(path.name.startswith(".version-") for path in root.iterdir())
    assert load(root).recommend(["u1"], 3)
    export(small, root, index=None, k=2)
    assert not any(path.name.startswith(".version-") for path in root.iterdir())
    assert {name: before[name] for name in before if "/1" in name}.items() <= contents(root).items()
    assert load(root).version == 2


# TensorFlow's own tool


# One process for all: TensorFlow takes seconds to start. Flags of a command stay set for those after it.
ONE_AFTER_THE_OTHER = """
import json, sys
from tensorflow.python.tools import saved_model_cli
for arguments in json.loads(sys.argv[1]):
    print("\f", end="", flush=True)
    sys.argv = ["saved_model_cli", *arguments]
    try:
        saved_model_cli.main()
    except SystemExit as end:
        if end.code:
            raise
"""


def told_by_tensorflow(commands):
    """What `saved_model_cli` prints, command by command."""
    environment = {**os.environ, "TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    ended = subprocess.run(
        [sys.executable, "-c", ONE_AFTER_THE_OTHER, json.dumps(commands)],
        check=False, capture_output=True, text=True, env=environment, timeout=300,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-2000:]
    return ended.stdout.split("\f")[1:]


@pytest.mark.slow
def test_saved_model_cli_shows_and_runs_each_model(tiny_root, tiny_model):
    sides = {
        "query": tiny_model.query_tower.forms,
        "candidate": tiny_model.candidate_tower.forms,
        "retrieval": tiny_model.query_tower.forms,
    }
    values = {"string": "['x']", "strings": "[['x', 'y']]", "number": "[1.0]"}
    given = {
        name: ";".join(f"{column}={values[form]}" for column, form in forms.items())
        for name, forms in sides.items()
    }

    def run(name, signature, inputs):
        path = str(tiny_root / name / "1")
        how = ["--tag_set", "serve", "--signature_def", signature, "--input_exprs", inputs]
        return ["run", "--dir", path, *how]

    shows = [["show", "--dir", str(tiny_root / name / "1"), "--all"] for name in sides]
    runs = [run(name, "serving_default", inputs) for name, inputs in given.items()]
    own_k = run("retrieval", "recommend", given["retrieval"] + ";k=3;exclude=[['i1', '']]")
    # First, because `--all` would stay set.
    of_the_guide = ["show", "--dir", str(tiny_root / "retrieval" / "1"), "--tag_set", "serve"]
    keys, *told = told_by_tensorflow([of_the_guide, *shows, *runs, own_k])

    for shown, forms in zip(told[:3], sides.values(), strict=True):
        assert "signature_def['serving_default']" in shown
        assert all(f"inputs['{column}']" in shown for column in forms)
    assert all("Result for output key" in answer for answer in told[3:6])
    assert "candidate_ids" in told[6]
    for name in ("serving_default", "serving_float32", "recommend", "recommend_allowed"):
        assert f'SignatureDef key: "{name}"' in keys


def test_json_of_the_manifest_is_plain(tiny_root):
    """No NaN and no Infinity, which other languages cannot read."""

    def refuse(constant):
        raise AssertionError(constant)

    json.loads((tiny_root / "manifest.json").read_text(), parse_constant=refuse)


def test_users_of_the_release_are_those_of_the_table(tiny_root, tiny_log):
    users = pl.read_parquet(tiny_root / "context" / "1" / "users.parquet")
    offsets = np.load(tiny_root / "context" / "1" / "seen_offsets.npy")
    assert users["user_id"].to_list() == tiny_log.users["user_id"].to_list()
    assert len(offsets) == len(users) + 1
    assert offsets[-1] == len(tiny_log)
