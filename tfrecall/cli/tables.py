"""Tables of the commands, from the plain form of their answers."""

import re
from collections.abc import Collection, Sequence
from typing import Any

from rich.cells import cell_len
from rich.table import Table

from tfrecall.core.run_names import as_named
from tfrecall.core.seen import Seen
from tfrecall.core.text import one_line
from tfrecall.data.inspection.description import Description
from tfrecall.data.inspection.profiles import Profile
from tfrecall.evaluation.metrics import is_lower_better
from tfrecall.evaluation.report import note_on_few, note_on_had
from tfrecall.evaluation.rivals import best_of_columns
from tfrecall.evaluation.summary import primary_metrics

ITEMS_SHOWN = 5  # items recommended by one model only
TRIALS_SHOWN = 10
FOLDS_SHOWN = 5  # as many as fit into 80 columns with model, mean and spread
LONGEST_CELL = 60  # columns of a title; `--json` and the report have it whole
_NUMBER = re.compile(r"[-+]?[\d,]+(\.\d+)?( ?%)?")
_ITEM = ("item_id", "title", "users", "train_rows")


def metric_table(metrics: dict[str, Any]) -> Table:
    """Metrics of a model and its baselines under both rules, the leading rule first."""
    metrics = as_named(metrics)
    names = primary_metrics(metrics["test"][Seen.KEPT], of_users=False)
    table = Table(title=_title_of(metrics))
    table.add_column("model", overflow="fold")
    table.add_column("seen")
    for name in names:
        table.add_column(_heading(name), justify="right")
    models = {metrics["model"]: metrics["test"], **metrics["baselines"]}
    for rule in Seen.ordered(_leading(metrics)):
        # A baseline that ranks only what the user had has no figures where that is removed.
        shown = {model: rules[rule] for model, rules in models.items() if rule in rules}
        best = best_of_columns(shown, names)
        for i, (model, figures) in enumerate(shown.items()):
            cells = [_marked(f"{figures[name]:.3f}", model in best[name]) for name in names]
            table.add_row(one_line(model), rule.word, *cells, end_section=i == len(shown) - 1)
    return table


def metric_tables(metrics: dict[str, Any]) -> list[Table | str]:
    """Table of all test rows with its notes; of successive evaluation that of each user's last event, too."""
    tables: list[Table | str] = [metric_table(metrics), *metric_notes(metrics)]
    last = metrics.get("last_events")
    if last:
        # Repeated figures and short tests are told of all rows; these are a part of them.
        part = {**as_named(metrics), **last, "targets_had": 0}
        part["data"] = {**metrics["data"], "test_rows": last["rows"]}
        table = metric_table(part)
        table.title = one_line(f"Each user's last event alone: {last['rows']:,} test rows")
        tables += [table, *metric_notes(part)[1:]]
    return [*tables, *new_item_tables(metrics)]


def order_table(order: dict[str, Any], leading: str) -> Table:
    """Figures with histories as they are and shuffled, and the share that shuffling takes away."""
    rows = []
    for metric in primary_metrics(order["ordered"][leading], of_users=False):
        loss = order["loss"][leading][metric]
        rows.append(
            {"metric": metric}
            | {name: order[name][leading][metric] for name in ("ordered", "shuffled")}
            | {
                "loss": f"{loss['loss']:.1%}" if loss else "",
                "95 % interval": f"{loss['low']:.1%} to {loss['high']:.1%}" if loss else "",
            }
        )
    return item_table(f"Histories shuffled, seen items {Seen(leading).word}", rows)


def new_item_tables(metrics: dict[str, Any]) -> list[Table]:
    """The same table among new items alone, where the run measured that; else none."""
    if not metrics.get("among_new"):
        return []
    found = dict(metrics["among_new"])
    own = found.pop(metrics["model"])
    table = metric_table({**metrics, "test": own, "baselines": found})
    table.title = f"Ranked among the {metrics['new_items']:,} new items alone"
    return [table]


