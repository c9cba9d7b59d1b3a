"""Roles of a log's columns (user, item, time, rating, weight), given or guessed."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import polars as pl

from tfrecall.core.arguments import argument
from tfrecall.core.dates import PLAUSIBLE_SECONDS
from tfrecall.data.assembly import FILE_ORDER, Columns
from tfrecall.data.dates import AmbiguousDatesError
from tfrecall.data.frames import find_name, require_roles
from tfrecall.data.time_doubts import CALENDAR, DIGITS
from tfrecall.data.timestamps import to_seconds
from tfrecall.errors import DataError, MissingColumnError

# Common names of each role, in the singular, with or without an id word behind.
NOUNS = {
    "user_id": "user customer client member visitor household account shopper buyer reviewer reader "
    "player listener viewer subscriber person profile consumer guest learner student patron "
    "kunde kunden benutzer nutzer leser cliente usuario utilisateur klant gebruiker utente",
    "item_id": "item product sku asin movie film article book isbn song track video game app stock good "
    "material upc ean gtin listing offer news course artist restaurant business venue hotel recipe "
    "podcast show episode anime content merchandise artikel produkt producto produit articulo "
    "prodotto articolo",
    "timestamp": "timestamp time date datetime ts moment day when datum zeit zeitpunkt fecha",
    "rating": "rating rate stars star score overall grade bewertung note",
}
ID_WORDS = {"id", "ids", "key", "no", "nr", "num", "number", "code", "hash", "uuid", "idx", "index"}
ID_WORDS |= {"card", "nummer", "numero", "codigo"}
# Words that stand behind a noun without a mark between: customerid, stockcode, kundennummer.
JOINED = ("id", "key", "code", "nummer", "nr", "time", "date")
# Times are also named after an event: created_at, order_date, event_time, t_dat.
TIME_ENDS = {"at", "on", "time", "date", "datetime", "timestamp", "ts", "dat"}
RATING_STARTS = {"review", "star", *NOUNS["user_id"].split(), *NOUNS["item_id"].split()}

# A column with fewer values than this share of another's groups users or items: the branch of a library.
LEAST_SHARE = 0.05
# Values sampled to tell times from other columns.
SAMPLE_ROWS = 1_000
_DAY, _CLOCK = (
    r"^\s*\d+([-/.])\d+[-/.]\d+\s*$",
    r"^\s*\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?\s*([AaPp][Mm])?\s*$",
)
WORDS = {"user_id": "user", "item_id": "item", "timestamp": "time", "rating": "rating"}


@dataclass(frozen=True)
class ColumnRoles:
    """Columns of a log by role.

    Attributes:
        columns: names of the columns.
        messages: a sentence for each role that was guessed.
    """

    columns: Columns
    messages: tuple[str, ...] = ()


def find_columns(
    log: pl.DataFrame,
    given: Mapping[str, str | None] | None = None,
    users: pl.DataFrame | None = None,
    items: pl.DataFrame | None = None,
) -> ColumnRoles:
    """Finds the columns of a log by role: given names first, then default names, then guesses.

    A guess goes by the name ("household_key", "StockCode", "created_at"), by the tables that share the
    column, and by the content if a single column fits. Without any column of times the order of the file
    counts (`FILE_ORDER`). If several columns could be the rating, none is.

    Args:
        log: the log as read.
        given: known names by role: `user_id`, `item_id`, `timestamp`, `rating`, `weight`; None to guess.
        users: the user table, if there is one.
        items: the item table, if there is one.

    Raises:
        MissingColumnError: if a given column is missing, or nothing looks like a user or an item.
        DataError: if several columns could be the user, the item or the time.

    >>> log = pl.DataFrame({"shopper": ["a", "a"], "sku": ["x", "y"], "ts": ["2024-05-31", "2024-06-01"]})
    >>> find_columns(log).columns[:3]
    ('shopper', 'sku', 'ts')
    """
    search = _Search(log, {"user_id": users, "item_id": items})
    search.take_given({key: name for key, name in (given or {}).items() if name is not None})
    for key in ("user_id", "item_id", "timestamp", "rating", "weight"):
        if key not in search.roles and key in log.columns:
            search.roles[key] = key
    for key in ("user_id", "item_id", "timestamp", "rating"):
        if key not in search.roles:
            search.guess(key)
    search.refuse_missing()
    search.note_clock()
    return ColumnRoles(Columns(**search.roles), tuple(search.messages))


def words_of(name: str) -> list[str]:
    """The words of a column's name, in lower case.

    >>> words_of("InvoiceDate"), words_of("household_key"), words_of("Kundennummer")
    (['invoice', 'date'], ['household', 'key'], ['kunden', 'nummer'])
    """
    # Inner first: "ISBNCode" becomes "ISBN Code"; then "stockCode" becomes "stock Code".
    parts = re.sub("([a-z0-9])([A-Z])", r"\1 \2", re.sub("([A-Z]+)([A-Z][a-z])", r"\1 \2", name))
    words = [word for word in re.split(r"[\W_]+", parts.lower()) if word]
    if len(words) == 1:
        for ending in JOINED:
            start = words[0].removesuffix(ending)
            if start != words[0] and any(start in nouns.split() for nouns in NOUNS.values()):
                return [start, ending]
    return words


class _Search:
    """Roles assigned so far, with a message for each guess."""

    def __init__(self, log: pl.DataFrame, tables: dict[str, pl.DataFrame | None]) -> None:
        self.log = log
        self.tables = tables
        self.roles: dict[str, str] = {}
        self.messages: list[str] = []
        self.missing: list[str] = []

    def take_given(self, given: dict[str, str]) -> None:
        """Takes the roles that somebody named; all missing columns are refused at once."""
        roles = {key: find_name(self.log.columns, name) for key, name in given.items()}
        named = {key: name for key, name in roles.items() if name or key != "timestamp"}
        require_roles(self.log.columns, named, "log")
        self.roles |= roles

    def guess(self, key: str) -> None:
        free = [name for name in self.log.columns if name not in self.roles.values()]
        named = [name for name in free if _is_named(name, key)]
        chosen, why = self._narrowed(named, key), "by its name"
        if not chosen and key != "rating":
            chosen, why = self._by_content(free, key)
        if len(chosen) == 1:
            self.roles[key] = chosen[0]
            self.messages.append(
                f'The {WORDS[key]} is taken from the column "{chosen[0]}", {why}; {argument(key)} '
                "names another."
            )
        elif key == "rating":
            if chosen:
                listed = _listed(chosen)
                self.messages.append(
                    f"No rating is read: {listed} could be it; {argument(key)} names it."
                )
        elif chosen:
            raise DataError(
                f"Several columns of the log could be the {WORDS[key]}: {_listed(chosen)}. "
                f"Name the one that is: {argument(key)}."
            )
        elif key == "timestamp":
            self.roles[key] = FILE_ORDER
            self.messages.append(
                "No column of the log looks like times: the order of the file is taken for the order of "
                f"the events; {argument(key)} names one."
            )
        else:
            self.missing.append(key)

    def refuse_missing(self) -> None:
        """Refuses a log in which nothing looks like the user, the item or both; one message names them.

        Raises:
            MissingColumnError: if one is missing.
        """
        if not self.missing:
            return
        values = any(_is_value(name) for name in self.log.columns)
        hint = " These look like values: the first line of a file has the names." if values else ""
        single = f" If all are in one, {argument('separator')} names the mark between columns."
        hint += single if self.log.width == 1 else ""
        roles = " or ".join(f"the {WORDS[key]}" for key in self.missing)
        settings = " and ".join(argument(key) for key in self.missing)
        raise MissingColumnError(
            f"No column of the log looks like {roles}. Its columns: "
            f"{', '.join(self.log.columns) or 'none'}.{hint} Name {settings}."
        )

    def note_clock(self) -> None:
        """Notes a column of hours beside one of days: within a day the order of the file counts."""
        day = self.roles["timestamp"]
        if day == FILE_ORDER or not _are(self.log[day], _DAY):
            return
        free = [name for name in self.log.columns if name not in self.roles.values()]
        for clock in [name for name in free if _are(self.log[name], _CLOCK)][:1]:
            self.messages.append(
                f'The column "{clock}" holds hours, which are not read: within a day the order of the file '
                f'counts. Join it to "{day}" in one column, such as 2024-05-31 12:30:00, to order events by it.'
            )

    def _narrowed(self, named: list[str], key: str) -> list[str]:
        """Narrows several candidates by content, by the table that shares them, then by name."""
        table = self.tables.get(key)
        tests: list[Callable[[str], bool]] = [lambda name: self._fits(name, key)]
        if table is not None:
            tests.append(lambda name: name in table.columns)
        # customer_id rather than customer, which may be a name; timestamp rather than date.
        tests.append(lambda name: bool(ID_WORDS & set(words_of(name))))
        tests.append(lambda name: words_of(name)[0] in NOUNS[key].split())
        tests.append(lambda name: words_of(name) == ["timestamp"])
        for test in tests:
            if len(named) > 1:
                named = [name for name in named if test(name)] or named
        return named

    def _fits(self, name: str, key: str) -> bool:
        column = self.log[name]
        if key == "timestamp":
            return looks_like_time(column, by_itself=False)
        if key == "rating":
            return column.dtype.is_numeric() and not column.null_count()
        return _can_be_id(column)

    def _by_content(self, free: list[str], key: str) -> tuple[list[str], str]:
        if key == "timestamp":
            whole = [name for name in free if not self.log[name].null_count()]
            times = [name for name in whole if looks_like_time(self.log[name], by_itself=True)]
            return times, "by its content"
        table = self.tables.get(key)
        if table is not None:
            keys = [n for n in free if n in table.columns and table[n].n_unique() == table.height]
            return keys, f"which is the key of the {WORDS[key]} table"
        other = "item_id" if key == "user_id" else "user_id"
        if other not in self.roles and not any(_is_named(name, other) for name in free):
            return [], ""  # nothing tells two unnamed id columns apart
        ids = [name for name in free if self._can_only_be_id(name, other)]
        named = [name for name in ids if ID_WORDS & set(words_of(name))]
        return self._most_different(named or ids), "the only other column of ids"

    def _most_different(self, names: list[str]) -> list[str]:
        """Names without the columns that have few values beside another's: those are of groups."""
        values = {name: self.log[name].n_unique() for name in names}
        return [name for name in names if values[name] >= LEAST_SHARE * max(values.values())]

    def _can_only_be_id(self, name: str, other: str) -> bool:
        column = self.log[name]
        taken = _is_named(name, other) or any(_is_named(name, key) for key in ("timestamp", "rating"))
        return (
            not taken
            and not self._describes(name, other)
            and _can_be_id(column)
            and not looks_like_time(column, by_itself=True)
            and 1 < column.n_unique() < len(column)
        )

    @staticmethod
    def _describes(name: str, role: str) -> bool:
        """Whether a name is that of a property of a role, as "user_age" is."""
        words = words_of(name)
        return len(words) > 1 and words[0] in NOUNS[role].split() and not ID_WORDS & set(words)


