"""Parts of the main job; the whole of it is run in tests/integration."""

import re
import time
from dataclasses import replace
from types import SimpleNamespace

import polars as pl
import pytest

from tests.integration.runs import SMALL, write_files
from tests.progress import RecordedProgress
from tfrecall.cli.outcome import example_of
from tfrecall.config.recipes import load_config
from tfrecall.config.run import RunConfig
from tfrecall.data import synthetic
from tfrecall.data.interactions import Interactions
from tfrecall.errors import ConfigError, DataError, ExportError
from tfrecall.release.manifest import read_manifest
from tfrecall.runs.build import make_model
from tfrecall.runs.facts import Stopwatch, finite
from tfrecall.runs.kinds import kind_of
from tfrecall.runs.preparation import check_answerable, load_data, prepare, split
from tfrecall.runs.run import run
from tfrecall.runs.train import _warn_of_monitor, train
from tfrecall.training.state import WarmStart


def configured(*settings) -> RunConfig:
    return load_config("two_tower_ml100k", settings)


def rows(part):
    return part.log.rows()


@pytest.mark.parametrize(
    "settings",
    [
        ["split.method=random"],
        ["split.method=leave_last_out"],
        ["split.method=by_time", "split.at=2020-09-15"],
    ],
)
def test_training_validation_and_test_rows_are_the_log(settings):
    data = synthetic(30, 20, 4000)
    prepared = split(configured(*settings), data)
    train, validation, known, test = map(
        rows, (prepared.train, prepared.validation, prepared.known, prepared.test)
    )
    assert sorted(known + test) == sorted(rows(data))
    assert sorted(train + validation) == sorted(known)
    without = split(configured(*settings, "split.validation_fraction=0", "training.refit=false"), data)
    assert without.validation is None
    assert without.train is without.known is without.trainable is without.before_validation
    assert sorted(rows(without.known)) == sorted(known)


def test_by_time_the_validation_rows_are_the_latest_of_the_known():
    prepared = split(configured("split.method=by_time", "split.at=2020-09-15"), synthetic(30, 20, 4000))
    last = prepared.train.log["timestamp"].max()
    assert last < prepared.validation.log["timestamp"].min()
    share = len(prepared.validation) / len(prepared.known)
    assert share == pytest.approx(0.1, abs=0.01)


TIMED = ["split.method=by_time", "split.test_fraction=0.1", "training.refit=false"]


@pytest.mark.parametrize("test_events", ["last", "successive"])
def test_growing_histories_leave_training_and_validation_before_the_split(test_events):
    data = synthetic(30, 20, 4000)
    prepared = split(configured(*TIMED, f"split.test_events={test_events}"), data)
    start = prepared.test.log["timestamp"].min()
    assert prepared.trainable.log["timestamp"].max() < start
    # The latest tenth of the times test, and of the rest the latest tenth validates.
    assert len(prepared.trainable) == pytest.approx(0.9 * len(data), abs=1)
    assert len(prepared.train) == pytest.approx(0.81 * len(data), abs=2)
    assert prepared.train.log["timestamp"].max() < prepared.validation.log["timestamp"].min()
    users = prepared.validation.log["user_id"]
    assert users.n_unique() == len(users)  # the last event before the split of each, known until then
    assert sorted(rows(prepared.before_validation) + rows(prepared.validation)) == sorted(
        rows(prepared.trainable)
    )
    assert prepared.history is data
    assert prepared.learned is prepared.trainable
    if test_events == "last":
        assert sorted(rows(prepared.known) + rows(prepared.test)) == sorted(rows(data))
    else:
        assert prepared.known is prepared.trainable
        assert len(prepared.test) == len(data) - len(prepared.trainable)


def test_a_validation_without_rows_says_which_rows_it_takes():
    # Of the rows before the split only the first have an earlier event of their users.
    log = pl.DataFrame(
        {
            "user_id": [*"uuvwxyzu"],
            "item_id": [*"abababab"],
            "timestamp": [1, 2, 3, 4, 5, 6, 7, 8],
        }
    )
    data = Interactions.from_frame(log)
    with pytest.raises(DataError, match=r"There are no validation rows: .*split.validation_fraction"):
        split(configured("split.method=by_time", "split.at=8", "split.test_events=last"), data)
    with pytest.raises(DataError, match="The test part has no rows"):
        split(configured("split.method=by_time", "split.at=9"), data)


