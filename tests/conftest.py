"""Fixtures that every room shares."""

import gc
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

# Properties are not timed: the first call loads what later calls find loaded. The fast tests try fewer
# examples, and equal code gives an equal verdict; `TFRECALL_PROPERTIES=thorough` tries more, others each time.
settings.register_profile("fast", deadline=None, max_examples=4, derandomize=True)
settings.register_profile("whole", deadline=None, max_examples=20, derandomize=True)
settings.register_profile("thorough", deadline=None)
# One thread a worker for a graph's operations: threads that wait for small tensors take time, too.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
# Exported models answer in the process of the tests, but where a test asks for `fresh_replay`.
os.environ["TFRECALL_REPLAY"] = "in_process"
ROOT = Path(__file__).parents[1]
# Fixtures that train and export for seconds, of kinds beside those that the fast tests know: a release of
# features, one of histories and one of a ranker. What asks for one of these is slow.
SLOW_FIXTURES = {
    "context_model",
    "context_root",
    "interest_model",
    "interest_root",
    "numbers_root",
    "pipeline_models",
    "pipeline_root",
    "ran",
    "repeating",
    "repeating_root",
}
# Rooms whose examples train or export.
SLOW_EXAMPLES = {ROOT / "tfrecall" / room for room in ("exporting", "models", "training")}
# An id has to be equal in all workers and in all runs: no time, no address, nothing drawn.
LONGEST_ID = 150


def pytest_configure(config: pytest.Config) -> None:
    # No power is cut while tests run. What has to be on disk is tested by who calls it, and this is a tenth of
    # the time of tests that write releases.
    os.fsync = lambda descriptor: None
    # Until all tests are collected: what is imported stays, and looking through it again and again took a fifth
    # of the time.
    gc.disable()
    config.pluginmanager.register(Examples())
    quick = config.option.markexpr == "not slow"
    settings.load_profile(os.environ.get("TFRECALL_PROPERTIES", "fast" if quick else "whole"))


class Examples:
    """Where doctest looks for examples, as a plugin: this file has no say beside the tests."""

    @staticmethod
    def pytest_ignore_collect(collection_path: Path) -> bool | None:
        """Leave modules of the package that have none, more than half: some import libraries for seconds."""
        is_of_package = ROOT / "tfrecall" in collection_path.parents and collection_path.suffix == ".py"
        return True if is_of_package and ">>> " not in collection_path.read_text("utf-8") else None


def pytest_make_parametrize_id(val: object, argname: str) -> None:
    """Refuse values whose own text is an id that nobody can type, or that differs between workers."""
    if isinstance(val, bytes) or (isinstance(val, str) and len(val) > LONGEST_ID):
        raise pytest.Collector.CollectError(
            f"The parameter `{argname}` gets {len(val):,} {type(val).__name__} as its id, which workers may "
            "collect differently (compressed bytes hold the time) and nobody can type. Give it one: "
            '`ids=[...]`, or `pytest.param(..., id="...")`.'
        )


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        trains = isinstance(item, pytest.DoctestItem) and SLOW_EXAMPLES & set(item.path.parents)
        asked = {*getattr(item, "fixturenames", ())}
        if hasattr(item, "callspec"):  # cases name the fixture that they ask for while they run
            asked |= {value for value in item.callspec.params.values() if isinstance(value, str)}
        if trains or SLOW_FIXTURES & asked:
            item.add_marker(pytest.mark.slow)
    named = config.option.keyword or any("::" in argument for argument in config.args)
    if config.option.markexpr == "not slow" and not named:
        _leave_first_and_last_cases(config, items)