def looks_like_time(column: pl.Series, *, by_itself: bool) -> bool:
    """Whether a sample of a column can be read as times.

    Args:
        by_itself: whether numbers must lie in `PLAUSIBLE_SECONDS`, for columns whose name is no hint.
    """
    sample = column.drop_nulls().head(SAMPLE_ROWS)
    if not len(sample) or sample.dtype == pl.Boolean or sample.dtype.is_nested():
        return False
    try:
        seconds, kind = to_seconds(sample)
    except (
        AmbiguousDatesError
    ):  # of the whole column, one row may tell; if none does, reading it says so
        return True
    except DataError:
        return False
    if not by_itself or kind in DIGITS:
        return True
    # A year, or a number that could be a day of a spreadsheet, is many other things, too.
    if kind in CALENDAR:
        return False
    return "since 1970" not in kind or bool(seconds.is_between(*PLAUSIBLE_SECONDS).all())


def _are(column: pl.Series, form: str) -> bool:
    """Whether a column is text of one form; dates of other files are texts of days, too."""
    texts = column.cast(pl.String) if column.dtype in (pl.Date, pl.Time) else column
    sample = texts.drop_nulls().head(SAMPLE_ROWS)
    return bool(len(sample)) and sample.dtype == pl.String and bool(sample.str.contains(form).all())


def _can_be_id(column: pl.Series) -> bool:
    return column.dtype.is_integer() or column.dtype in (pl.String, pl.Categorical, pl.Enum)


def _is_named(name: str, key: str) -> bool:
    words = words_of(name)
    nouns = set(NOUNS[key].split())
    if key == "timestamp":
        return bool(words) and ((words[0] in nouns and len(words) == 1) or words[-1] in TIME_ENDS)
    if key == "rating":
        return bool(words) and words[-1] in nouns and set(words[:-1]) <= RATING_STARTS
    bare = [word for word in words if word not in ID_WORDS]
    # "item_sku" of nested JSON has two nouns of one role.
    return bool(bare) and all(word in nouns or word.removesuffix("s") in nouns for word in bare)


def _is_value(name: str) -> bool:
    """Whether a column name is a number or a date, so a header is probably missing."""
    return looks_like_time(pl.Series([name]), by_itself=False)


def _listed(names: list[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


__all__ = ["ColumnRoles", "find_columns", "looks_like_time", "words_of"]
