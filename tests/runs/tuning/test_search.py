"""The search: the better value wins, test rows are left alone, nothing that is done is lost."""

import json
import re

import optuna
import pytest

from tests.integration.runs import write_files
from tests.progress import RecordedProgress
from tfrecall.config.recipes import load_config
from tfrecall.errors import ConfigError
from tfrecall.runs.tuning import search, tune
from tfrecall.runs.tuning.study import FIRST_EPOCH_TO_PRUNE

RATE = '"training.learning_rate"'
TOP = "hit_rate@5"


class Trials(RecordedProgress):
    @property
    def trials(self):
        return [note for note in self.notes if note.startswith("trial ")]


@pytest.fixture
def tiny(tmp_path):
    """The recipe of a tiny log with settings."""

    def configured(*settings):
        recipe = write_files(tmp_path)[0]
        files = {"source": "log.csv", "users": "users.parquet", "items": "items.parquet"}
        paths = [f"data.{k}={tmp_path / v}" for k, v in files.items()]
        return load_config(recipe, [*paths, *settings])

    return configured


@pytest.fixture
def scripted(monkeypatch):
    """Fits that take no time: the figure is `value(config)`, which may raise."""

    def script(value):
        calls = []

        def fitted_value(config, parts, trial):
            calls.append((config, parts))
            return value(config)

        monkeypatch.setattr(search, "_fitted_value", fitted_value)
        return calls

    return script


def near(best):
    """A hill over the learning rate."""
    return lambda config: 1 / (1 + abs(config.training.learning_rate - best))


SPACE = f"tune.{RATE}={{low=0.01, high=10.0, log=true}}"


# With real fits


@pytest.mark.slow
def test_the_plainly_better_value_wins_and_what_diverges_has_failed_with_its_reason(tiny, tmp_path):
    # With a rate of 1e-7 the weights stay at their random start, with 1e30 they are soon infinite.
    rates = f"tune.{RATE}.choices=[1e30, 1e-7, 0.3]"
    config = tiny(rates, "training.learning_rate=1e30", "training.epochs=4")
    progress = Trials()
    found = tune(config, trials=12, progress=progress)
    assert found.trials[0].settings == {"training.learning_rate": 1e30}, "the recipe as it is is first"
    assert found.trials[0].state == "failed"
    assert found.trials[0].reason.startswith("DivergedError: Training diverged in epoch 1")
    assert "failed: DivergedError" in progress.trials[0]
    assert len(progress.trials) == 12
    assert re.search(
        r"\ntrial \d of 12: 0\.\d{4} \(best 0\.\d{4}\), [\d.]+ s: training", "\n".join(progress.trials)
    )

    came = {trial.settings["training.learning_rate"]: trial.value for trial in found.trials}
    assert found.best.settings == {"training.learning_rate": 0.3}
    assert found.best.value > came[1e-7] + 0.05
    assert found.metric == TOP
    assert found.config.training.learning_rate == 0.3
    file = tmp_path / "best.toml"
    file.write_text(found.config.to_toml(), "utf-8")
    assert load_config(str(file)) == found.config, "the best recipe can be run"


# What a search does around its fits


def test_test_rows_are_not_among_what_a_search_has(tiny, scripted, monkeypatch):
    calls = scripted(near(1))
    prepared = []
    original = search.prepare
    monkeypatch.setattr(search, "prepare", lambda *a: prepared.append(original(*a)) or prepared[-1])
    tune(tiny(SPACE), trials=3)
    assert len(prepared) == 1, "data are prepared once"
    (data,) = prepared
    for config, parts in calls:
        assert len(parts.test) == 0
        assert parts.train is data.train is parts.known
        assert parts.validation is data.validation
        assert config.training.refit is False


def test_no_validation_rows_are_refused(tiny, scripted):
    calls = scripted(near(1))
    with pytest.raises(ConfigError, match=r"validation_fraction` is 0.*test rows are not for"):
        tune(tiny(SPACE, "split.validation_fraction=0"), trials=3)
    assert not calls


def test_an_unknown_path_is_refused_before_the_first_trial(tiny, scripted):
    calls = scripted(near(1))
    with pytest.raises(ConfigError, match=r'Did you mean "learning_rate"'):
        tune(tiny('tune."training.learning_rat"={low=0.1, high=1.0}'), trials=3)
    assert not calls


