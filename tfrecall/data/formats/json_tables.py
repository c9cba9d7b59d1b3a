"""Tables as JSON: lines of objects, or one array of them."""

import codecs
import glob
import io
import json
import mmap
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import polars as pl

from tfrecall.data.formats.compression import COMPRESSED, content, opened
from tfrecall.data.formats.lines import refuse_other_encodings
from tfrecall.errors import DataError

# A JSON escape of a UTF-16 surrogate, half a character: whole ones beyond U+FFFF are two in a row.
SURROGATE = rb"\\u[dD][89a-fA-F]"
BOM = codecs.BOM_UTF8
# Names of `tfrecall.serving.events`.
_FEEDBACK = re.compile(r"events-\d{8}T\d{6}-\d+-[0-9a-f]{8}\.jsonl")


def is_feedback(file: Path) -> bool:
    """Whether a file is one that a service writes its events to, by its name."""
    return _FEEDBACK.fullmatch(file.name) is not None


def read_json(file: Path, what: str, say: Callable[[str], None] | None = None) -> pl.DataFrame:
    """Reads a file of JSON lines, or of one JSON array of objects, whatever its suffix.

    Fields are inferred from the whole file: one that first occurs late would be lost. The unfinished last line
    of a feedback log, whose writer was killed or writes still, is left out: nobody was told that it is there.

    Args:
        file: the file.
        what: name of the table in messages.
        say: receives a sentence on a line that is left out.

    Raises:
        DataError: if a line, or the array, cannot be read; the message has the line.
    """
    finished = _finished(file, what, say) if is_feedback(file) else None
    if finished == b"":
        return pl.DataFrame()
    with opened(file) as stream:
        start = stream.read(1 << 16).removeprefix(BOM).lstrip()
        marked = file.suffix.lower() not in COMPRESSED and _starts_with_bom(file)
    is_array = start.startswith(b"[")
    _refuse_surrogates(file, what, is_array)
    source: Any = content(file) if finished is None else finished
    # Polars takes brackets in a path for a pattern.
    if marked or isinstance(source, bytes) or glob.escape(str(source)) != str(source):
        plain = source if isinstance(source, bytes) else source.read_bytes()
        source = io.BytesIO(plain.removeprefix(BOM))
    try:
        if is_array:
            table = pl.read_json(source, infer_schema_length=None)
        else:
            table = pl.read_ndjson(source, infer_schema_length=None)
    except pl.exceptions.PolarsError as error:
        refuse_other_encodings(file, what)
        _refuse_broken(file, what, is_array, error)
    if table.height == 1 and (rows := _wrapped(table)):
        raise DataError(
            f'The {what} file {file} is one object, whose rows stand in its field "{rows}". Write these alone: '
            f"jq -c '.{rows}[]' {file.name} > {rows}.jsonl"
        )
    if table.height == 1 and table.width and all(dtype == pl.List for dtype in table.dtypes):
        raise DataError(
            f"The {what} file {file} is one object of lists, a table by columns. Write a list of objects, or "
            "one object a line."
        )
    if not is_array:  # of arrays Polars refuses it
        _refuse_mixed(file, what, table)
    return table


def _wrapped(table: pl.DataFrame) -> str:
    """The only field with a list of objects, beside single values such as a total; empty for other tables."""
    lists = [name for name, dtype in table.schema.items() if isinstance(dtype, pl.List)]
    inner = getattr(table.schema[lists[0]], "inner", None) if len(lists) == 1 else None
    return lists[0] if isinstance(inner, pl.Struct) and table[lists[0]].list.len()[0] > 1 else ""


def _finished(file: Path, what: str, say: Callable[[str], None] | None) -> bytes:
    """The finished lines of a feedback log."""
    text = file.read_bytes()
    end = text.rfind(b"\n") + 1
    if end < len(text) and say is not None:
        say(f"the {what} file {file} ends within a line, which was not acknowledged and is left out")
    return text[:end]


@contextmanager
def _lines(file: Path) -> Iterator[Iterator[bytes]]:
    """The lines that are read."""
    with opened(file) as stream:
        yield (line for line in stream if line.endswith(b"\n") or not is_feedback(file))