def _leave_first_and_last_cases(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave two cases of each test: the fast tests answer soon, and CI runs all."""
    cases: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("slow") is None:
            cases.setdefault(item.nodeid.partition("[")[0], []).append(item)
    left_out = {id(item) for tests in cases.values() for item in tests[1:-1]}
    config.hook.pytest_deselected(items=[item for item in items if id(item) in left_out])
    items[:] = [item for item in items if id(item) not in left_out]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Each test and its fixtures draw the same weights, in any order and on any worker."""
    # By hand, because keras.utils.set_random_seed would import TensorFlow for tests that do without.
    random.seed(0)
    np.random.seed(0)
    if "tensorflow" in sys.modules:
        sys.modules["tensorflow"].random.set_seed(0)
    # What `keras.utils.set_random_seed`, and so `fit`, left to the tests that follow: initial weights come from
    # there first.
    if backend := sys.modules.get("tf_keras.src.backend"):
        backend._SEED_GENERATOR.generator = None


def pytest_collection_finish() -> None:
    """Run graphs as they are traced: most run once or twice, and optimizing one takes longer than that.

    Processes that tests start optimize theirs, as users' do. The garbage collector looks no more at the
    million objects that TensorFlow and the collected tests consist of, and more rarely at those of a test: a
    graph makes many that stay.
    """
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    gc.enable()
    if tensorflow := sys.modules.get("tensorflow"):
        tensorflow.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


@pytest.fixture
def fresh_replay(monkeypatch) -> None:
    """Exported models are compared with the live one in a fresh process, as users have it."""
    monkeypatch.delenv("TFRECALL_REPLAY")


@pytest.fixture
def eager_steps() -> Iterator[None]:
    """Steps of training and of validation are run as they are, and no graph is traced."""
    from tests.eager import eager_steps

    with eager_steps():
        yield


@pytest.fixture(scope="session")
def movielens_folder() -> Path:
    """The folder that holds `ml-100k` and `ml-1m` as GroupLens ships them."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("TFRECALL_MOVIELENS", beside))
    if not (folder / "ml-100k" / "u.data").exists():
        pytest.skip("MovieLens is not here; set TFRECALL_MOVIELENS to a folder with ml-100k/.")
    return folder


@pytest.fixture(scope="session")
def release_copy(tmp_path_factory):
    """Gives a copy of a release that all workers share; it is built where there is none yet."""
    from tests.built_once import release_once

    folder = tmp_path_factory.mktemp("releases")
    return lambda name, write: release_once(name, folder / name, write)


@pytest.fixture(scope="session")
def tiny_log():
    """A log with a feature of every kind, and a user who is in the user table only."""
    from tests.tiny import tiny_interactions

    return tiny_interactions()


@pytest.fixture(scope="session")
def tiny_model(tiny_log):
    """A two-tower model fitted to `tiny_log` for two epochs."""
    from tests.tiny import tiny_two_tower

    return tiny_two_tower(tiny_log)


@pytest.fixture(scope="session")
def tiny_root(request, release_copy) -> Path:
    """A release of `tiny_model`, not to be changed: copy it."""
    from tests.tiny import ANNOY
    from tfrecall.exporting.export import export

    def write(root):
        export(request.getfixturevalue("tiny_model"), root, index=ANNOY, k=5)

    return release_copy("tiny", write)


@pytest.fixture(scope="session")
def tiny_release(tiny_root):
    from tfrecall.release import load

    return load(tiny_root)


@pytest.fixture(scope="session")
def history_log():
    """A log with ratings, whose users keep to the items of their group."""
    from tests.tiny_histories import history_interactions

    return history_interactions()


@pytest.fixture(scope="session")
def history_model(history_log):
    """A model whose queries have two histories, fitted to `history_log`."""
    from tests.tiny_histories import history_two_tower

    return history_two_tower(history_log)


@pytest.fixture(scope="session")
def history_root(request, release_copy) -> Path:
    """A release of `history_model`, not to be changed: copy it."""
    from tests.tiny import ANNOY
    from tfrecall.exporting.export import export

    def write(root):
        export(request.getfixturevalue("history_model"), root, index=ANNOY, k=5)

    return release_copy("histories", write)


@pytest.fixture(scope="session")
def history_release(history_root):
    from tfrecall.release import load

    return load(history_root)


@pytest.fixture(scope="session")
def repeating_root(request, release_copy) -> Path:
    """A release of `history_model` with repeats of fixed numbers, not to be changed: copy it."""
    from tests.tiny_repeats import export_repeating

    def write(root):
        export_repeating(request.getfixturevalue("history_model"), root, index=None)

    return release_copy("histories_repeating", write)


@pytest.fixture(scope="session")
def context_model(history_log):
    """A model that knows more of the events of its histories, fitted to `history_log`."""
    from tests.tiny_histories import CONTEXT_SCHEMA, history_two_tower

    return history_two_tower(history_log, CONTEXT_SCHEMA, epochs=3)


@pytest.fixture(scope="session")
def context_root(request, release_copy) -> Path:
    """A release of `context_model`, not to be changed: copy it."""
    from tests.tiny import ANNOY
    from tfrecall.exporting.export import export

    def write(root):
        export(request.getfixturevalue("context_model"), root, index=ANNOY, k=5)

    return release_copy("context", write)


@pytest.fixture(scope="session")
def context_release(context_root):
    from tfrecall.release import load

    return load(context_root)


@pytest.fixture(scope="session")
def interest_model(history_log):
    """A model whose queries have three vectors, fitted to `history_log`."""
    from tests.tiny_interests import interest_two_tower

    return interest_two_tower(history_log)


@pytest.fixture(scope="session")
def interest_root(request, release_copy) -> Path:
    """A release of `interest_model`, not to be changed: copy it."""
    from tests.tiny import ANNOY
    from tfrecall.exporting.export import export

    def write(root):
        export(request.getfixturevalue("interest_model"), root, index=ANNOY, k=5)

    return release_copy("interests", write)


@pytest.fixture(scope="session")
def interest_release(interest_root):
    from tfrecall.release import load

    return load(interest_root)


@pytest.fixture(scope="session")
def rating_log():
    """A log whose ratings follow from user and item."""
    from tests.tiny_ratings import rating_interactions

    return rating_interactions()


@pytest.fixture(scope="session")
def rating_model(rating_log):
    """A ranker fitted to `rating_log`."""
    from tests.built_once import fit_once
    from tests.tiny_ratings import FIT, untrained_ranker

    model = untrained_ranker()
    fit_once(model, rating_log, epochs=3, **FIT)
    return model


@pytest.fixture(scope="session")
def rating_root(request, release_copy) -> Path:
    """A release of `rating_model`, not to be changed: copy it."""
    from tfrecall.exporting.ranker import export_ranker

    def write(root):
        export_ranker(request.getfixturevalue("rating_model"), root)

    return release_copy("ratings", write)


@pytest.fixture(scope="session")
def rating_release(rating_root):
    from tfrecall.release import load

    return load(rating_root)


@pytest.fixture(scope="session")
def pipeline_models(rating_log, rating_model):
    """A retriever and a ranker of `rating_log`."""
    from tests.tiny_pipeline import retriever

    return retriever(rating_log), rating_model


@pytest.fixture(scope="session")
def live_pipeline(pipeline_models):
    """Both, answering together."""
    from tests.tiny_pipeline import N_CANDIDATES
    from tfrecall.exporting.pipeline import Pipeline

    return Pipeline(*pipeline_models, n_candidates=N_CANDIDATES)


@pytest.fixture(scope="session")
def pipeline_root(request, release_copy) -> Path:
    """A release of `live_pipeline`, not to be changed: copy it."""
    from tests.tiny import ANNOY
    from tfrecall.exporting.pipeline import export_pipeline

    def write(root):
        export_pipeline(request.getfixturevalue("live_pipeline"), root, k=5, index=ANNOY)

    return release_copy("pipeline", write)


@pytest.fixture(scope="session")
def pipeline_release(pipeline_root):
    from tfrecall.release import load

    return load(pipeline_root)


@pytest.fixture(scope="session")
def numbers_root(request, release_copy) -> Path:
    """A release of a pipeline with numbers in both stages, not to be changed: copy it."""
    from tests.tiny_numbers import export_numbers

    def write(root):
        model, log = (request.getfixturevalue(name) for name in ("tiny_model", "tiny_log"))
        export_numbers(model, log, root)

    return release_copy("numbers", write)
