"""The result of an evaluation: figures by rule, slice and baseline."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import polars as pl

from tfrecall.core.html import html_table
from tfrecall.core.seen import Seen
from tfrecall.errors import ConfigError, nearest
from tfrecall.evaluation.ranks import Ranking
from tfrecall.evaluation.summary import primary_metrics


@dataclass(frozen=True)
class Evaluation:
    """Metrics of a model on the test rows, and of its baselines.

    Attributes:
        model: the model's name.
        rows: test rows.
        users: distinct users of the test rows.
        unknown_targets: test rows whose item is not in the model's catalogue; they count as misses.
        test: rule -> metric -> value; the rules are `seen_removed` and `seen_kept`.
        slices: slice -> `rows`, and rule -> metric -> value, empty where the slice has no rows.
        baselines: name -> rule -> metric -> value, on the same rows; without `seen_removed` for a baseline
            that ranks only what the user had.
        rankings: model or baseline -> ranks of each test row and of each user's items, from which all
            metrics are computed; not in `to_dict`.
        targets_had: test rows whose user had the item before; misses where seen items are removed.
        intervals: model or baseline -> rule -> metric -> low and high end of the 95 % interval of the leading
            figure, by bootstrap over users.
        own_rows: names among `baselines` that are the model itself, asked another way: they beat nobody.
        last_events: of successive evaluation, figures of each user's last test row alone: `rows`, `test`,
            `baselines` and `intervals` as above; None otherwise.
        among_new: model or baseline -> rule -> metric -> value, of the test rows of new items, ranked among the
            new items alone; empty unless asked for.
        new_items: number of those candidates.
    """

    model: str
    rows: int
    users: int
    unknown_targets: int
    test: dict[str, dict[str, float]]
    slices: dict[str, dict[str, Any]] = field(default_factory=dict)
    baselines: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    rankings: dict[str, Ranking] = field(default_factory=dict, repr=False, compare=False)
    targets_had: int = 0
    intervals: dict[str, dict[str, dict[str, list[float]]]] = field(default_factory=dict)
    own_rows: list[str] = field(default_factory=list)
    last_events: dict[str, Any] | None = None
    among_new: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    new_items: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The figures as nested plain Python types, ready for `json.dumps`."""
        # Not `asdict`, which would copy the arrays of `rankings` before they are dropped.
        figures = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "rankings"}
        return copy.deepcopy(figures)

    def table(self, metrics: Sequence[str] | None = None) -> pl.DataFrame:
        """Makes a table of one row a model, the evaluated one first, then the baselines.

        Args:
            metrics: names as in `test`; None for the primary metrics that are means over rows.

        Returns:
            `model`, then for each metric `NAME kept` and `NAME removed`, null where a baseline has none.

        Raises:
            ConfigError: if a metric was not computed.
        """
        if metrics is None:
            metrics = primary_metrics(self.test[Seen.KEPT], of_users=False)
        for name in metrics:
            if name not in self.test[Seen.KEPT]:
                raise ConfigError(
                    f'This evaluation has no metric "{name}".'
                    f"{nearest(name, self.test[Seen.KEPT])} "
                    "Cut-offs are chosen with `ks` when the model is evaluated."
                )
        models = [(self.model, self.test), *self.baselines.items()]
        return pl.DataFrame([_table_row(model, rules, metrics) for model, rules in models])

    def _repr_html_(self) -> str:
        title = f"{self.model}: {self.rows:,} test rows of {self.users:,} users"
        return html_table(self.table().to_dicts(), title)

    def __str__(self) -> str:
        """A table under each rule, and the slices with hit rates at the largest k, as aligned text."""
        lines = [f"{self.model}: {self.rows:,} test rows of {self.users:,} users"]
        if self.unknown_targets:
            lines.append(f"{self.unknown_targets:,} targets outside the catalogue, all misses")
        if note := note_on_had(self.targets_had, self.rows):
            lines.append(note)
        if note := note_on_few(self.rows):
            lines.append(note)
        lines += _tables(self.model, self.test, self.baselines, self.intervals)
        if self.last_events:
            last = self.last_events
            lines += ["", f"each user's last event: {last['rows']:,} of these rows"]
            lines += _tables(self.model, last["test"], last["baselines"], last["intervals"])
        if self.among_new:
            own = self.among_new[self.model]
            others = {name: rules for name, rules in self.among_new.items() if name != self.model}
            lines += ["", f"among the {self.new_items:,} new items alone"]
            lines += _tables(self.model, own, others, {})
        slices = {name: part for name, part in self.slices.items() if part["rows"]}
        if slices:
            # Metrics stand in the order of `ks`; the last hit rate is that of the longest list.
            metric = [m for m in next(iter(slices.values()))[Seen.KEPT] if "hit_rate" in m][-1]
            cells = [["slice", "rows", f"{metric} kept", f"{metric} removed"]]
            for name, part in slices.items():
                rates = part[Seen.KEPT][metric], part[Seen.REMOVED][metric]
                cells.append(_texts((name, part["rows"], *rates)))
            lines += ["", *_aligned(cells)]
        return "\n".join(lines)


