"""Configurations: what ships, what is refused and how it is said."""

import contextlib
import dataclasses
import importlib.util
import re
import sys
from datetime import date

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from tfrecall.config import recipes
from tfrecall.config.recipes import config_from_dict, load_config, recipe_names, recipe_text
from tfrecall.config.run import RunConfig
from tfrecall.config.sections import TuneConfig
from tfrecall.config.tasks import FullSoftmaxConfig
from tfrecall.errors import ConfigError
from tfrecall.schema import features as schema
from tfrecall.schema.labels import Label


def refused(*overrides):
    with pytest.raises(ConfigError) as error:
        load_config("two_tower_ml100k", overrides)
    return str(error.value)


def test_both_recipes_ship():
    assert {"deep_retrieval_ml100k", "two_tower_ml100k"} <= set(recipe_names())


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_is_valid_and_survives_its_own_toml(name, tmp_path):
    loaded = load_config(name)
    file = tmp_path / "copy.toml"
    file.write_text(loaded.to_toml(), "utf-8")
    assert load_config(str(file)) == loaded
    assert loaded.recipe == name
    assert loaded.description


def test_the_plain_form_survives_json():
    import json

    loaded = load_config("two_tower_ml100k", ["split.at=2003-01-01"])
    assert config_from_dict(json.loads(json.dumps(loaded.to_dict()))) == loaded


def test_experiment_a_is_what_the_tutorial_published():
    """User id, 1,000 equal-width buckets of time, normalised time; title and its words; Adagrad .1."""
    loaded = load_config("deep_retrieval_ml100k")
    kinds = [(type(f).__name__, f.column) for f in (*loaded.schema.query, *loaded.schema.candidate)]
    assert kinds == [
        ("Categorical", "user_id"),
        ("Bucketized", "timestamp"),
        ("Numeric", "timestamp"),
        ("Categorical", "movie_title"),
        ("Text", "movie_title"),
    ]
    buckets, words = loaded.schema.query[1], loaded.schema.candidate[1]
    assert (buckets.num_buckets, buckets.method, words.max_tokens) == (1000, "equal_width", 10_000)
    assert {f.embedding_dim for f in (loaded.schema.query[0], buckets, words)} == {32}
    assert (loaded.training.optimizer, loaded.training.learning_rate) == ("adagrad", 0.1)
    assert (loaded.training.validate_every, loaded.split.test_fraction, loaded.split.seed) == (
        5,
        0.2,
        42,
    )


# Settings


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("training.epochs=2", "training.epochs", 2),
        ("training.patience=1", "training.patience", 1),
        ("training.learning_rate=1e-3", "training.learning_rate", 0.001),
        ("training.refit=false", "training.refit", False),
        ("training.optimizer=sgd", "training.optimizer", "sgd"),
        ('training.optimizer="sgd"', "training.optimizer", "sgd"),
        ("data.source=my log.csv", "data.source", "my log.csv"),
        ("data.source=/data/a=b.csv", "data.source", "/data/a=b.csv"),
        ("model.layer_sizes=[128, 64, 32]", "model.layer_sizes", (128, 64, 32)),
        ("model.layer_sizes.0=128", "model.layer_sizes", (128, 64)),
        ("model.layer_sizes.2=8", "model.layer_sizes", (256, 64, 8)),
        ("task={type='full_softmax'}", "task", FullSoftmaxConfig()),
        ("split.at=2003-01-01", "split.at", "2003-01-01"),
        ("split.at=2003-01-01T10:00:00Z", "split.at", "2003-01-01T10:00:00+00:00"),
        ("split.at=1041379200", "split.at", "1041379200"),
        ("description=", "description", ""),
        ("filters.min_rating=4", "filters.min_rating", 4.0),
        ("filters.min_rating=none", "filters.min_rating", None),
        ('data.users="none"', "data.users", "none"),
        (" training . epochs = 2", "training.epochs", 2),
        ("'training'.\"epochs\"=2", "training.epochs", 2),
        (
            "tune.'training.epochs'={low=2, high=9}",
            "tune",
            {"training.epochs": TuneConfig(low=2, high=9)},
        ),
        (
            'tune."model.layer_sizes".choices=[[8], [64, 32]]',
            "tune",
            {"model.layer_sizes": TuneConfig(choices=[[8], [64, 32]])},
        ),
    ],
)
def test_a_setting_takes_precedence(override, path, value):
    found = load_config("two_tower_ml100k", [override])
    for key in path.split("."):
        found = getattr(found, key)
    assert found == value