def values(found):
    return [trial.settings["training.learning_rate"] for trial in found.trials]


@pytest.mark.slow
def test_the_same_seed_tries_the_same(tiny, scripted):
    scripted(near(1))
    one, again = tune(tiny(SPACE), trials=15), tune(tiny(SPACE), trials=15)
    other = tune(tiny(SPACE, "training.seed=7"), trials=15)
    assert values(one) == values(again) != values(other)
    assert values(one)[0] == 0.1, "the recipe's own"
    assert len(set(values(one))) == 15
    assert abs(one.best.settings["training.learning_rate"] - 1) < 0.3
    assert one.importance == {}, "of one setting there is nothing to say"
    said = one.config.description
    assert "the best of 15 trials by" in said
    # 1 / (1 + |.1 - 1|) = .5263
    assert f"{one.best.value:.4f} (trial 1: 0.5263): training.learning_rate = " in said


@pytest.mark.slow
def test_a_study_that_was_stopped_and_continued_has_the_trials_of_one_that_was_not(
    tiny, scripted, tmp_path
):
    calls = scripted(near(1))
    whole = tune(tiny(SPACE), trials=14)
    assert len(calls) == 14

    def stops(config):
        if len(calls) == 14 + 12:
            raise KeyboardInterrupt
        return near(1)(config)

    calls = scripted(stops)
    calls += [None] * 14
    part = tune(tiny(SPACE), trials=14, study=tmp_path / "study.log")
    assert part.interrupted
    assert len(part.trials) == 11
    scripted(near(1))
    rest = tune(tiny(SPACE), trials=14, study=tmp_path / "study.log")
    assert not rest.interrupted
    assert values(rest) == values(whole)
    assert [t.value for t in rest.trials] == [t.value for t in whole.trials]


def test_a_trial_of_a_process_that_was_killed_is_tried_again(tiny, scripted, tmp_path, monkeypatch):
    def killed(config):
        raise SystemExit  # ends the process without a word to the study

    scripted(killed)
    with pytest.raises(SystemExit):
        tune(tiny(SPACE), trials=2, study=tmp_path / "study.log")
    calls = scripted(near(1))
    found = tune(tiny(SPACE), trials=2, study=tmp_path / "study.log")
    assert len(found.trials) == len(calls) == 2
    assert values(found)[0] == 0.1


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ([f"tune.{RATE}={{low=0.01, high=5.0, log=true}}"], "tune.training.learning_rate: there"),
        ([SPACE, "model.layer_sizes=[4]"], "model.layer_sizes: there [8], here [4]"),
        ([SPACE, "split.seed=3"], "data: there"),
    ],
)
def test_a_study_of_another_search_is_refused(tiny, scripted, tmp_path, settings, said):
    scripted(near(1))
    tune(tiny(SPACE), trials=1, study=tmp_path / "study.log")
    with pytest.raises(ConfigError, match=r"belongs to another search") as error:
        tune(tiny(*settings), trials=2, study=tmp_path / "study.log")
    assert said in str(error.value)


def test_a_file_that_is_no_study_is_refused(tiny, scripted, tmp_path):
    scripted(near(1))
    (tmp_path / "study.log").write_text("user_id,item_id\na,b\n")
    with pytest.raises(ConfigError, match=r"study\.log cannot be read"):
        tune(tiny(SPACE), trials=1, study=tmp_path / "study.log")


def test_equal_values_are_not_trained_twice(tiny, scripted):
    calls = scripted(near(1))
    found = tune(tiny(f"tune.{RATE}.choices=[0.1, 1.0]"), trials=9)
    assert len(found.trials) == 9
    assert len(calls) == 2


def test_no_trial_begins_after_the_time_is_over(tiny, scripted):
    scripted(near(1))
    with pytest.raises(ConfigError, match=r"None of 0 trials came to an end.*more time"):
        tune(tiny(SPACE), trials=3, minutes=0)


def test_a_search_in_which_all_fails_tells_why(tiny, scripted):
    def fails(config):
        raise RuntimeError("no memory")

    scripted(fails)
    with pytest.raises(
        ConfigError, match=r"None of 2 trials came to an end.*\n  RuntimeError: no memory"
    ):
        tune(tiny(SPACE), trials=2)