def test_a_release_is_not_asked_for_rows_whose_histories_it_lacks():
    settings = ["split.method=by_time", "split.test_events=successive"]
    check_answerable(configured(*settings), "out")  # no history, no repeats: every row asks alike
    with pytest.raises(ConfigError, match=r'out has the histories at the split.*test_events = "last"'):
        check_answerable(load_config("sasrec_ml1m", settings), "out")


def test_a_ranker_is_not_asked_row_after_row():
    config = load_config(
        "ranking_basic_ml100k", ["split.method=by_time", "split.test_events=successive"]
    )
    with pytest.raises(ConfigError, match="rows of a ranker are rated"):
        kind_of(config)


def test_by_user_each_fit_knows_what_the_users_had_before_the_rows_it_is_judged_by():
    data = synthetic(30, 20, 4000)
    by_user = ["split.method=by_user", "split.train_users=20", "training.refit=false"]
    prepared = split(configured(*by_user, "split.validation_fraction=0.25"), data)
    names = data.users["user_id"].to_list()

    def users(part):
        return set(part.log["user_id"])

    # 5 of 20 users are held out; every user has two events or more.
    assert users(prepared.train) == set(names[:15])
    assert prepared.validation.log["user_id"].sort().to_list() == sorted(names[15:20])
    assert prepared.test.log["user_id"].sort().to_list() == sorted(names[20:])
    assert sorted(rows(prepared.before_validation) + rows(prepared.validation)) == sorted(
        rows(prepared.trainable)
    )
    assert users(prepared.trainable) == set(names[:20])
    assert sorted(rows(prepared.known) + rows(prepared.test)) == sorted(rows(data))
    without = split(configured(*by_user, "split.validation_fraction=0"), data)
    assert without.validation is None
    assert without.train is without.before_validation is without.trainable
    assert rows(without.train) == rows(prepared.trainable)


def test_the_aggregator_recipe_tests_one_liked_movie_of_every_user_after_the_601st(movielens_folder):
    config = load_config(
        "youtube_dnn_aggregator_ml100k", [f"data.folder='{movielens_folder / 'ml-100k'}'"]
    )
    prepared = prepare(config)
    assert prepared.test.log["user_id"].sort().equals(prepared.test.users["user_id"][601:].sort())
    assert prepared.test.log["rating"].min() == 3
    assert prepared.validation.log["user_id"].n_unique() == len(prepared.validation) == 121


def test_a_model_is_made_of_its_configuration():
    model = make_model(
        configured("task={type='tfrs_retrieval', temperature=0.2}", "model.dropout=0.25")
    )
    assert type(model.task).__module__.startswith("tensorflow_recommenders")
    assert model.query_tower.dropout == 0.25
    assert model.query_tower.layer_sizes == (256, 64)
    assert model.name == "two_tower_ml100k"


def tiny_run(tmp_path, *settings) -> RunConfig:
    recipe = write_files(tmp_path)[0]
    files = {"source": "log.csv", "users": "users.parquet", "items": "items.parquet"}
    return load_config(recipe, [*(f"data.{k}={tmp_path / v}" for k, v in files.items()), *settings])


def test_refitting_trains_a_new_model_on_all_that_is_known(tmp_path, monkeypatch):
    from tfrecall.runs import train as job

    config = tiny_run(tmp_path, "training.refit=true", "training.epochs=1", "training.warmup_steps=99")
    fits = []
    monkeypatch.setattr(
        job,
        "fit",
        lambda model, rows, validation, training, **settings: (
            fits.append(
                (
                    model,
                    len(rows),
                    validation is not None,
                    training.epochs,
                    training.warmup_steps,
                )
            )
            or job.Fitted({}, 1, 7, 2.0, 10.0)
        ),
    )
    # The models are not trained here, so there is nothing to examine.
    monkeypatch.setattr(job.Diagnostics, "check_fit", lambda *args: None)
    progress = RecordedProgress()
    model, fitted = train(config, prepare(config, progress), progress)
    (first, *of_first), (second, *of_second) = fits
    assert of_first == [648, True, 1, 99]
    # 720 rows in batches of 256 are 3 steps, in 7 epochs 21: one at least comes after the warm-up.
    assert of_second == [720, False, 7, 20], "as many epochs as were best"
    assert model is second is not first
    assert (fitted.seconds, fitted.best_epoch) == (4.0, 7)
    assert any("Fitting again on all 720 known rows for 7 epochs" in note for note in progress.notes)


