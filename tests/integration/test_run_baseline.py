"""A recipe whose model is a baseline: fitted, evaluated, exported and asked like any other."""

import json
from typing import get_args

import numpy as np
import polars as pl
import pytest

from tests.cli.test_cli import ask
from tests.report.helpers import Page
from tests.report.test_run_page import assert_alone
from tests.tiny import tiny_interactions
from tfrecall.baselines.registry import make_baseline
from tfrecall.config.recipes import load_config
from tfrecall.errors import ConfigError
from tfrecall.release import load
from tfrecall.runs.kinds import kind_of
from tfrecall.runs.preparation import prepare
from tfrecall.runs.tuning import tune
from tfrecall.schema.baselines import BASELINES, SCORES_ONLY, BaselineName

RECIPE = """
[data]
source = "{folder}/log.csv"

[schema]
query = [{{ type = "categorical", column = "user_id" }}]
candidate = [{{ type = "categorical", column = "item_id" }}]

[model]
{model}

[evaluation]
ks = [1, 5, 10]

[export]
k = 5
"""


def recipe(folder, model):
    tiny_interactions().log.write_csv(folder / "log.csv")
    (folder / "counted.toml").write_text(RECIPE.format(folder=folder, model=model), "utf-8")
    return folder / "counted.toml"


@pytest.fixture(scope="module", params=["own_most_frequent", "ease"])
def ended(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    settings = {"ease": "\nsettings = { l2 = 3.0 }"}.get(request.param, "")
    file = recipe(folder, f'type = "{request.param}"{settings}')
    result = ask("run", file, "--out", folder / "out", "--allow-worse", "--json")
    return request.param, file, folder / "out", json.loads(result.stdout)


def test_the_release_answers_as_the_baseline_fitted_to_all_known_rows(ended):
    name, file, root, metrics = ended
    config = load_config(str(file))
    splits = prepare(config)
    model = make_baseline(name, config.model.settings).fit(splits.known)
    release = load(root)
    queries = splits.test.queries.unique("user_id", maintain_order=True)
    np.testing.assert_allclose(release.scores(queries), model.scores(queries), rtol=1e-6)
    assert release.manifest["kind"] == "baseline"
    assert release.manifest["model"]["settings"] == model.settings
    assert metrics["model"] == name
    assert name not in metrics["baselines"]
    assert "popularity" in metrics["baselines"]


def test_it_is_evaluated_again_from_the_release_with_the_same_figures(ended):
    name, _, root, metrics = ended
    told = json.loads(ask("evaluate", root, "--json").stdout)
    assert told["test"] == metrics["test"]
    assert told["model"] == name


def test_the_report_has_no_map_and_no_curves(ended):
    _, _, root, _ = ended
    html = (root / "report.html").read_text("utf-8")
    assert_alone(html)
    text = Page(html).text
    assert "counts: all known rows, once" in text
    assert "Map of the items" not in text


@pytest.mark.slow
def test_its_own_configuration_gives_the_same_release_again(ended, tmp_path):
    _, _, root, metrics = ended
    again = json.loads(
        ask("run", root / "config.toml", "--out", tmp_path, "--allow-worse", "--json").stdout
    )
    assert again["test"] == metrics["test"]
    assert load(tmp_path).manifest["model"] == load(root).manifest["model"]


@pytest.mark.parametrize(
    ("model", "more", "said"),
    [
        ('type = "ease"\nsettings = { l3 = 2 }', "", 'no setting "l3".* Did you mean "l2"'),
        ('type = "ease"\nsettings = { l2 = -1.0 }', "", "`l2` is what is added"),
        ('type = "ease"\nlayer_sizes = [8]', "", "there is no such setting"),
        ('type = "ease"', "training.epochs=3", r"`\[training\]` is for models that are trained"),
        ('type = "esae"', "", "esae"),
    ],
)
def test_what_has_no_effect_on_a_baseline_is_refused(tmp_path, model, more, said):
    file = recipe(tmp_path, model)
    with pytest.raises(ConfigError, match=said):
        kind_of(load_config(str(file), [more] if more else []))


def test_a_search_of_a_baseline_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="not trained"):
        tune(load_config(str(recipe(tmp_path, 'type = "item_cf"'))))


@pytest.mark.slow
def test_every_baseline_can_be_the_model_of_a_recipe(tmp_path):
    assert (*get_args(BaselineName), *SCORES_ONLY) == tuple(BASELINES)
    for name in SCORES_ONLY:
        with pytest.raises(ConfigError, match=rf"model\.type: .*Received: '{name}'"):
            load_config(str(recipe(tmp_path, f'type = "{name}"')))
    for name in get_args(BaselineName):
        config = load_config(str(recipe(tmp_path, f'type = "{name}"')))
        assert config.counts
        assert config.model.type == name


def test_a_log_of_pairs_alone_is_enough(tmp_path):
    file = recipe(tmp_path, 'type = "popularity"')
    pairs = pl.DataFrame({"user_id": [*"aabbcc"], "item_id": [*"xyxzyz"]})
    pairs.write_csv(tmp_path / "log.csv")
    options = ["--set", "evaluation.ks=[1]", "--set", "export.k=1"]
    options += ["--set", "split.method=random", "--set", "split.test_fraction=0.5"]
    options += ["--set", "split.validation_fraction=0"]
    ask("run", file, "--timestamp-column", "", "--out", tmp_path / "out", "--allow-worse", *options)
    assert load(tmp_path / "out").recommend(["nobody"], 1)[0].item_ids


def test_a_baseline_that_another_one_beats_ends_with_0_and_says_so(tmp_path):
    file = recipe(tmp_path, 'type = "popularity"')
    result = ask("run", file, "--out", tmp_path / "out")
    beaten = load(tmp_path / "out").manifest["beaten_by"]
    assert beaten["model"] < max(beaten["baselines"].values())
    assert "beat the model" in result.stderr
    assert "Status 3" not in result.stderr


def test_a_baseline_keeps_no_state_of_a_training_and_says_so(tmp_path):
    file = recipe(tmp_path, 'type = "popularity"')
    options = ["--allow-worse", "--set", "export.training_state=true"]
    assert "keeps no state" in ask("run", file, "--out", tmp_path / "out", *options).stderr
    assert load(tmp_path / "out").recommend(["nobody"], 1)[0].item_ids