def _tables(
    model: str,
    test: dict[str, dict[str, float]],
    baselines: dict[str, dict[str, dict[str, float]]],
    intervals: dict[str, dict[str, dict[str, list[float]]]],
) -> list[str]:
    """Lines of a table of the primary metrics under each rule, and of the intervals of the leading figure."""
    metrics = primary_metrics(test[Seen.KEPT], of_users=False)  # five columns fit a terminal
    lines = []
    for rule in (Seen.KEPT, Seen.REMOVED):
        rows = [
            _texts([name, *(rules[rule][metric] for metric in metrics)])
            for name, rules in {model: test, **baselines}.items()
            if rule in rules
        ]
        lines += ["", *_aligned([[f"seen {Seen(rule).word}", *metrics], *rows])]
    return lines + (["", *_aligned(_interval_cells(intervals))] if intervals else [])


def _interval_cells(intervals: dict[str, dict[str, dict[str, list[float]]]]) -> list[list[str]]:
    """The intervals of the leading figure, a column for each rule that has them."""
    rows = [
        {"95 % interval": model}
        | {
            f"{metric} {Seen(rule).word}": f"{low:.3f}-{high:.3f}"
            for rule, metrics in rules.items()
            for metric, (low, high) in metrics.items()
        }
        for model, rules in intervals.items()
    ]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return [columns, *([row.get(name, "") for name in columns] for row in rows)]


# A hit rate of .1 on 300 rows has an interval of .07 to .14.
FEW_ROWS = 300


def note_on_few(rows: int) -> str:
    """Sentence on a test of few rows, whose figures are mostly chance; empty for others.

    >>> note_on_few(120)
    'Only 120 test rows (fewer than 300): differences as wide as the intervals are chance'
    """
    if rows >= FEW_ROWS:
        return ""
    return f"Only {rows:,} test rows (fewer than {FEW_ROWS}): differences as wide as the intervals are chance"


def note_on_had(targets_had: int, rows: int) -> str:
    """Sentence on the targets that users had before; empty without any.

    >>> note_on_had(424, 1999)
    '424 of 1,999 targets had been had before: misses where seen items are removed'
    """
    if not targets_had:
        return ""
    return (
        f"{targets_had:,} of {rows:,} targets had been had before: misses where seen items are removed"
    )


def _table_row(
    model: str, rules: dict[str, dict[str, float]], metrics: Sequence[str]
) -> dict[str, Any]:
    row: dict[str, Any] = {"model": model}
    for name in metrics:
        for rule in (Seen.KEPT, Seen.REMOVED):
            row[f"{name} {rule.word}"] = rules.get(rule, {}).get(name)
    return row


def _texts(values: Sequence[Any]) -> list[str]:
    formats = {float: ".4f", int: ","}
    return ["" if value is None else format(value, formats.get(type(value), "")) for value in values]


def _aligned(cells: Sequence[Sequence[str]]) -> list[str]:
    """Lines of text: the first column flush left, the others flush right."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            text.rjust(width) if i else text.ljust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