@pytest.mark.slow
def test_split_by_user_rows_are_asked_with_histories_that_no_fit_learns_from(history_log, monkeypatch):
    from tests.tiny_histories import SCHEMA
    from tfrecall.config.data import SplitConfig
    from tfrecall.runs import train as job
    from tfrecall.schema.targets import HistoriesConfig
    from tfrecall.schema.training import TrainingConfig

    config = RunConfig(
        recipe="by_user",
        schema=SCHEMA,
        split=SplitConfig(
            method="by_user", train_users=40, target_min_rating=3, validation_fraction=0.25
        ),
        histories=HistoriesConfig(target_min_rating=3),
        training=TrainingConfig(epochs=1, batch_size=256, refit=True),
    )
    prepared = split(config, history_log)
    fits = []

    def spy(model, rows, validation, training, **settings):
        fits.append((rows, validation, settings["seen"]))
        return fit(model, rows, validation, training, **settings)

    fit = job.fit
    monkeypatch.setattr(job, "fit", spy)
    progress = RecordedProgress()
    model, _ = train(config, prepared, progress)
    assert fits == [
        (prepared.train, prepared.validation, prepared.before_validation),
        (prepared.trainable, None, None),
    ]
    # What the testers had is there when they are asked, though they are unknown to the towers.
    assert model.interactions is prepared.known
    assert set(model.query_tower.features[0].state) == set(prepared.trainable.log["user_id"])
    assert model.raw_queries(prepared.test.queries)["history"].any(axis=1).all()
    disliked = (prepared.trainable.log["rating"] < 3).sum()
    assert f"{disliked:,} events are not rated 3 or higher (min_rating)" in progress.notes


@pytest.mark.slow
def test_each_epoch_is_told_in_one_line(tmp_path):
    config = tiny_run(tmp_path, *SMALL, "training.epochs=2", "training.patience=2")
    progress = RecordedProgress()
    train(config, prepare(config, progress), progress)
    told = [note for note in progress.notes if note.startswith("epoch ")]
    assert len(told) == 2
    assert re.fullmatch(
        r"epoch 2 of 2: loss \d+\.\d{4}, validation hit_rate@\d+ 0\.\d{4}, [\d.]+ s", told[1]
    )


def test_a_metric_that_cannot_tell_epochs_apart_is_noted():
    config, data = configured(), synthetic(30, 20, 400)
    prepared, progress = split(config, data), RecordedProgress()
    _warn_of_monitor(config, prepared, progress)
    assert "there are only 20 items" in progress.notes[0]
    _warn_of_monitor(configured("training.monitor=loss"), prepared, progress)
    assert len(progress.notes) == 1


