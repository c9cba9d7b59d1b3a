"""Baselines by name: what there is, which are usual, what is refused before anything is fitted."""

import sys

import pytest

import tfrecall.baselines
from tests.baselines.helpers import log_of
from tfrecall.baselines import ease
from tfrecall.baselines.base import HistoryModel
from tfrecall.baselines.registry import check_baselines, fit_baselines, make_baselines, usual_baselines
from tfrecall.core.retriever import Retriever
from tfrecall.errors import ConfigError, DataError
from tfrecall.schema.baselines import BASELINES

LOG = log_of(u="abc", v="bcd")


def test_each_is_called_as_tables_call_it():
    made = make_baselines(list(BASELINES))
    assert [model.name for model in made] == list(BASELINES)
    assert all(isinstance(model, Retriever) for model in made)


def test_every_model_that_answers_from_histories_is_among_them():
    import importlib
    import pkgutil

    for module in pkgutil.iter_modules(tfrecall.baselines.__path__):
        importlib.import_module(f"tfrecall.baselines.{module.name}")
    made = {type(model) for model in make_baselines(list(BASELINES))}
    assert {
        cls for cls in HistoryModel.__subclasses__() if cls.__module__.startswith("tfrecall")
    } <= made


def test_popularity_and_item_cf_are_usual_and_more_where_it_says_something():
    again = log_of(u="aab", v="b")
    assert usual_baselines(LOG) == ("popularity", "item_cf")
    sequential = ("trending", "item_transitions")
    assert usual_baselines(LOG, sequences=True) == ("popularity", "item_cf", *sequential)
    untimed = LOG.with_log(LOG.log.with_columns(timestamp=0.0))
    assert usual_baselines(untimed, sequences=True) == ("popularity", "item_cf", "item_transitions")
    assert usual_baselines(again)[2:] == ("own_most_frequent", "own_most_recent")


def test_they_are_fitted_one_after_the_other():
    fitted = fit_baselines(["ease", "swing"], LOG)
    first = next(fitted)
    assert (first.name, first.scores(LOG.queries).shape) == ("ease", (6, 6))
    assert [model.name for model in fitted] == ["swing"]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (
            ["eas"],
            'no baseline "eas".* Did you mean "ease"?.*Choose from: popularity, item_cf, ease, swing',
        ),
        (["ease", "ease"], "named once"),
    ],
)
def test_unknown_names_and_repeated_ones_are_refused(names, said):
    for ask in (make_baselines, lambda names: check_baselines(names, LOG)):
        with pytest.raises(ConfigError, match=said):
            ask(names)


def test_what_cannot_be_fitted_is_told_without_fitting(monkeypatch):
    monkeypatch.setattr(HistoryModel, "fit", lambda *_: pytest.fail("it was fitted"))
    check_baselines(["ease", "popularity", "own_most_recent"], LOG)
    monkeypatch.setattr(ease, "available_bytes", lambda: 100)
    with pytest.raises(DataError, match="EASE inverts a matrix"):
        check_baselines(["popularity", "ease"], LOG)
    monkeypatch.setitem(sys.modules, "implicit.cpu.als", None)
    with pytest.raises(ConfigError, match=r"pip install 'tfrecall\[als\]'"):
        check_baselines(["als"], LOG)
