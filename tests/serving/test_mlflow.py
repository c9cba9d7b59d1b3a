"""A release as a model of MLflow: the answers of the release, by `load_model` and over `/invocations`."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import tfrecall as tr
from tfrecall.errors import DataError, ReleaseError, UnsupportedError
from tfrecall.serving.process import free_address

if find_spec("mlflow") is None:  # without its import, which takes seconds of each worker
    pytest.skip("MLflow is not installed.", allow_module_level=True)
# Of MLflow's own code, where it looks at the input example.
pytestmark = pytest.mark.filterwarnings("ignore:Operation with range is deprecated")
pd = pytest.importorskip("pandas")


@pytest.fixture(scope="module")
def release(item_cf):
    return tr.load(item_cf)


@pytest.fixture(scope="module")
def saved(release, tmp_path_factory):
    from tfrecall.serving.mlflow import save_model

    path = tmp_path_factory.mktemp("mlflow") / "model"
    save_model(release, path)
    return path


@pytest.fixture(scope="module")
def model(saved):
    import mlflow.pyfunc

    return mlflow.pyfunc.load_model(str(saved))


def lists(found):
    return found["candidate_ids"].tolist(), found["scores"].tolist()


def test_answers_are_those_of_the_release(model, release):
    found = model.predict(pd.DataFrame({"user_id": ["u1", "u2"]}))
    expected = release.recommend(["u1", "u2"], k=10)
    assert lists(found) == ([one.item_ids for one in expected], [one.scores for one in expected])


def test_a_null_cell_is_not_given(model, release):
    table = pd.DataFrame({"user_id": ["u1", None], "history": [None, ["i1", "i2"]]}, index=[7, 9])
    found = model.predict(table)
    expected = release.recommend(["u1", {"history": ["i1", "i2"]}])
    assert lists(found)[0] == [one.item_ids for one in expected]
    assert found.index.tolist() == [7, 9]


def test_parameters_are_those_of_recommend(model, release):
    params = {
        "k": 3,
        "exclude_seen": False,
        "exclude": ["i6"],
        "allow": [f"i{n}" for n in range(20)],
        "index": "exact",
    }
    found = model.predict(pd.DataFrame({"user_id": ["u1"]}), params=params)
    assert lists(found)[0] == [release.recommend(["u1"], **params)[0].item_ids]


def test_the_signature_names_columns_parameters_and_outputs(model):
    signature = model.metadata.signature
    assert signature.inputs.input_names() == ["user_id", "history"]
    assert signature.outputs.input_names() == ["candidate_ids", "scores"]
    defaults = {one.name: one.default for one in signature.params.params}
    assert defaults == {"k": 10, "exclude_seen": True, "exclude": [], "allow": [], "index": None}


def test_a_table_without_a_known_column_is_refused(model):
    with pytest.raises(DataError, match="Give `user_id`"):
        model.predict(pd.DataFrame({"usr_id": ["u1"]}))


def test_only_the_version_is_saved_and_nothing_is_pickled(log, tmp_path):
    from tfrecall.serving.mlflow import save_model

    for _ in range(2):
        release = tr.export(tr.Popularity().fit(log), tmp_path / "release")
    save_model(release, tmp_path / "model")
    files = [path for path in (tmp_path / "model").rglob("*") if path.is_file()]
    data = [file for file in files if "data" in file.relative_to(tmp_path / "model").parts]
    assert {file.parent.name for file in data} == {"2", "release", "manifests"}
    assert not [file for file in files if file.suffix in (".pkl", ".pickle")]
    assert tr.load(tmp_path / "model" / "data" / "release").version == 2


def test_a_file_that_was_altered_is_refused(saved, tmp_path):
    import shutil

    import mlflow.pyfunc

    copy = shutil.copytree(saved, tmp_path / "model")
    (file,) = copy.rglob("seen_items.npy")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ReleaseError, match="seen_items"):
        mlflow.pyfunc.load_model(str(copy))


# MLflow's own store in a database warns of what it will mend.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_logged_model_is_found_by_its_run_and_answers_alike(model, release, tmp_path):
    import mlflow

    from tfrecall.serving.mlflow import log_model

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'runs.db'}")
    try:
        experiment = mlflow.create_experiment("shop", artifact_location=(tmp_path / "files").as_uri())
        with mlflow.start_run(experiment_id=experiment) as run:
            logged = log_model(release, name="shop")
        assert logged.run_id == run.info.run_id
        found = mlflow.pyfunc.load_model(logged.model_uri)
        table = pd.DataFrame({"user_id": ["u1", "u2"]})
        assert lists(found.predict(table)) == lists(model.predict(table))
    finally:
        mlflow.set_tracking_uri(before)


def test_invocations_of_the_scoring_server(model, release):
    from fastapi.testclient import TestClient
    from mlflow.pyfunc.scoring_server import init

    with TestClient(init(model)) as client:
        body = {"dataframe_records": [{"user_id": "u1"}], "params": {"k": 2}}
        answer = client.post("/invocations", json=body)
        assert answer.status_code == 200
        (row,) = answer.json()["predictions"]
        (expected,) = release.recommend(["u1"], k=2)
        assert row == {"candidate_ids": expected.item_ids, "scores": expected.scores}
        split = {"columns": ["history"], "data": [[["i1", "i2"]]]}
        answer = client.post("/invocations", json={"dataframe_split": split})
        (expected,) = release.recommend([{"history": ["i1", "i2"]}])
        assert answer.json()["predictions"][0]["candidate_ids"] == expected.item_ids
        assert client.post("/invocations", json={"dataframe_records": [{"x": 1}]}).status_code == 400


def test_a_ranker_scores_pairs(rating_root, tmp_path):
    from tfrecall.serving.mlflow import Model, signature

    ranker = tr.load(rating_root)
    pairs = pd.DataFrame({"user_id": ["u1", "u2"], "item_id": ["i3", "i4"]})
    found = Model(ranker).predict(pairs)
    expected = ranker.predict(["u1", "u2"], ["i3", "i4"])
    np.testing.assert_allclose(found["score"], expected, rtol=1e-6)
    assert signature(ranker).outputs.input_names() == ["score"]
    with pytest.raises(UnsupportedError, match="item_id"):
        Model(ranker).predict(pairs[["user_id"]])


@pytest.mark.slow
def test_models_serve_answers(saved, release):
    host, port = free_address("127.0.0.1", 0).split(":")
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(saved), "-p", port]
    # MLflow starts `uvicorn`, which it finds by the path.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command += ["--env-manager", "local", "-h", host]
    server = subprocess.Popen(command, env={**os.environ, "PATH": path})
    try:
        body = json.dumps({"dataframe_records": [{"user_id": "u1"}], "params": {"k": 2}}).encode()
        url = f"http://{host}:{port}/invocations"
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        end = time.monotonic() + 120
        while True:
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    found = json.load(answer)["predictions"]
                break
            except urllib.error.URLError:
                assert time.monotonic() < end
                assert server.poll() is None
                time.sleep(0.5)
        assert found[0]["candidate_ids"] == release.recommend(["u1"], k=2)[0].item_ids
    finally:
        server.terminate()
        server.wait(60)