def test_settings_reach_into_lists_of_sections_and_extend_them():
    before = load_config("two_tower_ml100k").schema.query
    changed = load_config("two_tower_ml100k", ["schema.query.0.embedding_dim=3"]).schema.query
    assert changed == (dataclasses.replace(before[0], embedding_dim=3), *before[1:])
    last = f"schema.query.{len(before)}={{type='numeric', column='raw_user_age2'}}"
    longer = load_config("two_tower_ml100k", [last]).schema.query
    assert longer == (*before, schema.Numeric("raw_user_age2"))


def leaves(values, path=""):
    """Path and value of every setting of a plain form, of lists also of their entries."""
    for key, value in values.items() if isinstance(values, dict) else enumerate(values):
        here = f"{path}.{key}" if path else str(key)
        if not isinstance(value, dict) and not (type(value) is list and dict in map(type, value)):
            yield here, value
        if isinstance(value, dict | list):
            yield from leaves(value, here)


def test_every_setting_that_there_is_can_be_set_to_what_it_is():
    unlike_default = [
        "filters.min_rating=2",
        "data.folder=/x",
        "training.clip_norm=3",
        "tune={a={choices=[1]}}",
    ]
    loaded = load_config("two_tower_ml100k", unlike_default)
    everything = dict(leaves(loaded.to_dict()))
    assert {
        "training.clip_norm",
        "schema.query.0.column",
        "evaluation.ks.5",
        "tune.a.choices.0",
    } <= set(everything)
    bare = {"recipe": "two_tower_ml100k", "schema": loaded.to_dict()["schema"]}
    for path, value in everything.items():
        text = f"{path}={tomli_w.dumps({'v': value}).partition('=')[2]}"
        assert load_config("two_tower_ml100k", [*unlike_default, text]) == loaded, path
    assert recipes.with_settings(config_from_dict(bare), everything) == loaded


def test_settings_are_put_into_a_configuration_that_stays_as_it_was():
    before = load_config("two_tower_ml100k")
    after = recipes.with_settings(before, {"training.epochs": 3, "model.layer_sizes.1": 16})
    assert (after.training.epochs, after.model.layer_sizes) == (3, (256, 16))
    assert before == load_config("two_tower_ml100k")
    with pytest.raises(ConfigError, match=r'Did you mean "epochs"'):
        recipes.with_settings(before, {"training.epoch": 3})
    with pytest.raises(ConfigError, match=r'"training..epochs" is not a setting'):
        recipes.with_settings(before, {"training..epochs": 3})


def test_no_patience_survives_a_file(tmp_path):
    """TOML has no null, and what does not stand in a file has its default, 3."""
    endless = load_config("two_tower_ml100k", ["training.refit=false", "training.patience=none"])
    assert endless.training.patience is None
    file = tmp_path / "two_tower_ml100k.toml"
    file.write_text(endless.to_toml(), "utf-8")
    assert load_config(str(file)) == endless


def test_the_last_of_two_settings_counts():
    assert (
        load_config("two_tower_ml100k", ["training.epochs=2", "training.epochs=3"]).training.epochs == 3
    )


