"""One table from files: CSV and its kin, Parquet, JSON, compressed or not."""

import glob
from collections.abc import Iterable, Iterator
from pathlib import Path

import polars as pl

from tfrecall.data.formats.compression import COMPRESSED, inner_name
from tfrecall.data.formats.delimited import Say, TextFile, read_delimited
from tfrecall.data.formats.dialect import checked_separator
from tfrecall.data.formats.json_tables import is_feedback, read_json
from tfrecall.data.frames import flat
from tfrecall.errors import DataError, nearest

# Suffixes of delimited text, each with its usual mark between columns.
SEPARATORS = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".psv": "|", ".txt": "\t", ".dat": "\t"}
JSON = (".jsonl", ".ndjson", ".json")
PARQUET = (".parquet", ".pq")
SUFFIXES = (*SEPARATORS, *PARQUET, *JSON)


class TableFiles:
    """The files of one table.

    Attributes:
        path: a file, a folder or a pattern.
        what: name of the table in messages.
        files: the files, in the order of their rows.
        kind: their suffix, without that of compression.
        notes: sentences on what was recognised, or is not read as it looks.
    """

    def __init__(self, path: str | Path, what: str = "table", separator: str | None = None) -> None:
        """Finds the files, without reading their rows.

        Args:
            path: a file, a folder or a pattern.
            what: name of the table in messages.
            separator: the mark between columns of text files that have it in their first line; None
                recognises it in each file.

        Raises:
            DataError: if a file is missing, empty or of an unknown kind.
            ConfigError: if the separator is not one character.
        """
        self.path, self.what = Path(path), what
        self.notes: list[str] = []
        self._separator = checked_separator(separator)
        self.files = _files(self.path, what)
        self.kind = _one_kind(self.files, self.path, what)
        for file in self.files:
            # A service that was killed may leave one.
            if not file.stat().st_size and not is_feedback(file):
                raise DataError(f"The {what} file {file} is empty. Give a file with columns and rows.")
        self._texts: list[TextFile] = []

    def read(self, keys: Iterable[str] = ()) -> pl.DataFrame:
        """Reads the table.

        Args:
            keys: columns that stay as written where the files know no types (CSV).

        Raises:
            DataError: if a file is damaged, has broken lines or is not UTF-8.
        """
        try:
            return flat(self._read(set(keys)))
        except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise DataError(
                f"The {self.what} {self.path} cannot be read as {self.kind.lstrip('.')}: {reason[0]}. "
                "Repair or rewrite the file; the suffix must tell its kind."
            ) from error

    def _read(self, keys: set[str]) -> pl.DataFrame:
        if self.kind in SEPARATORS:
            self._texts = self.texts()
            return read_delimited(self._texts, keys, self.what, self.notes.append)
        if self.kind in JSON:
            return self._read_json()
        return scan_parquet(self.files, self.path).collect()

    def texts(self) -> list[TextFile]:
        """The files of delimited text with their marks, without their rows."""
        default = SEPARATORS[self.kind]
        return [TextFile(file, default, self._separator, self.what) for file in self.files]

    def _read_json(self) -> pl.DataFrame:
        parts = [read_json(file, self.what, self.notes.append) for file in self.files]
        table = pl.concat(parts, how="diagonal_relaxed")
        if not table.width:
            raise DataError(
                f"The {self.what} {self.path} holds no finished line yet. Read it when events have come."
            )
        return table

    def as_written(self, table: pl.DataFrame, names: Iterable[str]) -> pl.DataFrame:
        """Replaces columns of the table by their text, if it came from text; other files know types.

        Args:
            table: the table as `read` gave it.
            names: the columns; those that are text already, or missing, are left alone.
        """
        names = [n for n in names if n in table.columns and table[n].dtype != pl.String]
        if not names or not self._texts:
            return table
        return table.with_columns(pl.concat([file.texts(names) for file in self._texts]))


def read_table(
    path: str | Path,
    what: str = "table",
    keys: Iterable[str] = (),
    separator: str | None = None,
    say: Say | None = None,
) -> pl.DataFrame:
    """Reads one table.

    Args:
        path: a file, a folder or a pattern.
        what: name of the table in messages.
        keys: columns that stay as written where the files know no types (CSV).
        separator: the mark between columns of text files; None recognises it.
        say: receives sentences on what was recognised, or is not read as it looks.

    Raises:
        DataError: if a file is missing, empty, of an unknown kind, not UTF-8 or damaged.
    """
    files = TableFiles(path, what, separator)
    table = files.read(keys)
    for note in files.notes:
        if say is not None:
            say(note)
    return table


def _files(path: Path, what: str) -> list[Path]:
    """The files of a path, ordered by name."""
    try:
        files, problem = _found(path)
    except OSError as error:
        raise DataError(f"The {what} cannot be read: {error}. Check the permissions.") from error
    if not files:
        raise DataError(
            f"The {what} was not found: {problem} Give a file, a folder or a pattern of "
            f"{', '.join(SUFFIXES)}."
        )
    return files


def _found(path: Path) -> tuple[list[Path], str]:
    """The files of a path, and the problem if there are none."""
    if path.is_dir():
        inside = [file for file in _walk(path) if file.is_file()]
        # Spark, Hadoop and macOS write such files next to the data: _SUCCESS, .part.crc, ._part.
        files = sorted(file for file in inside if not file.name.startswith(("_", ".")))
        return files, f"there are no files in the folder {path}."
    if path.exists():
        return [path], ""
    names = glob.glob(str(path), recursive=True)
    files = sorted(Path(name) for name in names if Path(name).is_file())
    return files, f"there is no file {path}.{_nearest_file(path)}"


def _walk(folder: Path) -> Iterator[Path]:
    """All paths in a folder; `rglob` would leave out folders that it may not look into."""
    for inside in folder.iterdir():
        is_folder = inside.is_dir() and not inside.is_symlink()  # links may go round in a circle
        yield from _walk(inside) if is_folder else [inside]


def _nearest_file(path: Path) -> str:
    if not path.parent.is_dir():
        return f" There is no folder {path.parent} either."
    return nearest(path.name, (file.name for file in path.parent.iterdir()))


def _one_kind(files: list[Path], path: Path, what: str) -> str:
    """The suffix of all files, without that of compression; several are refused."""
    examples = {_kind(file): file.name for file in reversed(files)}
    if len(examples) > 1:
        shown = list(examples.items())[:5]
        listed = ", ".join(f"{kind or 'no suffix'} ({name})" for kind, name in shown)
        raise DataError(
            f"The {what} {path} mixes kinds of files: {listed}. "
            "Give a folder with one kind, or a pattern such as folder/*.parquet."
        )
    kind = next(iter(examples))
    if kind not in SUFFIXES:
        raise DataError(
            f'The {what} {files[0]} has a suffix that is not known: "{kind}".'
            f"{nearest(kind, SUFFIXES)} Known: {', '.join(SUFFIXES)}, "
            f"also compressed ({', '.join(COMPRESSED)})."
        )
    return kind


def _kind(file: Path) -> str:
    return Path(inner_name(file)).suffix.lower()


def scan_parquet(files: list[Path], path: Path) -> pl.LazyFrame:
    """The rows of Parquet files, one file after another; `path` is the folder or file that was given."""
    if path.is_dir() and any("=" in part for part in files[0].relative_to(path).parts[:-1]):
        return pl.scan_parquet(path, hive_partitioning=True)  # folders such as day=2024-05-31
    return pl.scan_parquet(files, hive_partitioning=False, glob=False)
