"""Lists of users in files: one id a line, or a table as a log has it."""

import io
from collections.abc import Iterator
from pathlib import Path

from tfrecall.errors import DataError, MissingColumnError

# A table is read whole; this holds some ten million users, and the memory of a machine several times.
MOST_BYTES = 2**28
_PIECE_BYTES = 2**20
# A text in memory takes no less, however often a compressed file repeats it.
_BYTES_PER_TEXT = 16


def asked_users(file: Path, column: str | None = None, separator: str | None = None) -> Iterator[str]:
    """Yields the users of a file, without reading all of it where it has one id a line.

    A table of the kinds that a log may have (CSV, Parquet, JSON) is read like a log, whole and ids as
    written, so it may have 256 MB. Without `column` it has a column `user_id`; a text without that name in its
    first line has one id a line.

    Args:
        file: the path; .gz, .zst and .zip are unpacked.
        column: name of the user column.
        separator: mark between the columns of a text; None recognises it.

    Raises:
        DataError: if the file cannot be read, a table is too large, or an id is missing.
        MissingColumnError: if there is no such column.
    """
    from tfrecall.data.checks import as_ids
    from tfrecall.data.files import SEPARATORS, SUFFIXES, read_table
    from tfrecall.data.formats.compression import inner_name
    from tfrecall.data.frames import find_name

    if not file.is_file():
        raise DataError(f"The users in {file} cannot be read: there is no such file.")
    suffix = Path(inner_name(file)).suffix.lower()
    if suffix not in SUFFIXES or (suffix in SEPARATORS and column is None and _has_one_column(file)):
        yield from _lines(file)
        return
    _check_size(file)
    name = column or "user_id"
    table = read_table(file, "users table", {name}, separator)
    found = find_name(table.columns, name)
    if found not in table.columns:
        raise MissingColumnError(
            f'{file} has no column "{name}". Its columns: {", ".join(table.columns)}. Name the one with the '
            "users: --user-column."
        )
    yield from as_ids(table[found], "users table")


def _has_one_column(file: Path) -> bool:
    """Whether a text holds ids alone: its first line is not divided, and is no `user_id`."""
    from tfrecall.data.formats.compression import opened
    from tfrecall.data.formats.dialect import HEAD_BYTES, clean_name, first_lines, sniff

    with opened(file) as stream:
        head = stream.read(HEAD_BYTES)
    dialect = sniff(head, ",", None)
    line = next(iter(first_lines(head, dialect.eol)), "")
    return dialect.separator not in line and clean_name(line) != "user_id"


def _check_size(file: Path) -> None:
    if _table_bytes(file) > MOST_BYTES:
        raise DataError(
            f"The table {file} takes more than {MOST_BYTES >> 20} MB, which is too large for a list of users. "
            "Give a text with one user id a line instead: it is read as it is answered, however long it is."
        )


def _table_bytes(file: Path) -> int:
    """Least size of a table in memory, counted no further than beyond the limit; 0 for a damaged one."""
    from tfrecall.data.files import PARQUET
    from tfrecall.data.formats.compression import COMPRESSED, opened

    if file.suffix.lower() in COMPRESSED:
        size = 0
        with opened(file) as stream:
            while size <= MOST_BYTES and (piece := stream.read(_PIECE_BYTES)):
                size += len(piece)
        return size
    if file.suffix.lower() in PARQUET:
        from pyarrow import ArrowException
        from pyarrow.parquet import read_metadata

        try:
            return int(read_metadata(file).num_rows) * _BYTES_PER_TEXT
        except (ArrowException, OSError):  # told of by the reader, in its words
            return 0
    return file.stat().st_size


def _lines(file: Path) -> Iterator[str]:
    """Yields the lines that are not empty."""
    from tfrecall.data.checks import LONGEST_ID
    from tfrecall.data.formats.compression import opened

    try:
        with opened(file) as stream:
            lines = io.TextIOWrapper(stream, encoding="utf-8-sig")
            # A file without line ends is one line, which would be read whole; it may be unpacked from little.
            for number, line in enumerate(iter(lambda: lines.readline(LONGEST_ID + 2), ""), start=1):
                user = line.rstrip("\r\n")
                if len(user) > LONGEST_ID:
                    raise DataError(
                        f"Line {number:,} of {file} has more than {LONGEST_ID:,} characters, so it is no id: "
                        f"{user[:40]!r}... Give a text with one user id a line, or a table."
                    )
                if user.strip():
                    yield user
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The users in {file} cannot be read: {error}.") from error