def test_a_file_is_called_after_its_name_and_may_say_another(tmp_path):
    file = tmp_path / "my_run.toml"
    text = recipe_text("two_tower_ml100k")
    file.write_text(text, "utf-8")
    assert load_config(str(file)).recipe == "my_run"
    file.write_text(f'recipe = "other"\n{text}', "utf-8")
    assert load_config(str(file)).recipe == "other"


def test_an_unquoted_date_of_toml_is_a_moment(tmp_path):
    values = {**load_config("two_tower_ml100k").to_dict(), "split": {"method": "by_time"}}
    values["split"]["at"] = date(2003, 1, 1)
    assert config_from_dict(values).split.at == "2003-01-01"


# Refusals


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("training.epoch=2", 'training.epoch: there is no such setting. Did you mean "epochs"?'),
        ("trainin.epochs=2", 'trainin: there is no such setting. Did you mean "training"?'),
        ("task.temprature=2", 'Did you mean "temperature"?'),
        ("schema.query.0.embeding_dim=2", 'Did you mean "embedding_dim"?'),
        ("schema.querry=[]", 'Did you mean "query"?'),
        ("model.text=3", "model.text: there is no such setting."),
        ("text=3", "text: there is no such setting."),
        ("task.type=fullsoftmax", 'Did you mean "full_softmax"?'),
        ("schema.query.0.type=numerc", 'Did you mean "numeric"?'),
        ("split.method=randm", 'Did you mean "random"?'),
        ("training.optimizer=adagard", 'Did you mean "adagrad"?'),
        ("training.epochs=0", "training.epochs: Input should be greater than 0. Received: 0."),
        ("training.epochs=", "training.epochs: "),
        ("training.learning_rate=nan", "training.learning_rate: "),
        ("training.learning_rate=inf", "training.learning_rate: "),
        ("training.seed=-1", "training.seed: "),
        ("evaluation.ks=[1, 1]", "one or more distinct values. Received: [1, 1]."),
        ("evaluation.ks=[]", "one or more distinct values"),
        ("evaluation.ks=[0]", "evaluation.ks.0: "),
        (
            "evaluation.baselines=['eas']",
            'evaluation.baselines: There is no baseline "eas". Did you mean "ease"? Choose from: popularity, ',
        ),
        ("evaluation.baselines=['als', 'als']", "named once. Received: ['als', 'als']."),
        ("index.target_recall=1.5", "index.target_recall: "),
        ("index.seed=99999999999", "index.seed: "),
        ("recipe=a/b", "recipe: "),
        ("recipe=", "recipe: "),
        ("schema=3", "schema: "),
        ("schema.query=[]", "A schema needs at least one query feature. Received: none."),
        ("split.test_events=last", 'test_events = "last"` needs `split.method = "by_time"`'),
        ("split.method=by_user", "needs `split.train_users`"),
        ("split.validation_fraction=0", "`training.refit` needs validation rows"),
        ("model.layer_sizes.9=3", '"model.layer_sizes.9=3": there is no place 9 in a list of 2'),
        ("model.layer_sizes.²=3", "no place ² in a list"),
        ("model.layer_sizes.-1=3", "no place -1 in a list"),
        ("model.layer_sizes.0.units=3", "0 is a single value"),
        ("training.epochs.x=3", "epochs is a single value"),
        ("tune.x={lo=1}", 'tune.x.lo: there is no such setting. Did you mean "low"?'),
        ("tune.x={low=true, high=2}", "tune.x.low: expected a finite number. Received: True."),
        ("tune.x={low=3, high=3}", "tune.x: give both `low` and `high`, the lower first"),
        ("tune.x={low=0, high=3, log=true}", "tune.x: `low` must be above 0 with `log`"),
        ("tune.x={choices=[]}", "tune.x: give either `choices`"),
        ("tune.x={choices=[1], low=1}", "tune.x: give either `choices`"),
        ("tune.x={}", "tune.x: give both `low` and `high`"),
        ("training.'epochs=3", "is not a setting"),
        ("training.epochs", '"training.epochs" is not a setting. Write section.key=value'),
        ("=3", "is not a setting"),
        ("training..epochs=3", "is not a setting"),
    ],
)
def test_what_makes_no_sense_is_refused_in_the_words_of_the_file(override, said):
    assert said in refused(override)


