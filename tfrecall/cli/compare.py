"""`tfrecall compare`: releases on the same test rows."""

import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tfrecall.cli.options import Json, app, data_overrides, guarded
from tfrecall.errors import ConfigError
from tfrecall.evaluation.summary import headline
from tfrecall.schema.baselines import BASELINES

if TYPE_CHECKING:
    from tfrecall.release import Release


@app.command()
@guarded
def compare(
    releases: Annotated[
        list[str],
        typer.Argument(
            help="Release directories, the reference first; DIRECTORY@2 is its version 2. Two or more, or "
            "one with --baseline."
        ),
    ],
    baselines: Annotated[
        list[str] | None,
        typer.Option(
            "--baseline",
            help="A baseline to fit on the training rows of the releases and to compare as they are; "
            f"repeatable: {', '.join(BASELINES)}.",
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="The log or MovieLens folder, if not where the runs found it.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Also write a page to look at.")] = None,
    as_json: Json = False,
) -> None:
    """Releases side by side on the same test rows: figures, intervals, and what each recommends."""
    from tfrecall.baselines.registry import make_baselines
    from tfrecall.cli.console import Narrator, import_tensorflow, item_table, show

    added = baselines or []
    make_baselines(added)  # refuses a wrong name before anything takes time
    loaded = _load(releases, added)
    import_tensorflow()
    with redirect_stdout(sys.stderr):
        from tfrecall.evaluation.comparison import compare as judge
        from tfrecall.report import comparison_page, write_page
        from tfrecall.runs.same_rows import same_rows

        narrator = Narrator()
        with narrator.step("Prepare the data"):
            overrides = (text.removeprefix("data.").partition("=") for text in data_overrides(data))
            settings = {key: json.loads(value) for key, _, value in overrides}
            prepared, config = same_rows(loaded, settings, narrator)
        with narrator.step("Judge each one and compare"):
            compared = judge(
                loaded,
                prepared.test,
                seen=prepared.known,
                ks=config.evaluation.ks,
                leading=_leading(next(iter(loaded.values()))),
                baselines=added,
                beside=config.evaluation.baselines,
                progress=narrator,
            ).to_dict()
        if html is not None:
            write_page(html, comparison_page(compared))
    tables: list[Any] = [item_table(_title(compared), _rows(compared))]
    for name, difference in compared["differences"].items():
        tables += _difference_tables(compared, name, difference)
    if html is not None:
        tables.append(f"The same and more to look at: {html}")
    show({**compared, "html": html and str(html)}, as_json, *tables)


_ITEM = ("item_id", "title", "users", "train_rows")


def _load(names: list[str], baselines: list[str]) -> dict[str, "Release"]:
    """Releases by a short name of their own."""
    from tfrecall.release import load

    if len(names) + len(baselines) < 2 or len(set(names)) < len(names):
        raise ConfigError(
            "Name two or more different releases, or one and a `--baseline`. Received: "
            f"{', '.join(names)}."
        )
    return {label: load(*_versioned(name)) for label, name in named(names).items()}


def named(names: list[str]) -> dict[str, str]:
    """Releases by the last part of their path, or by all of it where that is not enough."""
    short = [Path(name).name for name in names]
    taken = [*short, *BASELINES]
    return {s if taken.count(s) == 1 else n: n for s, n in zip(short, names, strict=True)}


def _versioned(name: str) -> tuple[Path, int | None]:
    directory, at, version = name.rpartition("@")
    if at and version.isdecimal() and not Path(name).exists():
        return Path(directory), int(version)
    return Path(name), None


def _leading(release: "Release") -> str:
    """The rule that leads the tables of a run; a saved baseline has no run."""
    from tfrecall.release.manifest import documents

    try:
        return json.loads(documents(release.root, release.manifest)["metrics.json"])["leading"]
    except (ValueError, KeyError):
        return "seen_removed" if release.exclude_seen else "seen_kept"


def _title(compared: dict[str, Any]) -> str:
    return f"{compared['rows']:,} test rows of {compared['users']:,} users"


def _rows(compared: dict[str, Any]) -> list[dict[str, Any]]:
    """One row a model and rule, the leading rule first, what stands beside last."""
    return [
        {"model": name, "seen": rule.removeprefix("seen_")}
        | {metric: figures[rule][metric] for metric in headline(figures[rule], of_users=False)}
        for rule in _rules(compared)
        for name, figures in {**compared["models"], **compared["baselines"]}.items()
    ]


def _difference_tables(compared: dict[str, Any], name: str, difference: dict[str, Any]) -> list[Any]:
    from tfrecall.cli.console import item_table

    first = compared["reference"]
    tables: list[Any] = [item_table(f"{name} less {first}", _intervals(compared, difference))]
    tables.append(
        f"* excludes 0. Lists of {compared['k']}: {difference['common']:.0%} of the items in common."
    )
    for kind, who, other in (("gained", name, first), ("lost", first, name)):
        rows = [{key: item[key] for key in _ITEM} for item in difference[kind][:5]]
        tables.append(item_table(f"Recommended by {who}, not by {other}: most users first", rows))
    return tables


def _intervals(compared: dict[str, Any], difference: dict[str, Any]) -> list[dict[str, Any]]:
    """One row a rule and metric: the difference and its interval."""
    return [
        {
            "metric": metric,
            "seen": rule.removeprefix("seen_"),
            "difference": f"{found['difference']:+.4f}{' *' if found['excludes_zero'] else ''}",
            "95 % interval": f"{found['low']:+.4f} to {found['high']:+.4f}",
        }
        for rule in _rules(compared)
        for metric in headline(difference["intervals"][rule])
        for found in [difference["intervals"][rule][metric]]
    ]


def _rules(compared: dict[str, Any]) -> list[str]:
    return sorted(("seen_removed", "seen_kept"), key=lambda rule: rule != compared["leading"])
