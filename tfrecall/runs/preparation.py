"""Data of a run: read, filtered, checked against the schema, split."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from tfrecall.config.data import DataConfig, SplitConfig
from tfrecall.config.run import RunConfig
from tfrecall.core.columns import TIMESTAMP, USER
from tfrecall.core.progress import LogProgress, ProgressReporter
from tfrecall.data.datasets.movielens import movielens
from tfrecall.data.filters import filter_log
from tfrecall.data.inspection.raw_tables import ReadTables
from tfrecall.data.interactions import Interactions
from tfrecall.data.sequences import check_apart
from tfrecall.data.splits import (
    split_by_user,
    split_folds,
    split_leave_last_out,
    split_new_items,
    split_random,
)
from tfrecall.data.tables import read, read_again
from tfrecall.data.time_splits import latest_from, split_by_time
from tfrecall.errors import ConfigError, DataError

MOVIELENS = {"movielens-100k": "100k", "movielens-1m": "1m"}


@dataclass(frozen=True)
class DataSplits:
    """A log split into training, validation and test rows.

    Attributes:
        train: rows of the first fit, which validation rows stop.
        before_validation: histories before the validation rows: `train`; if the log is split by users,
            also the earlier rows of the validation users, which are not trained on.
        validation: rows that stop the first fit; None without them.
        trainable: rows of the second fit (`training.refit`): training and validation rows; if the log is
            split by users, all rows of the training users.
        known: histories before the test rows: `trainable`; if the log is split by users, also the earlier
            rows of the test users, which are never trained on.
        test: rows to evaluate on, once.
        history: the log with all events, where each test row is asked with those before it; None where
            histories are those of `known`.
    """

    train: Interactions
    before_validation: Interactions
    validation: Interactions | None
    trainable: Interactions
    known: Interactions
    test: Interactions
    history: Interactions | None = None

    @property
    def learned(self) -> Interactions:
        """Rows that baselines learn from: what is known, unless that holds events after the split."""
        return self.known if self.history is None else self.trainable


def load_data(
    config: DataConfig,
    progress: ProgressReporter | None = None,
    found: ReadTables | Interactions | None = None,
) -> Interactions:
    """Read or fetch the log of a configuration.

    Args:
        config: where it is, and how it is read.
        progress: receives the count of a download.
        found: the tables, if they were read already.
    """
    if config.source in MOVIELENS:
        return movielens(MOVIELENS[config.source], config.folder, progress=progress)
    if found is not None:
        return read_again(found, config.source, **reading(config))
    return read(config.source, **reading(config))


def reading(config: DataConfig) -> dict[str, Any]:
    """Arguments of `tr.data.read`, and of `tr.data.prepare`, beside the path of the log."""
    return {
        "users": config.users,
        "items": config.items,
        "user_id": config.user_column,
        "item_id": config.item_column,
        "timestamp": config.timestamp_column,
        "rating": config.rating_column,
        "weight": config.weight_column,
        "missing_items": config.missing_items,
        "unit": config.timestamp_unit,
        "timestamp_format": config.timestamp_format,
        "separator": config.separator,
        "ignore_columns": config.ignore_columns,
        "list_separators": config.list_separators,
        "null_values": config.null_values,
        "repeated_rows": config.repeated_rows,
        "id_spelling": config.id_spelling,
    }


def prepare(
    config: RunConfig,
    progress: ProgressReporter | None = None,
    found: ReadTables | Interactions | None = None,
) -> DataSplits:
    """Read the data, filter them, check that they have the columns of the schema, and split them.

    Args:
        config: the configuration of the run.
        progress: receives notes.
        found: the tables, if they were read already.
    """
    progress = progress or LogProgress()
    data = _checked_data(config, progress, found)
    splits = split(config, data)
    if config.schema.histories:
        check_apart(splits.test, splits.known)
    # Notes are inherited: the first ones are those of the data, which were reported already.
    for text in splits.test.notes[len(data.notes) :]:
        progress.note(text)
    return splits


def prepare_folds(
    config: RunConfig, folds: int = 5, progress: ProgressReporter | None = None
) -> list[DataSplits]:
    """Read, filter, check and split the data `folds` times: each row is a test row of exactly one fold.

    Of the other rows of a fold, `split.validation_fraction` are drawn for validation.

    Raises:
        ConfigError: if the configuration does not split at random, or there are too few rows.
    """
    how = config.split
    if how.method != "random":
        raise ConfigError(
            f'Folds are random parts of the rows, but "{config.recipe}" has `split.method = "{how.method}"`, '
            "which they would break. Use a recipe that splits at random, or `run` this one."
        )
    data = _checked_data(config, progress or LogProgress())
    parts = [_split_random(how, *fold) for fold in split_folds(data, folds, how.seed)]
    if config.schema.histories:
        for splits in parts:
            check_apart(splits.test, splits.known)
    return parts


def _checked_data(
    config: RunConfig,
    progress: ProgressReporter,
    found: ReadTables | Interactions | None = None,
) -> Interactions:
    data = filter_log(load_data(config.data, progress, found), **vars(config.filters))
    for text in data.notes:
        progress.note(text)
    config.schema.check_query([*data.log.columns, *data.users.columns])
    config.schema.check_candidate(data.items.columns)
    return data


def split(config: RunConfig, data: Interactions) -> DataSplits:
    """Split test and validation rows off by the method of the configuration."""
    how, fraction = config.split, config.split.validation_fraction
    if how.method == "by_user":
        return _split_by_user(how, data)
    if how.method == "leave_last_out":
        if not fraction:
            known, test = split_leave_last_out(data, False, how.baskets)
            return _all_trainable(known, None, known, test)
        train, validation, test = split_leave_last_out(data, True, how.baskets)
        # `known` is `train` plus validation events: the same test rows, with all events before them.
        known, _ = split_leave_last_out(data, False, how.baskets)
        return _all_trainable(train, validation, known, test)
    if how.method == "random":
        return _split_random(how, *split_random(data, how.test_fraction, how.seed))
    if how.method == "new_items":
        known, test = split_new_items(data, how.test_fraction, how.seed)
        if not fraction:
            return _all_trainable(known, None, known, test)
        train, validation = split_new_items(known, fraction, how.seed)
        return _all_trainable(train, validation, known, test)
    return _split_by_time(how, data)


def check_answerable(config: RunConfig, release: str) -> None:
    """Refuse test rows whose histories a release does not have.

    Args:
        config: the configuration of the run.
        release: name of its release, for the message.

    Raises:
        ConfigError: if the rows are asked one after another: histories then grow within the test, and a release
            has those at the split.
    """
    if config.split.test_events == "all":
        return
    # A release of a baseline has the histories of the rows that it learned from, those before the split.
    grown = config.counts or config.split.test_events == "successive"
    if grown and (config.counts or config.schema.histories or config.model.repeats):
        raise ConfigError(
            f"{release} has the histories at the split, but its run asked with growing ones: other figures. "
            f'Received: `split.test_events` is "{config.split.test_events}". The figures of the run are in its '
            '`metrics.json`; releases of networks can be evaluated after a run with split.test_events = "last".'
        )


def _split_by_time(how: SplitConfig, data: Interactions) -> DataSplits:
    settings: dict[str, Any] = {"known_users": how.known_users, "known_items": how.known_items}
    moment = {"test_fraction": how.test_fraction} if how.at is None else {"at": how.at}
    trainable, test = split_by_time(data, **moment, **settings, test_events=how.test_events)
    successive, grows = how.test_events == "successive", how.test_events != "all"
    # What is known of successive rows is what was known at the split; later histories come from `history`.
    known = _before_last_of(data, test) if grows and not successive else trainable
    history = data if grows else None
    if not how.validation_fraction:
        return DataSplits(trainable, trainable, None, trainable, known, test, history)
    at = latest_from(trainable.log[TIMESTAMP].to_numpy(), how.validation_fraction)
    # Successive validation would embed the catalogue of each epoch for many more rows: the last event will do.
    try:
        train, validation = split_by_time(
            trainable, at, **settings, test_events="last" if grows else "all"
        )
    except DataError as error:
        raise DataError(
            "There are no validation rows: they are those of the latest "
            f"{how.validation_fraction:g} of the rows before the test (split.validation_fraction). {error}"
        ) from error
    before = _before_last_of(trainable, validation) if grows else train
    return DataSplits(train, before, validation, trainable, known, test, history)


def _before_last_of(data: Interactions, rows: Interactions) -> Interactions:
    """The log without the last events of the users of some rows."""
    left = np.ones(len(data), dtype=bool)
    ends = data.histories.offsets[1:][data.user_vocabulary.rows(rows.log[USER])]
    left[data.histories.order[ends - 1]] = False
    return data.with_log(data.log.filter(pl.Series(left)))


def _split_random(how: SplitConfig, known: Interactions, test: Interactions) -> DataSplits:
    if not how.validation_fraction:
        return _all_trainable(known, None, known, test)
    train, validation = split_random(known, how.validation_fraction, how.seed)
    return _all_trainable(train, validation, known, test)


def _all_trainable(
    train: Interactions, validation: Interactions | None, known: Interactions, test: Interactions
) -> DataSplits:
    """Splits in which every known row may be trained on."""
    return DataSplits(train, train, validation, known, known, test)


def _split_by_user(how: SplitConfig, data: Interactions) -> DataSplits:
    train_users, least = how.train_users or 0, how.target_min_rating
    trainable, known, test = split_by_user(data, train_users, least)
    held = math.ceil(how.validation_fraction * train_users)
    if not held:
        return DataSplits(trainable, trainable, None, trainable, known, test)
    # `trainable` holds no test users, so its users beyond the first `train_users - held` are exactly the
    # validation users.
    train, before, validation = split_by_user(trainable, train_users - held, least)
    return DataSplits(train, before, validation, trainable, known, test)
