"""`tfrecall pipeline`: a retriever and a ranker become one release."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tfrecall.cli.options import Json, app, guarded
from tfrecall.errors import ConfigError

if TYPE_CHECKING:
    from tfrecall.core.results import Recommendation
    from tfrecall.release.retriever import Release
    from tfrecall.release.rules import Boost


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
    as_json: Json = False,
) -> None:
    """Join a retriever and a ranker into one release, which `recommend` asks like any other."""
    from tfrecall.cli.console import import_tensorflow, show
    from tfrecall.release import load
    from tfrecall.release.rules import Rules

    caps = dict(_cap(text) for text in cap or [])
    rules = Rules(diversity, caps, tuple(_boost(text) for text in boost or []))
    stages = [load(path) for path in (retrieval, ranker)]
    import_tensorflow()
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
    told = (
        f"{release.name} in {out}, version {release.version}: {release.n_candidates} of "
        f"{len(release.item_ids):,} items are ranked. Ask it with `tfrecall recommend {out} --user ID`."
    )
    show(answer, as_json, told)


def told_of_stages(release: "Release", answer: "Recommendation", k: int) -> list[str]:
    """Of a pipeline: why a list is short, and what the stages did, if that was asked for."""
    from tfrecall.core.results import StagedRecommendation
    from tfrecall.release.pipeline import TwoStages

    if not isinstance(release, TwoStages):
        return []
    told = []
    if 0 < len(answer.item_ids) < k:
        told.append(
            f"{len(answer.item_ids)} of the {k} wanted: no other candidate of {release.n_candidates} is left."
        )
    if isinstance(answer, StagedRecommendation):
        times = ", ".join(f"{name} {taken:.1f} ms" for name, taken in answer.milliseconds.items())
        told.append(f"{len(answer.candidates)} candidates: {', '.join(answer.candidates)}.")
        told.append(f"All queries together took: {times}.")
    return told


def _cap(text: str) -> tuple[str, int]:
    column, _, number = text.rpartition("=")
    if not column or not number.isdecimal():
        raise ConfigError(f"--cap takes COLUMN=NUMBER, such as genres=3. Received: {text!r}.")
    return column, int(number)


def _boost(text: str) -> "Boost":
    from tfrecall.release.rules import Boost

    what, _, number = text.rpartition("=")
    column, _, value = what.partition(":")
    try:
        return Boost(float(number), column=column or None, values=(value,) if value else ())
    except ValueError as error:  # also what `Boost` refuses
        raise ConfigError(
            f"--boost takes COLUMN:VALUE=NUMBER, such as genres:Drama=0.2. Received: {text!r}."
        ) from error