def ranking_table(metrics: dict[str, Any]) -> Table:
    """Metrics of a ranker and its baselines."""
    metrics = as_named(metrics)
    table = Table(title=_title_of(metrics))
    table.add_column("model", overflow="fold")
    for name in metrics["test"]:
        table.add_column(name, justify="right")
    models = {metrics["model"]: metrics["test"], **metrics["baselines"]}
    best = best_of_columns(models, list(metrics["test"]))
    for model, figures in models.items():
        cells = [
            _marked(f"{value:.4f}", model in best.get(name, ())) for name, value in figures.items()
        ]
        table.add_row(one_line(model), *cells)
    return table


def metric_notes(metrics: dict[str, Any]) -> list[str]:
    """Sentences below the table of metrics: intervals of the leading figure, and what makes it doubtful."""
    metrics = as_named(metrics)
    rows, leading = metrics["data"]["test_rows"], metrics.get("leading")
    found = metrics.get("intervals", {})
    # Without a rule in the figures of a ranker, and of one rule only where own items are all that is ranked.
    intervals = {model: ends.get(leading, {}) if leading else ends for model, ends in found.items()}
    shown = [
        f"{one_line(model)} {low:.3f} to {high:.3f}"
        for model, ends in intervals.items()
        for low, high in ends.values()
    ]
    notes = ["* the best of its column"]
    if shown:
        metric = next(iter(next(iter(intervals.values()))))
        rule = f", seen items {Seen(leading).word}" if leading else ""
        notes.append(f"95 % intervals of {metric} over users{rule}: {', '.join(shown)}")
    notes += [note_on_had(metrics.get("targets_had", 0), rows), note_on_few(rows)]
    return [f"{note}." for note in notes if note]


def _leading(metrics: dict[str, Any]) -> str:
    return metrics.get("leading", Seen.REMOVED)


def _marked(cell: str, is_best: bool) -> str:
    """A figure, marked in the place of its leading zero if it is the best of its column.

    So digits align, and the table of all usual baselines fits 80 columns.
    """
    return f"*{cell.removeprefix('0')}" if is_best else cell


def _title_of(metrics: dict[str, Any]) -> str:
    return one_line(f"{metrics['recipe']} on {metrics['data']['test_rows']:,} test rows")


def item_table(title: str, rows: Sequence[dict[str, Any]], whole: Collection[str] = ()) -> Table:
    """A table with the keys of the rows as columns, such as items with their scores.

    Args:
        title: title of the table.
        rows: one dictionary for each row; the first key is its name, such as an id.
        whole: columns whose long texts are not cut.
    """
    table = Table(title=one_line(title), title_justify="left")
    columns = list(dict.fromkeys(name for row in rows for name in row))
    texts: list[list[str]] = []
    for i, column in enumerate(columns):
        cells = [_cell(row.get(column)) for row in rows]
        # The first column names the row: its ids may be digits, and differ at the end only.
        is_number = i > 0 and any(cells) and all(_NUMBER.fullmatch(cell) for cell in cells if cell)
        table.add_column(
            _heading(one_line(column)), justify="right" if is_number else "left", overflow="fold"
        )
        texts.append(cells if i == 0 or column in whole else list(map(shortened, cells)))
    for row_of_texts in zip(*texts, strict=True):
        table.add_row(*row_of_texts)
    return table


def shortened(text: str) -> str:
    """A long text without its middle: titles of a series differ at the end.

    >>> shortened("The Lord of the Rings: The Fellowship of the Ring, Extended Edition, Disc 2")
    'The Lord of the Rings: The Fellowship of…nded Edition, Disc 2'
    """
    width = cell_len(text)
    if width <= LONGEST_CELL:
        return text
    kept = LONGEST_CELL * len(text) // width  # characters: those of some scripts take two columns each
    end = kept // 3
    return f"{text[: kept - end]}…{text[-end:]}"


def _heading(name: str) -> str:
    """A metric on two lines, so that a table of several fits 80 columns."""
    return name.replace("@", "\n@")


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, list | tuple):
        return ", ".join(map(one_line, value))
    return "" if value is None else one_line(value)


