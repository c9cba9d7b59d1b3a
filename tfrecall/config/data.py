"""Configuration of the data: source, filters, split."""

import datetime
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PositiveInt
from pydantic.dataclasses import dataclass

from tfrecall.data.formats.text_types import NULL_VALUES
from tfrecall.schema.specs import STRICT, Finite, Fraction, Rate, Seed

_TableColumn = Annotated[str, Field(pattern=r"^(log|users|items)\..")]


def _moment(value: Any) -> Any:
    """Convert TOML's own dates and numbers to text, the form that the configuration keeps."""
    # TOML's date-times are `datetime`, a subclass of `date`. `type() in`, as a bool is an int too and must
    # stay one, to be refused.
    if isinstance(value, datetime.date):
        return value.isoformat()
    return str(value) if type(value) in (int, float) else value


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DataConfig:
    """Source of the log and names of its columns.

    Attributes:
        source: `movielens-100k` or `movielens-1m` (fetched if they are not there), or the path of a
            log: CSV, Parquet, JSON.
        folder: with MovieLens, a folder in GroupLens' format to read instead of fetching.
        users: path of the user table.
        items: path of the item table.
        user_column: name of the user column, in the log and in the user table.
        item_column: name of the item column, in the log and in the item table.
        timestamp_column: name of the column of times; `""` for a log without times, whose order counts.
        rating_column: name of the column of ratings; None for `rating`, if there is one.
        weight_column: name of the column of sample weights; None for `weight`, if there is one.
        timestamp_unit: unit of numeric timestamps since 1970 (`d` are days); None recognises it by
            magnitude, and dates in digits, years and days of a spreadsheet.
        timestamp_format: format of times as text or digits, as for Python's `strptime`; None recognises ISO
            8601 and the forms of spreadsheets, web servers and mail.
        separator: mark between the columns of text files that have it in their first line; None recognises
            commas, semicolons, tabs and bars in each file.
        missing_items: treatment of rows whose item the item table lacks: `refuse`, `add` the items without
            features, or `drop` the rows.
        ignore_columns: columns that are not read, each with its table: `log.price`, `items.photo`.
        list_separators: columns of text that hold lists, and the mark between the values:
            `{ genres = "|" }`.
        null_values: words that stand for no id, whatever their case: rows with such an id, or none, are dropped
            and counted, and blanks around ids removed. In other columns they are missing values. `[]` keeps
            ids as written and refuses blank ones.
        repeated_rows: of several rows that are equal in every column, time included, `drop` keeps one (an
            event that was logged twice), `keep` all.
        id_spelling: `numbers` makes 42 of 00042 and 42.0, in every table; `as_written` does not.
    """

    source: str = "movielens-100k"
    folder: str | None = None
    users: str | None = None
    items: str | None = None
    user_column: str = "user_id"
    item_column: str = "item_id"
    timestamp_column: str = "timestamp"
    rating_column: str | None = None
    weight_column: str | None = None
    timestamp_unit: Literal["s", "ms", "us", "ns", "d"] | None = None
    timestamp_format: Annotated[str, Field(min_length=1)] | None = None
    separator: Annotated[str, Field(min_length=1)] | None = None
    missing_items: Literal["refuse", "add", "drop"] = "refuse"
    ignore_columns: tuple[_TableColumn, ...] = ()
    list_separators: dict[str, Annotated[str, Field(min_length=1)]] = Field(default_factory=dict)
    null_values: tuple[str, ...] = NULL_VALUES
    repeated_rows: Literal["drop", "keep"] = "drop"
    id_spelling: Literal["as_written", "numbers"] = "as_written"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class FilterConfig:
    """Filters of events before the split, as `tr.data.filter_log` applies them.

    Attributes:
        min_rating: events rated lower, or not rated, are removed; None keeps all.
        duplicates: of several events of one user with one item keep `all`, the `first` or the `last`.
        max_user_interactions: users with more events (programs, tills, shared accounts) are left out with
            all their events; None leaves none out.
        min_user_interactions, min_item_interactions: users, items with fewer events are removed,
            repeatedly until all have enough.
    """

    min_rating: Finite = None
    duplicates: Literal["all", "first", "last"] = "all"
    max_user_interactions: PositiveInt | None = None
    min_user_interactions: PositiveInt = 1
    min_item_interactions: PositiveInt = 1


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SplitConfig:
    """Split of the log into training, validation and test rows.

    Attributes:
        method: `random`, `leave_last_out` (each user's last event tests), `by_time`, `by_user` (some
            users train, one event of each other user tests), or `new_items` (all events of some items test,
            which training then knows by their features alone).
        baskets: with `leave_last_out`, events of a user at one time stay together: the test is each user's last
            basket, validation the one before. (`by_time` divides no basket either.)
        test_fraction: with `random`, share of test rows; with `by_time` and without `at`, share of the latest
            events, with which the test begins; with `new_items`, share of the items that test.
        test_events: with `by_time`, events from that moment on that test: `all`, asked with the histories at
            the split; each user's `last` one; or all `successive`, one after another. The last two are
            asked with all events before them, from a user's second event on, while what is learned stays
            that of the training rows; tables of `successive` also have each user's last event alone.
        seed: with `random` and `new_items`, seed of the split.
        at: with `by_time`, first moment of the test rows: an ISO date or date-time, or seconds since 1970;
            None for the moment that `test_fraction` gives.
        known_users, known_items: with `by_time`, keep only test rows of users, items with training rows.
        train_users: with `by_user`, number of training users, the first of the user table. The last event
            of each other user is a test row; the events before it are the user's history.
        target_min_rating: with `by_user`, least rating of a test row; later events are left out.
        validation_fraction: share of the training rows held out for validation: with `random` drawn at
            random, with `by_time` the latest (of them each user's last, unless `test_events` is `all`),
            with `leave_last_out` each user's second-last event whatever the share, with `new_items` all events
            of such a share of the other items, with `by_user` one row of each of the last training users,
            without whom the first fit then trains. 0 holds out nothing.
    """

    method: Literal["random", "leave_last_out", "by_time", "by_user", "new_items"] = "random"
    baskets: bool = False
    test_fraction: Fraction = 0.2
    test_events: Literal["all", "last", "successive"] = "all"
    seed: Seed = 42
    at: Annotated[str | None, BeforeValidator(_moment)] = None
    known_users: bool = False
    known_items: bool = False
    train_users: PositiveInt | None = None
    target_min_rating: Finite = None
    validation_fraction: Rate = 0.1

    def __post_init__(self) -> None:
        if self.baskets and self.method != "leave_last_out":
            raise ValueError(
                '`split.baskets` keeps the last baskets whole: set `split.method = "leave_last_out"`. '
                f'Received: "{self.method}"'
            )
        if self.test_events != "all" and self.method != "by_time":
            raise ValueError(
                f'`split.test_events = "{self.test_events}"` needs `split.method = "by_time"`. '
                f'Received: "{self.method}"'
            )
        if self.method == "by_user" and self.train_users is None:
            raise ValueError(
                '`split.method = "by_user"` needs `split.train_users`, how many to train on'
            )
