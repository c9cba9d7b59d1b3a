"""Tables as delimited text: CSV, TSV and their kin."""

import csv
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from tfrecall.data.formats.compression import content, opened
from tfrecall.data.formats.dialect import (
    HEAD_BYTES,
    clean_name,
    end_of_line,
    first_lines,
    long_values,
    refuse_repeated_names,
    sniff,
)
from tfrecall.data.formats.lines import (
    UTF16,
    Misfit,
    count_lines,
    has_quotes,
    misfits,
    quoted_misfits,
    refuse_misfits,
    refuse_other_encodings,
    refuse_other_formats,
)
from tfrecall.data.formats.preamble import COMMENT, find_preamble, refuse_wide_marks
from tfrecall.data.formats.text_types import decimals, narrowed, without_decimal_commas
from tfrecall.errors import DataError

# First rows of a file that its column types are inferred from; all rows if these mislead.
GUESS_ROWS = 10_000

Say = Callable[[str], None]


def read_delimited(files: list["TextFile"], keys: set[str], what: str, say: Say) -> pl.DataFrame:
    """Reads files of the same columns.

    Whole numbers become integers only where no value is a code ("02139"), in all files together.

    Args:
        files: the files.
        keys: columns that stay as written.
        what: name of the table in messages.
        say: receives a sentence on each thing that is not read as it looks.

    Raises:
        DataError: if lines are broken.
    """
    parts = [file.read(keys, say) for file in files]
    frames = [aligned(frame, parts[0][0], file) for file, (frame, _) in zip(files, parts, strict=True)]
    table = pl.concat(frames, how="vertical_relaxed")
    loose = {name for _, names in parts for name in names}
    in_commas = all(file.dialect.separator == "," for file in files)
    return typed(table, loose, keys, in_commas, what, say)


def typed(
    table: pl.DataFrame, loose: set[str], keys: set[str], in_commas: bool, what: str, say: Say
) -> pl.DataFrame:
    """Gives columns of text their types.

    Args:
        table: the rows of all files.
        loose: columns of possible whole numbers, read as text.
        keys: columns that stay as written.
        in_commas: whether commas are between the columns, and so not within numbers.
        what: name of the table in messages.
        say: receives a sentence on each thing that is not read as it looks.
    """
    table = narrowed(table, [name for name in table.columns if name in loose])
    table = _without_nan(table, what, say)
    if in_commas:
        return table
    found = decimals(table, keys)
    if not found:
        return table
    say(f"decimal commas in the {what}: {', '.join(found)}")
    numbers = table.with_columns(map(without_decimal_commas, found))
    _say_missing(found, table, numbers, what, say)
    return numbers


def _without_nan(table: pl.DataFrame, what: str, say: Say) -> pl.DataFrame:
    """The table with nulls for NaN, which in a text is a word for no value."""
    floats = [c.name for c in table.iter_columns() if c.dtype.is_float() and c.is_nan().any()]
    if not floats:
        return table
    numbers = table.with_columns(pl.col(floats).fill_nan(None))
    _say_missing(floats, table, numbers, what, say)
    return numbers


def _say_missing(
    names: list[str], before: pl.DataFrame, after: pl.DataFrame, what: str, say: Say
) -> None:
    for name in names:
        if lost := after[name].null_count() - before[name].null_count():
            say(
                f'{lost:,} of {after.height:,} values of "{name}" in the {what} stand for none: missing'
            )


def aligned(frame: pl.DataFrame, first: pl.DataFrame, file: "TextFile") -> pl.DataFrame:
    """The columns in the order of the first file; other columns are refused."""
    if frame.columns == first.columns:
        return frame
    given, wanted = set(frame.columns), set(first.columns)
    if given != wanted:
        lacks, more = (
            ", ".join(sorted(names)[:5]) or "nothing" for names in (wanted - given, given - wanted)
        )
        raise DataError(
            f"The {file.what} file {file.file} has other columns than the first one: it lacks {lacks}, and has "
            f"{more} more. Give files with the same columns."
        )
    return frame.select(first.columns)


