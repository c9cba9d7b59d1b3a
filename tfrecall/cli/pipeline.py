"""`tfrecall pipeline`: a retriever and a ranker become one release."""

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from tfrecall.cli.options import Json, Trust, app, guarded
from tfrecall.errors import ConfigError


@app.command()
@guarded
def pipeline(
    retrieval: Annotated[Path, typer.Argument(help="The release of a retriever.")],
    ranker: Annotated[Path, typer.Argument(help="The release of a ranker, of the same items.")],
    out: Annotated[Path, typer.Option(help="The release directory to write.")],
    candidates: Annotated[
        int, typer.Option(help="How many items the retriever hands to the ranker.")
    ] = 200,
    k: Annotated[
        int, typer.Option("-k", help="Length of the lists of the SavedModel's default signature.")
    ] = 10,
    diversity: Annotated[
        float, typer.Option(help="From 0 to 1: how much unlikeness counts beside the score.")
    ] = 0.0,
    cap: Annotated[
        list[str] | None,
        typer.Option(help="Items of a list with the same value of a column: genres=3; repeatable."),
    ] = None,
    boost: Annotated[
        list[str] | None,
        typer.Option(help="Added to scores by a column's value: genres:Drama=0.2; repeatable."),
    ] = None,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Join a retriever and a ranker into one release, which `recommend` asks like any other."""
    from tfrecall.cli.console import import_tensorflow, show, waiting
    from tfrecall.cli.program import command
    from tfrecall.release import load
    from tfrecall.release.rules import Boost, Rules

    caps = dict(_cap(text) for text in cap or [])
    rules = Rules(diversity, caps, tuple(Boost(**_boost(text)) for text in boost or []))
    with waiting(f"Open {retrieval} and {ranker}"):
        stages = [load(path, trust=trust) for path in (retrieval, ranker)]
    # After the cheap checks, for errors without the seconds of a TensorFlow import.
    import_tensorflow()
    with waiting("Join, export and compare in a fresh process"):
        from tfrecall.exporting.pipeline import Pipeline, export_pipeline

        joined = Pipeline(*stages, n_candidates=candidates, rules=rules)  # type: ignore[arg-type]
        facts = {"joined": {"retrieval": str(retrieval), "ranker": str(ranker)}}
        release = export_pipeline(joined, out, k=k, facts=facts)
    answer = {
        "release": str(out),
        "version": release.version,
        "model": release.manifest["model"],
        "pipeline": release.manifest["pipeline"],
        "round_trip": release.manifest["round_trip"],
    }
    text = (
        f"{release.name} in {out}, version {release.version}: {release.n_candidates} of "
        f"{len(release.item_ids):,} items are ranked. Ask it: {command('recommend', out, '--user', 'ID')}"
    )
    show(answer, as_json, text)


def _cap(text: str) -> tuple[str, int]:
    column, _, number = text.rpartition("=")
    if not column or not number.isdecimal():
        raise ConfigError(f"--cap takes COLUMN=NUMBER, such as genres=3. Received: {text!r}.")
    return column, int(number)


def _boost(text: str) -> dict[str, Any]:
    """Arguments of `Boost` for COLUMN:VALUE=NUMBER."""
    # From the right for the number, from the left for the column: a value may hold "=" and ":".
    what, _, number = text.rpartition("=")
    column, _, value = what.partition(":")
    try:
        by = float(number)
    except ValueError:
        by = math.nan
    if not (column and value and math.isfinite(by)):
        raise ConfigError(
            f"--boost takes COLUMN:VALUE=NUMBER, such as genres:Drama=0.2. Received: {text!r}."
        )
    return {"by": by, "column": column, "values": (value,)}