def test_every_mistake_is_told_at_once():
    message = refused("training.epochs=0", "model.dropout=1", "export.q=1")
    assert all(name in message for name in ("training.epochs", "model.dropout", "export.q"))


def test_refit_needs_somebody_to_say_when_to_stop():
    assert "`training.patience`" in refused_without_patience()


def refused_without_patience():
    values = load_config("two_tower_ml100k").to_dict()
    values["training"]["patience"] = None
    with pytest.raises(ConfigError) as error:
        config_from_dict(values)
    return str(error.value)


def test_an_unknown_recipe_names_the_nearest_and_the_way_to_a_file():
    with pytest.raises(ConfigError, match=r'"two_tower_ml100".*mean "two_tower_ml100k".*path of its'):
        load_config("two_tower_ml100")


@pytest.mark.parametrize(
    "content", [b"[data", b"\xff\xfe", b"recipe = 'a'\nrecipe = 'b'"], ids=["open", "no text", "twice"]
)
def test_a_file_that_is_no_toml_is_named(tmp_path, content):
    file = tmp_path / "broken.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"broken\.toml"):
        load_config(str(file))


DEEP = "[" * 20_000 + "]" * 20_000


def test_values_nested_too_deeply_are_refused(tmp_path):
    file = tmp_path / "deep.toml"
    file.write_text(f"a = {DEEP}\n", "utf-8")
    with pytest.raises(ConfigError, match=r"deep.toml nests its values too deeply"):
        load_config(str(file))
    with pytest.raises(ConfigError, match=r"training.epochs nests its values too deeply"):
        load_config("two_tower_ml100k", [f"training.epochs={DEEP}"])


# The release would be written to saved_models/.., or nowhere.
@pytest.mark.parametrize(
    "name", [".", "..", "...", ". .", " ", "a/b", "/etc/x", "a\\b", "a\nb", "a\0", "é" * 101]
)
def test_a_name_that_is_no_directory_is_refused(name):
    values = load_config("two_tower_ml100k").to_dict() | {"recipe": name}
    with pytest.raises(ConfigError, match=r"recipe: (a recipe is named|the name of a recipe)"):
        config_from_dict(values)


@pytest.mark.parametrize("name", ["a b", ".hidden", "v1.2", "é" * 100, "..a"])
def test_a_name_of_a_directory_is_taken(name):
    values = load_config("two_tower_ml100k").to_dict() | {"recipe": name}
    assert config_from_dict(values).recipe == name


def test_a_file_that_is_not_there_or_a_folder_is_named(tmp_path):
    (tmp_path / "folder.toml").mkdir()
    for name in ("folder", "nowhere"):
        with pytest.raises(ConfigError, match=rf"{name}\.toml cannot be read"):
            load_config(str(tmp_path / f"{name}.toml"))


def test_a_file_without_a_schema_says_so(tmp_path):
    file = tmp_path / "short.toml"
    file.write_text("[training]\nepochs = 2\n")
    with pytest.raises(ConfigError, match="schema: this setting is missing"):
        load_config(str(file))


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.slow
@given(
    st.sampled_from([field.name for field in dataclasses.fields(RunConfig)]),
    st.sampled_from(["type", "query", "ks", "at", "epochs", "text", "column", "x"]),
    PLAIN,
)
def test_nothing_but_a_configuration_or_a_refusal_comes_of_any_values(section, key, value):
    values = load_config("two_tower_ml100k").to_dict()
    if isinstance(values[section], dict):
        values[section][key] = value
    else:
        values[section] = value
    with contextlib.suppress(ConfigError):
        config_from_dict(values)