def comparison_tables(comparison: dict[str, Any]) -> list[Table | str]:
    """Metrics of all models, then for each other model its differences to the reference."""
    title = f"{comparison['rows']:,} test rows of {comparison['users']:,} users"
    tables: list[Table | str] = [item_table(title, _model_rows(comparison))]
    if note := note_on_had(comparison.get("targets_had", 0), comparison["rows"]):
        tables.append(f"{note}.")
    for name, difference in comparison["differences"].items():
        tables += _difference_tables(comparison, name, difference)
    return tables


def _model_rows(comparison: dict[str, Any]) -> list[dict[str, Any]]:
    """One row a model and rule, the leading rule first, baselines last."""
    return [
        {"model": name, "seen": rule.word}
        | {metric: figures[rule][metric] for metric in primary_metrics(figures[rule], of_users=False)}
        for rule in Seen.ordered(comparison["leading"])
        for name, figures in {**comparison["models"], **comparison["baselines"]}.items()
        if rule in figures
    ]


def _difference_tables(
    comparison: dict[str, Any], name: str, difference: dict[str, Any]
) -> list[Table | str]:
    first = comparison["reference"]
    tables: list[Table | str] = [
        item_table(f"{name} less {first}", _interval_rows(comparison, difference)),
        f"* excludes 0. Lists of {comparison['k']}: {difference['common']:.0%} of the items in common.",
    ]
    for kind, model, other in (("gained", name, first), ("lost", first, name)):
        rows = [{key: item[key] for key in _ITEM} for item in difference[kind][:ITEMS_SHOWN]]
        tables.append(item_table(f"Recommended by {model}, not by {other}: most users first", rows))
    return tables


def _interval_rows(comparison: dict[str, Any], difference: dict[str, Any]) -> list[dict[str, Any]]:
    """One row a rule and metric: the difference and its interval."""
    return [
        {
            "metric": metric,
            "seen": rule.word,
            "difference": f"{interval['difference']:+.4f}{' *' if interval['excludes_zero'] else ''}",
            "95 % interval": f"{interval['low']:+.4f} to {interval['high']:+.4f}",
        }
        for rule in Seen.ordered(comparison["leading"])
        if rule in difference["intervals"]
        for metric in primary_metrics(difference["intervals"][rule])
        for interval in [difference["intervals"][rule][metric]]
    ]


def description_tables(description: Description) -> list[Table | str]:
    """Sizes, distributions and columns of a log, then sentences about it."""
    tables: list[Table | str] = [
        item_table(f"{description.name}: {description.rows:,} rows", _sizes(description)),
        item_table("Distributions", _distributions(description)),
        item_table("Columns", [_profile_row(profile) for profile in description.profiles]),
    ]
    sentences = {
        "Guessed": description.guessed,
        "Cleaned": description.cleaned,
        "Refused by a run": description.refused,
        "Advice": description.advice,
    }
    for title, texts in sentences.items():
        if texts:
            tables.append("\n".join([f"{title}:", *(f"- {text}" for text in texts)]))
    return tables


def _sizes(description: Description) -> list[dict[str, Any]]:
    rows = {
        "rows with user and item": f"{description.usable_rows:,}",
        "users": f"{description.users:,}",
        "  with one event": f"{description.single_event_users:,}",
        "items": f"{description.items:,}",
        "density": f"{description.density:.3%}",
        "repeat a pair of user and item": f"{description.repeated_share:.1%}",
        "repeat a whole row": f"{description.exact_duplicates:,}",
    }
    if description.time:
        # A blank between day and hour, where a narrow terminal may break the line.
        rows |= {"from": description.time["first"], "to": description.time["last"]}
        rows |= {end: rows[end].replace("T", " ") for end in ("from", "to")}
        rows["at the time of another event of the user"] = f"{description.equal_times:.1%}"
    for table, lost in description.missing.items():
        rows[f"{table} that the {table} table lacks"] = f"{lost['ids']:,} in {lost['events']:,} rows"
        rows[f"{table} of the table without an event"] = f"{description.never_seen[table]:,}"
    return [{"": name, "figure": value} for name, value in rows.items()]


