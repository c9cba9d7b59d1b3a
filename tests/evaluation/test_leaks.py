"""Rows that a model with histories has been told already are no test."""

import polars as pl
import pytest

from tfrecall.config.run import RunConfig
from tfrecall.errors import DataError
from tfrecall.evaluation import evaluate
from tfrecall.runs.preparation import prepare
from tfrecall.schema.features import Categorical, History, Schema


def test_rows_that_stand_in_the_histories_of_queries_are_refused(history_model, history_log):
    test = history_log.with_log(history_log.log[:5])
    with pytest.raises(DataError, match="5 of 5 rows are in the log that their histories come from"):
        evaluate(history_model, test, seen=history_log, ks=[2], baselines=False)


def test_an_event_logged_twice_is_refused_before_training(tmp_path):
    # The last two events of user a are one, so the test row stands in what the user had before.
    rows = [("a", "x", 1), ("a", "y", 2), ("a", "z", 3), ("a", "z", 3), ("b", "x", 1), ("b", "y", 2)]
    log = tmp_path / "log.csv"
    pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row").write_csv(log)
    item = Categorical("item_id", 2)
    config = RunConfig(
        recipe="twice",
        schema=Schema(query=[History(of=item)], candidate=[item]),
        data={"source": str(log), "repeated_rows": "keep"},
        split={"method": "leave_last_out", "validation_fraction": 0},
        export={"k": 2},
    )
    with pytest.raises(DataError, match=r'keep one \(filters.duplicates = "first"\)'):
        prepare(config)