@given(st.text(max_size=20))
def test_nothing_but_a_configuration_or_a_refusal_comes_of_any_setting(text):
    for override in (text, f"schema.query.{text}", f"training.{text}", f"data.source={text}"):
        with contextlib.suppress(ConfigError):
            load_config("two_tower_ml100k", [override])


def test_python_3_10_reads_toml_with_tomli(monkeypatch):
    pytest.importorskip("tomli")
    monkeypatch.setattr(sys, "version_info", (3, 10, 14, "final", 0))
    monkeypatch.setitem(sys.modules, "tomllib", None)
    found = importlib.util.spec_from_file_location("recipes_of_3_10", recipes.__file__)
    monkeypatch.setitem(sys.modules, "config_of_3_10", again := importlib.util.module_from_spec(found))
    found.loader.exec_module(again)
    assert again.tomllib.__name__ == "tomli"
    assert again.load_config("two_tower_ml100k").training.epochs


# Rankers

RANKING, BAYESIAN = "ranking_dcn_ml100k", "ranking_ml100k"


def test_a_ranker_is_a_model_of_its_own():
    config = load_config(RANKING)
    assert config.ranks
    assert config.task.target == Label("rating", 1, 5)
    assert load_config(BAYESIAN).ranks
    assert not load_config("two_tower_ml100k").ranks


@pytest.mark.parametrize(
    ("recipe", "override", "words"),
    [
        (RANKING, "task={type='in_batch'}", 'set `task.type` to "rating", "click" or "list"'),
        (RANKING, "training.monitor=rsme", "one of rmse, mae, loss"),
        (RANKING, "index.n_trees=3", "`[index]` is for retrievers"),
        (RANKING, "histories.form=windows", "`[histories]` is for retrievers"),
        (RANKING, "model.type=rankr", 'Did you mean "ranker"'),
        (RANKING, "model.croses=['dot']", 'Did you mean "crosses"'),
        (RANKING, "model.crosses=['dots']", "model.crosses"),
        (RANKING, "model.crosses=['dot','dot']", "one or more distinct values"),
        (RANKING, "task.low=7", "`low` of the label must be below `high`"),
        (BAYESIAN, "task={type='click',threshold=4}", 'set `task.type = "rating"`'),
        (BAYESIAN, "training.learning_rate=.01", "`training.learning_rate` is for gradients"),
        (BAYESIAN, "training.optimizer=adam", "`training.optimizer` is for gradients"),
        (BAYESIAN, "model.drawz=3", 'Did you mean "draws"'),
        (BAYESIAN, "model.type=bayesian", 'Did you mean "bayesian_ranker"'),
        ("two_tower_ml100k", "task={type='rating'}", 'set `model.type = "ranker"`'),
        ("two_tower_ml100k", "model.type=two_towr", 'Did you mean "two_tower"'),
        ("two_tower_ml100k", "model.layer_size=[3]", 'Did you mean "layer_sizes"'),
    ],
)
def test_what_a_ranker_does_not_have_is_refused(recipe, override, words):
    with pytest.raises(ConfigError, match=re.escape(words)):
        load_config(recipe, [override])


def test_old_names_of_monitors_are_read_as_those_of_tables(caplog):
    from tfrecall.schema.training import TrainingConfig

    old = "factorized_top_k/top_37_categorical_accuracy"
    assert [TrainingConfig(monitor=old).monitor for _ in range(2)] == ["hit_rate@37"] * 2
    assert TrainingConfig(monitor=old).monitored_length == 37
    assert TrainingConfig(monitor="factorized_top_k/ndcg_38").monitor == "ndcg@38"
    told = [record.getMessage() for record in caplog.records]
    assert sum('"hit_rate@37"' in text for text in told) == 1, "once a process"
    assert TrainingConfig().monitor == "hit_rate@100"
    assert TrainingConfig(monitor="seen_removed/hit_rate@50").monitor == "seen_removed/hit_rate@50"