def _distributions(description: Description) -> list[dict[str, Any]]:
    columns: dict[str, Any] = {
        "events of a user": description.history_lengths,
        "events of an item": description.popularity,
        **({"rating": description.rating} if description.rating else {}),
    }
    figures = ["mean", "min", "p25", "median", "p75", "p90", "p99", "max"]
    rows = [{"": one, **{c: f"{v[one]:,.4g}" for c, v in columns.items()}} for one in figures]
    shares = {
        "gini": "Gini coefficient",
        "top_1_percent": "top 1 % has of all",
        "top_10_percent": "top 10 % has of all",
    }
    return rows + [
        {"": title, "events of an item": f"{description.popularity[one]:.2f}"}
        for one, title in shares.items()
    ]


def _profile_row(profile: Profile) -> dict[str, Any]:
    return {
        "table": profile.table,
        "column": profile.name,
        "type": profile.dtype,
        "nulls": f"{profile.nulls:,}",
        "distinct": f"{profile.distinct:,}",
        "": "empty" if profile.is_empty else "constant" if profile.is_constant else "",
    }


def tournament_tables(metrics: dict[str, Any]) -> list[Table | str]:
    """Entrants of the tournament that chose the model, best first, and who was not judged; else nothing."""
    told = metrics.get("tournament")
    if told is None:
        return []
    judged = [one for one in told["entrants"] if "score" in one]
    rows = [
        {"model": one["name"], "score": _marked(f"{one['score']:.3f}", one["name"] == told["chosen"])}
        | {metric: f"{one['figures'][metric]:.3f}" for metric in told["metrics"]}
        | {"epochs": str(one["epochs"] or "")}
        for one in sorted(judged, key=lambda one: -one["score"])
    ]
    title = f"Tournament on {told['rows']:,} validation rows, seen items {Seen(told['rule']).word}"
    others = [
        f"{one['name']}: {one['state']}: {one['why']}" for one in told["entrants"] if one not in judged
    ]
    return [item_table(title, rows), "\n".join([told["because"], *map(one_line, others)])]


def trial_table(search: dict[str, Any]) -> Table:
    """The best trials of a search, best first, then the number of pruned and failed ones."""
    sign = 1 if is_lower_better(search["metric"]) else -1
    done = [trial for trial in search["trials"] if trial["state"] == "complete"]
    # Stable, so of equal trials the earlier one stays first, as in `Study.best`.
    done.sort(key=lambda trial: sign * trial["value"])
    headings = short_names(list(search["best"]["settings"]))
    rows = [
        {"trial": t["number"], "value": f"{t['value']:.4f}", "seconds": f"{t['seconds']:.1f}"}
        | {heading: _short(t["settings"][path]) for path, heading in headings.items()}
        for t in done[:TRIALS_SHOWN]
    ]
    for state in ("pruned", "failed"):
        if count := sum(trial["state"] == state for trial in search["trials"]):
            rows.append({"trial": f"{count} {state}"})
    return item_table(f"The best trials by {search['metric']} on the validation rows", rows)


def short_names(paths: list[str]) -> dict[str, str]:
    """Last key of each path; the whole path if two have the same last key.

    >>> short_names(["training.epochs", "model.dropout"])
    {'training.epochs': 'epochs', 'model.dropout': 'dropout'}
    """
    last = {path: path.rpartition(".")[2] for path in paths}
    words = list(last.values())
    return {path: word if words.count(word) == 1 else path for path, word in last.items()}


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def fold_table(validation: dict[str, Any], metric: str) -> Table:
    """One metric of a cross-validation, a row a model; with many folds mean and spread alone."""
    digits = 3 if validation["seen"] else 4  # errors of rankers differ in the fourth digit
    rows = []
    for model, figures in validation["figures"].items():
        summary = figures[metric]
        folds = summary["folds"] if validation["folds"] <= FOLDS_SHOWN else []
        cells = {f"{i + 1}": value for i, value in enumerate(folds)}
        cells |= {"mean": summary["mean"], "spread": summary["spread"]}
        rows.append({"model": model} | {name: f"{value:.{digits}f}" for name, value in cells.items()})
    return item_table(metric, rows)