class TextFile:
    """One file of delimited text.

    Attributes:
        file: the path.
        what: name of the table in messages.
        preamble: lines before the names, which are left out.
        dialect: the marks; `read` may find that quotes are plain characters.
        names: names of the columns, without blanks around them.
    """

    def __init__(self, file: Path, default: str, separator: str | None, what: str) -> None:
        self.file, self.what = file, what
        with opened(file) as stream:
            head = stream.read(HEAD_BYTES)
        refuse_other_formats(head, file, what)
        if head.startswith(UTF16) or b"\0" in head.split(b"\n", 1)[0]:
            refuse_other_encodings(file, what)
        self.preamble = find_preamble(head, end_of_line(head), file)
        skip = self.preamble.lines
        self.dialect = sniff(head, self.preamble.separator or default, separator, skip)
        refuse_wide_marks(head, self.dialect, skip, file, what)
        try:
            # The first line alone: a fault in it is found before any row is read.
            self._raw = self.scan(self._below(head), n_rows=0, infer_schema=False).columns
        except pl.exceptions.NoDataError as error:
            raise DataError(f"The {what} file {file} is empty. Give columns and rows.") from error
        if any("\N{REPLACEMENT CHARACTER}" in name for name in self._raw):
            refuse_other_encodings(file, what)
        self.names = _without_mark([clean_name(name) for name in self._raw])
        lines = first_lines(head, self.dialect.eol, skip)
        with long_values():
            given = next(csv.reader(lines, delimiter=self.dialect.separator), [])
        refuse_repeated_names(_without_mark([clean_name(name) for name in given]), file)
        self._has_empty_lines = self._has_headers = False

    def read(self, keys: set[str], say: Say) -> tuple[pl.DataFrame, set[str]]:
        """Reads the table: text in the columns of `keys`, and in those of possible whole numbers.

        Returns:
            The table, and the names of the columns of possible whole numbers.
        """
        source = self._content()
        if self.preamble.note:
            say(self.preamble.note)
        frame, loose = self._attempt(source, keys)
        if self._quotes_are_plain(frame, say):
            self.dialect = replace(self.dialect, quote=None)
            say(
                f"quotes in {self.file.name} are taken as they are: not all are closed, and without them "
                f"each line has {len(self.names)} columns"
            )
            frame, loose = self._attempt(source, keys)
        if frame is None:
            self._refuse_broken()
            frame = self.scan(source, infer_schema=False)  # raises: let Polars say why
        if frame.width and frame.to_series(-1).has_nulls():
            # A line that ends too early has a null there.
            self.refuse_short()
            frame = self._without_empty_lines(frame, say)
        frame.columns = self.names
        if self.is_header(frame).any():
            frame, loose = self._without_headers(frame, say), set(self.names) - keys
        unnamed = [c.name for c in frame.iter_columns() if is_unnamed(c.name) and _is_empty(c)]
        return frame.drop(unnamed), loose

    @property
    def raw_names(self) -> dict[str, str]:
        """Names of the columns, each with the name as it stands in the file."""
        return dict(zip(self.names, self._raw, strict=True))

    def texts(self, names: list[str]) -> pl.DataFrame:
        """Columns of the file as text, in the rows that `read` gave."""
        raw = self.raw_names
        # A line is empty, or a header, only if all its columns are.
        whole = self._has_empty_lines or self._has_headers
        wanted = None if whole else [raw[name] for name in names]
        table = self.scan(self._content(), columns=wanted, infer_schema=False)
        if self._has_empty_lines:
            table = table.filter(~pl.all_horizontal(pl.all().is_null()))
        if self._has_headers:
            table = table.filter(~self.is_header(table))
        return table.select(pl.col(raw[name]).alias(name) for name in names)

    def _content(self) -> Path | bytes:
        """The path of the file, or its text where that is packed or begins above the names."""
        source = content(self.file)
        if not self.preamble.lines:
            return source
        return self._below(source.read_bytes() if isinstance(source, Path) else source)

    def _below(self, text: bytes) -> bytes:
        """The text from the names on."""
        return text.split(self.dialect.eol.encode(), self.preamble.lines)[-1]

    def scan(self, source: Path | bytes, **options: Any) -> pl.DataFrame:
        """Reads text that begins with the names of the columns; options of `pl.read_csv`."""
        return pl.read_csv(source, **self.dialect.options, **options)

    def _attempt(self, source: Path | bytes, keys: set[str]) -> tuple[pl.DataFrame | None, set[str]]:
        """The table, None if its lines are broken, and its columns of possible whole numbers."""
        try:
            types, loose = self.guess(source, keys)
            return self.scan(source, schema_overrides=types), loose
        except pl.exceptions.PolarsError:  # broken, or a value beyond the first rows has another type
            pass
        try:
            return self.scan(source, infer_schema=False), set(self.names) - keys
        except pl.exceptions.PolarsError:
            return None, set()

    def guess(self, source: Path | bytes, keys: set[str]) -> tuple[dict[str, Any], set[str]]:
        """Types of the columns by the first rows, and the columns of possible whole numbers."""
        names = dict(zip(self._raw, self.names, strict=True))
        types: dict[str, Any] = {raw: pl.String for raw, name in names.items() if name in keys}
        head = self.scan(
            source, n_rows=GUESS_ROWS, infer_schema_length=GUESS_ROWS, schema_overrides=types
        )
        # Empty so far: the type shows later.
        loose = {c.name for c in head.iter_columns() if c.dtype.is_integer() or _is_empty(c)}
        loose -= types.keys()
        types |= {**head.schema, **dict.fromkeys(loose, pl.String)}
        return types, {names[raw] for raw in loose}

    def _quotes_are_plain(self, frame: pl.DataFrame | None, say: Say) -> bool:
        """Whether quotes mean nothing: some are not closed, and all lines are whole without regard to them."""
        if not has_quotes(self.file):
            return False
        if frame is not None:
            # In commas, values over several lines are usual; in tabs titles with a quote are.
            lines = count_lines(self.file, self.dialect.eol, self.preamble.lines)
            spans_lines = frame.height + 1 < lines
            if not spans_lines:
                return False
        is_plain = next(self._misfits(quoted=False), None) is None
        if is_plain and frame is not None and self.dialect.separator in ",;":
            say(
                f"values in quotes of {self.file.name} go over several lines, although each line has "
                f"{len(self.names)} columns without regard to quotes: is one not closed?"
            )
            return False
        return is_plain

    def _misfits(self, quoted: bool) -> Iterator[Misfit]:
        marks = self.dialect.separator, self.dialect.eol
        return misfits(self.file, *marks, len(self.names), quoted, self.preamble.lines)

    def _quoted_misfits(self) -> Iterator[Misfit]:
        """Those of lines whose values may go over several."""
        return quoted_misfits(self.file, self.dialect.separator, len(self.names), self.preamble.lines)

    def _refuse_broken(self) -> None:
        refuse_other_encodings(self.file, self.what)
        quoted = self.dialect.quote is not None and has_quotes(self.file)
        found = self._quoted_misfits() if quoted else self._misfits(quoted=False)
        refuse_misfits(self.file, self.what, found, len(self.names), self.preamble.lines)

    def refuse_short(self) -> None:
        """Refuses a file with lines that end too early."""
        if len(self.names) == 1:
            return
        quoted = self.dialect.quote is not None and has_quotes(self.file)
        if next(self._misfits(quoted), None) is None:
            return
        found = self._quoted_misfits() if quoted else self._misfits(quoted)
        refuse_misfits(self.file, self.what, found, len(self.names), self.preamble.lines)

    def _without_empty_lines(self, frame: pl.DataFrame, say: Say) -> pl.DataFrame:
        kept = frame.filter(~pl.all_horizontal(pl.all().is_null()))
        if lost := frame.height - kept.height:
            self._has_empty_lines = True
            say(f"{lost:,} empty lines of {self.file.name} are left out")
        return kept

    def is_header(self, frame: pl.DataFrame) -> pl.Series:
        """Whether each line repeats the names of the columns, as in files put together from several."""
        # A header is text in every column; in a table of one column it may be a value.
        is_text = all(column.dtype == pl.String for column in frame.iter_columns())
        first = frame.to_series(0) if frame.width > 1 and is_text else None
        # Of most files the first column says at once that there is none.
        if first is None or not ((first == self._raw[0]) | (first == self.names[0])).any():
            return pl.Series([False], dtype=pl.Boolean).new_from_index(0, frame.height)
        pairs = zip(frame.columns, self.names, strict=True)
        same = [pl.col(raw).str.strip_chars() == name for raw, name in pairs]
        return frame.select(header=pl.all_horizontal(same).fill_null(False)).to_series()

    def _without_headers(self, frame: pl.DataFrame, say: Say) -> pl.DataFrame:
        kept = frame.filter(~self.is_header(frame))
        self._has_headers = True
        say(
            f"{frame.height - kept.height:,} lines of {self.file.name} repeat the names of the columns and are "
            "left out"
        )
        return kept


def _without_mark(names: list[str]) -> list[str]:
    """The names without the mark of a comment: "# user" is "user"; a column may be called "#"."""
    if names and names[0].startswith(COMMENT):
        names = [names[0].lstrip(COMMENT).strip() or names[0], *names[1:]]
    return names


def is_unnamed(name: str) -> bool:
    """Whether a column has no name in its file."""
    return not name or name.startswith("_duplicated_")


def _is_empty(column: pl.Series) -> bool:
    return column.null_count() == len(column)