def test_a_loss_is_better_when_it_is_lower(tiny, scripted):
    scripted(lambda config: -near(1)(config))
    found = tune(tiny(SPACE, "training.monitor=loss"), trials=12)
    assert found.best.value == min(trial.value for trial in found.trials)


def test_importance_is_told_of_several_settings(tiny, scripted):
    scripted(near(1))
    found = tune(tiny(SPACE, 'tune."model.dropout"={low=0.0, high=0.5}'), trials=20)
    assert set(found.importance) == {"training.learning_rate", "model.dropout"}
    assert found.importance["training.learning_rate"] > 0.5
    assert found.to_dict()["best"]["state"] == "complete"


# Pruning


def test_a_trial_worse_than_most_ends_early():
    study = optuna.create_study(
        direction="maximize", pruner=optuna.pruners.MedianPruner(1, FIRST_EPOCH_TO_PRUNE)
    )
    good = study.ask()
    for epoch in (1, 2, 3):
        good.report(0.9, epoch)
    study.tell(good, 0.9)
    report = search._Report(study.ask(), f"val_{TOP}")
    report.on_epoch_end(0, {f"val_{TOP}": 0.1})  # the first epoch proves nothing
    report.on_epoch_end(1, {"loss": 3.0})  # not validated
    with pytest.raises(optuna.TrialPruned):
        report.on_epoch_end(2, {f"val_{TOP}": 0.1})


# The command


def asked(tmp_path, *arguments, status=0):
    from typer.testing import CliRunner

    from tfrecall.cli import app

    files = write_files(tmp_path)
    files[-1] = str(tmp_path / "best.toml")
    result = CliRunner().invoke(app, ["tune", *files, "--trials", "12", *arguments])
    assert result.exit_code == status, (result.output, result.exception)
    return result


def test_the_command_writes_the_best_recipe_and_a_table(scripted, tmp_path):
    scripted(near(1))
    shown = asked(tmp_path, "--set", SPACE)
    best = load_config(str(tmp_path / "best.toml"))
    assert best.recipe == "best"
    assert 0.5 < best.training.learning_rate < 2
    assert str(tmp_path / "log.csv") == best.data.source
    assert "tfrecall run" in shown.stdout
    assert shown.stderr.count("trial ") >= 12

    answer = json.loads(asked(tmp_path, "--set", SPACE, "--json").stdout)
    assert answer["best"]["settings"]["training.learning_rate"] == best.training.learning_rate
    assert len(answer["trials"]) == 12
    assert answer["config"] == best.to_dict()
    assert not answer["interrupted"]


def test_an_interrupted_search_says_how_to_go_on_and_writes_what_it_has(scripted, tmp_path):
    calls = []

    def stops(config):
        calls.append(config)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return near(1)(config)

    scripted(stops)
    study = str(tmp_path / "study.log")
    shown = asked(tmp_path, "--set", SPACE, "--study", study)
    assert "Interrupted after 2 of 12 trials; --study" in shown.stderr
    assert "the best of 2 trials" in load_config(str(tmp_path / "best.toml")).description
    again = json.loads(asked(tmp_path, "--set", SPACE, "--study", study, "--json").stdout)
    assert len(again["trials"]) == 12


def test_settings_head_the_table_by_their_last_word_unless_two_share_it():
    from tfrecall.cli.tables import short_names

    assert short_names(["training.learning_rate", "schema.query.0.embedding_dim"]) == {
        "training.learning_rate": "learning_rate",
        "schema.query.0.embedding_dim": "embedding_dim",
    }
    same = ["schema.query.0.embedding_dim", "schema.query.1.embedding_dim"]
    assert list(short_names(same).values()) == same


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--out", "nowhere/best.toml"], "nowhere/best.toml cannot be written"),
        (["--out", "best.json"], "A recipe is a file that ends in .toml"),
        (["--set", "tune.a={low=1}"], "tune.a: give both `low` and `high`"),
    ],
)
def test_what_cannot_work_is_refused_before_the_data_are_read(
    scripted, tmp_path, monkeypatch, arguments, said
):
    monkeypatch.setattr(search, "prepare", lambda *args: pytest.fail("data were read"))
    assert said in asked(tmp_path, *arguments, status=1).stderr
