"""The passes of a preparation, one after another: scatter, gather, minima, write."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from tfrecall.core.columns import ITEM, USER
from tfrecall.core.progress import ProgressReporter
from tfrecall.data import checks, filters
from tfrecall.data.shards import tables
from tfrecall.data.shards.gather import Counts, Gather, write
from tfrecall.data.shards.manifest import ITEMS, PLACE, ROW, USERS, part
from tfrecall.data.shards.pieces import Piece, Source
from tfrecall.data.shards.rounds import Core, core
from tfrecall.data.shards.scatter import Scatter, Scattered
from tfrecall.data.shards.settings import Settings
from tfrecall.data.shards.survey import survey
from tfrecall.data.shards.tables import Sides
from tfrecall.data.shards.write import Write, left_file, write_table
from tfrecall.engines import Engine


class Rows(NamedTuple):
    """The checked rows of a log in partitions, and the tables beside it.

    Attributes:
        files: files of the rows.
        columns: columns of the log, each with its type.
        kind: how times were read.
        sides: the user and the item table as given.
    """

    files: list[Scattered]
    columns: dict[str, str]
    kind: str
    sides: Sides


@dataclass(frozen=True)
class Passes:
    """The passes of one preparation.

    Attributes:
        settings: how the log is cleaned and filtered.
        partitions: number of shards.
        engine: runs the tasks.
        progress: receives steps and counts.
        work: folder of intermediate files.
    """

    settings: Settings
    partitions: int
    engine: Engine
    progress: ProgressReporter
    work: Path

    def _map(self, function: Any, tasks: Sequence[Any], title: str) -> list[Any]:
        with self.progress.step(title):
            return self.engine.map(function, tasks, title=title, progress=self.progress)

    def scatter(self, source: Source, pieces: list[Piece], raw: Sequence[Any]) -> Rows:
        """Decides for the whole log, and puts its checked rows into partitions.

        Args:
            source: how pieces are read.
            pieces: the pieces of the log.
            raw: the user and the item table as read; None without one.
        """
        settings = self.settings
        with self.progress.step("Survey the log"):
            decisions, found = survey(source, pieces, settings, self.engine, self.progress)
        sides = tables.side_tables(raw, found[0].columns, settings)
        checks.refuse_empty(sum(one.rows for one in found))
        rated = ("rating",) if settings.columns.rating else found[0].columns
        filters.check(rated, **settings.filters)
        starts = np.cumsum([0, *(one.rows for one in found)]).tolist()[:-1]
        work = Scatter(source, settings, decisions, self.work, self.partitions, len(pieces) == 1)
        files = self._map(work, list(zip(pieces, starts, strict=True)), "Scatter the rows")
        columns = {name: kind for name, kind in files[0].schema if name not in (PLACE, ROW)}
        tables.refuse_shared_columns(columns, sides)
        kind = next((one.kind for one in files if one.kind), "")
        return Rows(files, columns, kind, sides)

    def finish(self, folder: Path, rows: Rows) -> dict[str, Any]:
        """Gathers and filters the partitions, writes shards and tables, and gives the facts about them."""
        counts = self._gather(rows)
        users = tables.seen_users(self.work, self.partitions)
        items = tables.seen_items(self.work, self.partitions)
        notes = self._notes_before_filters(rows, counts, users, items)
        whole = tables.complete(
            self.work, rows.sides, users, items, counts, self.settings.missing_items, notes.append
        )
        told, filtered = tables.filter_notes(counts, items, self.settings)
        notes += told
        core = self._minima(counts, items, whole[1], notes, filtered)
        task = Write(self.work, folder, core.rounds if core else 0)
        shards = self._map(task, range(self.partitions), "Write the shards")
        return {
            "columns": rows.columns,
            "counts": _numbers(counts, filtered, shards, core),
            "partitions": shards,
            **self._write_tables(folder, whole, core),
            "notes": notes,
        }

    def _gather(self, rows: Rows) -> list[Counts]:
        catalogue = None
        if rows.sides.items is not None:
            catalogue = self.work / "catalogue.parquet"
            write(rows.sides.items.select(ITEM), catalogue)
        task = Gather(self.settings, rows.files, self.work, catalogue, time.time())
        return self._map(task, range(self.partitions), "Gather the users")

    def _notes_before_filters(
        self, rows: Rows, counts: list[Counts], users: pl.DataFrame, items: pl.DataFrame
    ) -> list[str]:
        cleaned = tables.cleaning_notes(self.work, counts, users, items)
        why = f" after cleaning ({'; '.join(cleaned)})" if cleaned else ""
        height = sum(one.kept for one in counts)
        tables.refuse_too_small(users[USER], items[ITEM], height, why)
        times = tables.time_notes(self.work, self.partitions, rows.kind, self.settings)
        return [*cleaned, *rows.sides.notes, *times]

    def _minima(
        self,
        counts: list[Counts],
        seen: pl.DataFrame,
        items: pl.DataFrame,
        notes: list[str],
        filtered: dict[str, int],
    ) -> Core | None:
        """Removes users and items with too few events; None where there are no minima."""
        minima = self.settings.minima
        if max(minima) <= 1:
            return None
        catalogue = self.work / "numbers.parquet"
        write(items.select(ITEM), catalogue)
        with self.progress.step("Minima of users and items"):
            left = core(self.work, self.partitions, catalogue, minima, self.engine, self.progress)
        name, reduced = filters.core_step(*minima)
        last = seen.select(pl.col("^events_.*$")).to_series(-1)
        rows, users = (sum(one.steps[-1][n] for one in counts) for n in (0, 1))
        note = filters.left_out(
            name,
            "Lower",
            rows=(rows, left.rows),
            users=(users, left.users),
            items=(int((last > 0).sum()), int((left.items > 0).sum())),
        )
        notes.append(note + "".join(filters.keeps(table) for table in reduced))
        filtered[name] = rows - left.rows
        return left

    def _write_tables(
        self, folder: Path, whole: tuple[pl.DataFrame, pl.DataFrame], core: Core | None
    ) -> dict[str, Any]:
        """Writes the user and the item table; minima reduce them to ids with events."""
        users, items = whole
        min_user, min_item = self.settings.minima
        if core and min_user > 1:
            files = [left_file(self.work, partition) for partition in range(self.partitions)]
            left = pl.concat([pl.read_parquet(file, glob=False) for file in files])
            users = users.join(left, on=USER, how="semi", maintain_order="left")
        if core and min_item > 1:
            items = items.filter(pl.Series(core.items > 0))
        facts = {}
        for key, table, name in (("users", users, USERS), ("items", items, ITEMS)):
            write_table(table, folder / name)
            facts[key] = part(folder / name, table.height)
        return facts


def _numbers(
    counts: list[Counts], filtered: dict[str, int], shards: list[dict[str, Any]], core: Core | None
) -> dict[str, Any]:
    """Numbers of rows, users and items for the manifest."""
    kept = sum(shard["rows"] for shard in shards)
    missing = sum(one.kept for one in counts) - sum(one.steps[0][0] for one in counts)
    return {
        "read": sum(one.rows for one in counts),
        "repeated": sum(one.repeated for one in counts),
        "no_user": sum(one.no_user for one in counts),
        "no_item": sum(one.no_item for one in counts),
        "missing_items": missing,
        "filtered": filtered,
        "kept": kept,
        "users": sum(shard["users"] for shard in shards),
        "rounds": core.rounds if core else 0,
    }