@pytest.mark.parametrize("setting", ["index.n_trees=99999999999", "export.k=41"])
def test_what_cannot_work_is_refused_before_training(tmp_path, monkeypatch, setting):
    monkeypatch.setattr("tfrecall.runs.run.train", lambda *args: pytest.fail("training began"))
    with pytest.raises(ConfigError):
        run(tiny_run(tmp_path, setting), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_directory_that_cannot_be_written_is_refused_before_the_data_are_read(tmp_path):
    (tmp_path / "file").touch()
    config = tiny_run(tmp_path, f"data.source={tmp_path}/nowhere.csv")
    with pytest.raises(ExportError, match=r"cannot be written"):
        run(config, tmp_path / "file")


def test_a_stopwatch_tells_steps_that_ended_and_the_one_that_runs():
    clock = Stopwatch()
    with clock.time("one"):
        pass
    with clock.time("two"):
        time.sleep(0.01)
        running = clock.seconds
    assert list(running) == ["one", "two"]
    assert running["two"] >= 0.01
    assert clock.seconds["one"] == running["one"]
    assert clock.seconds["two"] >= running["two"]


def test_epochs_that_diverged_are_null_in_json():
    assert finite({"loss": [1.0, float("nan"), float("inf")]}) == {"loss": [1.0, None, None]}


def test_the_example_is_the_user_of_the_first_test_row(tiny_release, tiny_log):
    prepared = SimpleNamespace(test=tiny_log.with_log(tiny_log.log[5:]), known=tiny_log)
    outcome = SimpleNamespace(release=tiny_release, splits=prepared)
    example = example_of(outcome)
    mine = tiny_log.log.filter(pl.col("user_id") == example.user_id)
    assert example.user_id == tiny_log.log["user_id"][5]
    assert example.order == "latest"
    assert [row["item_id"] for row in example.history] == mine.sort(
        "timestamp", descending=True, maintain_order=True
    )["item_id"][:10].to_list()
    assert len(example.recommended) == 10

    rated = replace(tiny_log, log=tiny_log.log.with_columns(rating=pl.int_range(pl.len()) % 5 * 1.0))
    prepared.known = rated
    example = example_of(outcome)
    ratings = [row["rating"] for row in example.history]
    assert example.order == "best liked"
    assert ratings == sorted(ratings, reverse=True)


def test_the_unit_of_timestamps_can_be_stated(tmp_path):
    file = tmp_path / "log.csv"
    # 2,000 and 4,000 milliseconds would be read as seconds if nobody said otherwise.
    file.write_text("user_id,item_id,timestamp\na,x,2000\nb,y,4000\n", "utf-8")
    config = configured(f'data.source="{file}"', "data.timestamp_unit=ms").data
    assert load_data(config).log["timestamp"].to_list() == [2.0, 4.0]


@pytest.mark.slow
def test_runs_go_on_from_the_release_before_with_new_events_only(tmp_path):
    data = synthetic(20, 12, 900, seed=3)
    weeks = [data.with_log(data.log.head(n)) for n in (500, 700, 900)]
    root, states = tmp_path / "release", []
    source = {"source": str(tmp_path / "log.csv")}
    settings = ["split.method=leave_last_out", "training.epochs=2", "index.n_trees=2"]
    settings += ["training.refit=false", 'training.patience="none"', "model.layer_sizes=[]"]
    settings += ["schema.query=[{type='categorical', column='user_id', embedding_dim=4}]"]
    settings += ["schema.candidate=[{type='categorical', column='item_id', embedding_dim=4}]"]
    for week, log in enumerate(weeks):
        log.log.write_csv(tmp_path / "log.csv")
        more = ["export.training_state=true"] if week == 0 else [f'training.warm_start="{root}"']
        config = load_config("two_tower_ml100k", [*settings, *more], source)
        progress = RecordedProgress()
        outcome = run(config, root, progress)
        assert outcome.release.version == week + 1
        states.append(WarmStart.of(root))
    learned = [sum(state.file.header["learned"].values()) for state in states]
    # Of each log all but two events of each user, one for validation and one to test.
    assert learned == [len(log) - 2 * log.users.height for log in weeks]
    assert [s.iterations for s in states] == sorted({s.iterations for s in states})
    old, new = (s.file.header["states"][0][0] for s in (states[0], states[-1]))
    assert new[: len(old)] == old
    # A model that has learned nothing is not published over one that has.
    worse = load_config("two_tower_ml100k", [*settings, "training.learning_rate=1e-9"], source)
    with pytest.raises(
        ExportError, match=r"Nothing was published: hit_rate@10 of the new model is 0\."
    ):
        run(worse, root, unless_worse_than=0.0)
    assert read_manifest(root)["version"] == len(weeks)
    # Split by another rule, the test rows are none that the release has not seen.
    with pytest.raises(ConfigError, match=r"split\.method = \"random\"` tests on any"):
        load_config("two_tower_ml100k", [f'training.warm_start="{root}"'])
    config = load_config(
        "two_tower_ml100k",
        [*settings, f'training.warm_start="{root}"', "split.method=by_time", "split.at=1990-01-01"],
        source,
    )
    with pytest.raises((ConfigError, DataError)):
        run(config, root)
