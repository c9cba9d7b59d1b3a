"""`tfrecall drift`: what changed between two releases, for people and schedulers."""

from typing import Annotated, Any

import typer

from tfrecall.cli.compare import version_of
from tfrecall.cli.exits import DRIFTED
from tfrecall.cli.options import Json, Trust, app, guarded

_Share = Annotated[float | None, typer.Option(help="Largest share that ends with status 0.")]


@app.command()
@guarded
def drift(
    old: Annotated[
        str,
        typer.Argument(
            help="The release before; DIRECTORY@2 is its version 2, DIRECTORY@previous the one before the "
            "current."
        ),
    ],
    new: Annotated[str, typer.Argument(help="The release after, likewise.")],
    k: Annotated[int, typer.Option("-k", help="Length of the lists that are compared.")] = 10,
    users: Annotated[int, typer.Option(help="How many users' lists are compared.")] = 1000,
    max_unknown_items: _Share = None,
    max_unknown_users: _Share = None,
    max_popularity_shift: _Share = None,
    max_score_shift: _Share = None,
    min_overlap: Annotated[
        float | None, typer.Option(help="Smallest overlap of lists that ends with status 0.")
    ] = None,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Drift between two releases: new ids, popularity, scores and lists.

    Where a limit is given and crossed, the command ends with status 4, so that a scheduler stops.
    """
    from tfrecall.cli.console import import_tensorflow, show, stderr, waiting
    from tfrecall.cli.tables import item_table
    from tfrecall.evaluation.drift import LIMITS
    from tfrecall.evaluation.drift import drift as measure
    from tfrecall.release import load

    given = (max_unknown_items, max_unknown_users, max_popularity_shift, max_score_shift, min_overlap)
    limits = {name: limit for name, limit in zip(LIMITS, given, strict=True) if limit is not None}
    with waiting("Open the releases"):
        loaded = [load(*version_of(name), trust=trust) for name in (old, new)]
    if any(release.needs_tensorflow for release in loaded):
        import_tensorflow()
    with waiting("Compare lists"):
        found = measure(*loaded, k=k, users=users)
    crossed = found.crossed(limits)
    answer = {**found.to_dict(), "crossed": crossed}
    show(answer, as_json, item_table(f"{old} -> {new}", _rows(found)))
    for sentence in crossed:
        stderr.print(f"Drift: {sentence}.")
    if crossed:
        raise typer.Exit(DRIFTED)


def _rows(found: Any) -> list[dict[str, Any]]:
    """Lines of the table for people."""
    lines = {}
    for name in ("items", "users"):
        change = getattr(found, name)
        lines[name] = (
            f"{change.before:,} -> {change.after:,}: {change.added:,} new, {change.gone:,} gone"
        )
    lines["events with new items"] = _share(found.unknown_items)
    lines["events by new users"] = _share(found.unknown_users)
    lines["shift of popularity"] = _share(found.popularity_shift)
    lines[f"overlap of lists of {found.k}"] = f"{_share(found.overlap)} ({found.compared:,} users)"
    lines["users with the same list"] = _share(found.same_lists)
    if found.best_scores:
        before, after = found.best_scores
        lines["median best score"] = f"{before:.3f} -> {after:.3f}"
    lines["shift of best scores"] = _share(found.score_shift)
    return [{"figure": name, "value": value} for name, value in lines.items()]


def _share(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3f}"
