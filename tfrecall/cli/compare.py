"""`tfrecall compare`: releases on the same test rows."""

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from tfrecall.cli.options import Json, MovedLog, Trust, app, data_settings, guarded
from tfrecall.errors import ConfigError
from tfrecall.release.layout import previous_version
from tfrecall.schema.baselines import BASELINES


@app.command()
@guarded
def compare(
    releases: Annotated[
        list[str],
        typer.Argument(
            help="Release directories, the reference first; DIRECTORY@2 is its version 2, DIRECTORY@previous "
            "the one before the current. Two or more, or one with --baseline."
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
    data: MovedLog = None,
    html: Annotated[Path | None, typer.Option(help="Also write a page to look at.")] = None,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Releases side by side on the same test rows: figures, intervals, and what each recommends."""
    from tfrecall.baselines.registry import make_baselines
    from tfrecall.cli.console import STARTING, Narrator, import_tensorflow, show, waiting
    from tfrecall.cli.tables import comparison_tables
    from tfrecall.release import load

    added = baselines or []
    make_baselines(added)  # refuses a wrong name before TensorFlow is imported and data are read
    paths = _release_paths(releases, added)
    with waiting("Open the releases"):
        loaded = {name: load(*version_of(path), trust=trust) for name, path in paths.items()}
    import_tensorflow()
    with redirect_stdout(sys.stderr):
        with waiting(STARTING):
            from tfrecall.evaluation.comparison import compare as compare_releases
            from tfrecall.report import comparison_page, write_page
            from tfrecall.runs.comparable import comparable, rule_of_run

        narrator, first = Narrator(), next(iter(loaded.values()))
        with narrator.step("Prepare the data"):
            splits, config = comparable(loaded, data_settings(data), narrator)
        with narrator.step("Judge each one and compare"):
            comparison = compare_releases(
                loaded,
                splits.test,
                seen=splits.learned,
                history=splits.history,
                ks=config.evaluation.ks,
                leading=rule_of_run(first),
                baselines=added,
                beside=config.evaluation.baselines,
                progress=narrator,
            ).to_dict()
        if html is not None:
            write_page(html, comparison_page(comparison))
    tables = comparison_tables(comparison)
    if html is not None:
        tables.append(f"The same and more to look at: {html}")
    show({**comparison, "html": html and str(html)}, as_json, *tables)


def _release_paths(names: list[str], baselines: list[str]) -> dict[str, str]:
    """Unique short name of each release -> its path."""
    if len(names) + len(baselines) < 2 or len(set(names)) < len(names):
        raise ConfigError(
            "Name two or more different releases, or one and a `--baseline`. Received: "
            f"{', '.join(names)}."
        )
    return named(names)


def named(names: list[str]) -> dict[str, str]:
    """Name releases by the last part of their path, or by the whole path if that is not unique.

    >>> named(["old/two_tower", "two_tower@2"])
    {'two_tower': 'old/two_tower', 'two_tower@2': 'two_tower@2'}
    """
    short = [Path(name).name for name in names]
    # A release in a directory `popularity` would share a column with the baseline of that name.
    taken = [*short, *BASELINES]
    return {s if taken.count(s) == 1 else n: n for s, n in zip(short, names, strict=True)}


def version_of(name: str) -> tuple[Path, int | None]:
    """Path and version of DIRECTORY@2 or DIRECTORY@previous; the version is None if none is given."""
    directory, at, version = name.rpartition("@")
    # A directory may itself be called `model@2`: an existing path is taken as it is.
    if not at or Path(name).exists():
        return Path(name), None
    if version == "previous":
        return Path(directory), previous_version(Path(directory))
    return (Path(directory), int(version)) if version.isdecimal() else (Path(name), None)