def _refuse_mixed(file: Path, what: str, table: pl.DataFrame) -> None:
    """Refuses a field with objects or lists in some lines and texts in others.

    Polars makes texts of JSON of them all, which nobody meant.
    """
    doubtful = list(like_json(table))
    if not doubtful:
        return
    with _lines(file) as lines:
        for number, line in enumerate(lines, start=1):
            row = _value(line.removeprefix(BOM) if number == 1 else line, is_array=False)
            for path in doubtful:
                value = _at(row, path)
                if isinstance(value, (dict, list)):
                    kind = "an object" if isinstance(value, dict) else "a list"
                    raise DataError(
                        f"The {what} file {file} has {kind} in line {number:,}, in the field "
                        f'"{".".join(path)}", and a text in others: {_short(line)}. One field must hold '
                        "one type of values in all rows: repair or rewrite the file."
                    )


def like_json(table: pl.DataFrame, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Fields of text, nested ones, too, of which some value may be the JSON of an object or a list."""
    for column in table.iter_columns():
        here = (*path, column.name)
        if column.dtype == pl.Struct:
            yield from like_json(column.struct.unnest(), here)
        elif column.dtype == pl.String and column.str.contains(r"^[\[{]").any():
            yield here


def _at(row: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        row = row.get(name) if isinstance(row, dict) else None
    return row


def _starts_with_bom(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(len(BOM)) == BOM


def _refuse_broken(file: Path, what: str, is_array: bool, error: Exception) -> NoReturn:
    """Finds the line that no JSON object is read from."""
    if is_array:
        _refuse_broken_array(file, what)
    else:
        with _lines(file) as lines:
            for number, line in enumerate(lines, start=1):
                if problem := _problem(line.removeprefix(BOM) if number == 1 else line):
                    whole = " Or is the whole file one object? Write its rows alone." * (number == 1)
                    raise DataError(
                        f"The {what} file {file} is broken in line {number:,}: {problem}: {_short(line)}. "
                        f"JSON lines have one object each; repair or remove the line.{whole}"
                    ) from error
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    raise DataError(
        f"The {what} file {file} cannot be read as JSON: {reason}. One field must hold one type of "
        "values in all rows: repair or rewrite the file."
    ) from error


def _problem(line: bytes) -> str:
    """The reason why a line is no JSON object; empty for an object and for an empty line."""
    if not line.strip():
        return ""
    try:
        value = json.loads(line, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        return f"{error}"
    return "" if isinstance(value, dict) else f"a {type(value).__name__} instead of an object"


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON, write null")


def _refuse_broken_array(file: Path, what: str) -> None:
    try:
        with opened(file) as stream:
            rows = json.loads(stream.read().removeprefix(BOM), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"The {what} file {file} is no whole JSON array: {error}. Repair it, or write one object a line."
        ) from error
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise DataError(
                f"The {what} file {file} must be an array of objects, but row {number:,} is "
                f"{_short(repr(row))}. Write each row as an object with the names of the columns."
            )


def _short(line: bytes | str) -> str:
    text = line.decode("utf-8", "replace") if isinstance(line, bytes) else line
    text = text.rstrip("\r\n")
    return repr(text if len(text) <= 100 else f"{text[:100]}...")


def _refuse_surrogates(file: Path, what: str, is_array: bool) -> None:
    """Refuses half characters (`\\ud800` alone), which Polars drops: two ids would become one."""
    if not has_surrogates(file):
        return
    with _lines(file) as lines:
        for number, line in enumerate(lines, start=1):
            if not re.search(SURROGATE, line):
                continue
            place = f"line {number:,}"
            for name, text in _strings(_value(line, is_array)):
                if re.search("[\ud800-\udfff]", text):
                    where = f'"{name}" of {place}' if name else place
                    raise DataError(
                        f"The {what} file {file} has half a character in {where}: "
                        f"{text!r}. A lone surrogate is no Unicode text: repair or remove the row."
                    )


def has_surrogates(file: Path) -> bool:
    """Whether a file has escapes of half characters."""
    if file.suffix.lower() in COMPRESSED:
        with opened(file) as stream:
            return bool(re.search(SURROGATE, stream.read()))
    # One search over the mapped file: hardly any file has such an escape.
    with file.open("rb") as lines, mmap.mmap(lines.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        return bool(re.search(SURROGATE, mapped))


def _value(line: bytes, is_array: bool) -> Any:
    """The JSON of a line; of an array, whose lines need not be values, its texts in quotes."""
    if not is_array:
        try:
            return json.loads(line.removeprefix(BOM))
        except ValueError:  # broken: the reading says so
            return None
    texts = re.findall(rb'"(?:[^"\\]|\\.)*"', line)
    return [json.loads(text, strict=False) for text in texts]


def _strings(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """All texts in a value of JSON, each with the name of its field."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _strings(inner, name or key)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner, name)
