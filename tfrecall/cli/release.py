"""Commands that ask a release: `recommend`, `recommend-all`, `export-vectors`, `similar`, `index`."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tfrecall.cli.options import (
    Columns,
    IndexName,
    Json,
    ReleasePath,
    TopK,
    app,
    guarded,
    json_features,
)
from tfrecall.errors import ConfigError, DataError

if TYPE_CHECKING:
    from tfrecall.release.retriever import Recommendation, Release

KeepSeen = Annotated[
    bool | None,
    typer.Option(
        help="Whether lists may hold what the user had; by default as the run found in the log."
    ),
]


@app.command()
@guarded
def recommend(
    release: ReleasePath,
    user: Annotated[list[str] | None, typer.Option(help="User id; repeatable.")] = None,
    features: Annotated[
        list[str] | None,
        typer.Option(
            help='Query features as JSON, repeatable: \'{"user_id": "42", "raw_user_age": 30}\'.'
        ),
    ] = None,
    history: Annotated[
        str | None,
        typer.Option(
            help="Ids of what somebody never seen has had, or the one who is named: a,b,c, oldest first."
        ),
    ] = None,
    k: TopK = 10,
    exclude: Annotated[list[str] | None, typer.Option(help="Item id not wanted; repeatable.")] = None,
    keep_seen: KeepSeen = None,
    index: IndexName = None,
    column: Columns = None,
    stages: Annotated[
        bool,
        typer.Option("--stages", help="Of a pipeline: the candidates too, and what each stage took."),
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say what speaks for each: items the user had, features.")
    ] = False,
    as_json: Json = False,
) -> None:
    """The best items for users."""
    from tfrecall.cli.console import import_tensorflow, item_table, show
    from tfrecall.cli.example import as_facts, explained, in_words, label_columns, names_of, rows_of
    from tfrecall.cli.pipeline import told_of_stages
    from tfrecall.release import load

    queries: list[Any] = [*(user or []), *map(json_features, features or [])]
    if not queries and history is None:
        raise ConfigError("Nobody to recommend to. Give --user ID, --features JSON or --history IDS.")
    loaded = load(release)
    had = None if history is None else [item for item in history.split(",") if item]
    if had is not None:
        queries = [_with_history(loaded, queries, had)]
    if loaded.needs_tensorflow:
        import_tensorflow()
    answers = loaded.recommend(
        queries,
        k,
        exclude=exclude or [],
        exclude_seen=None if keep_seen is None else not keep_seen,
        index=index,
        columns=column or label_columns(loaded),
        **_details(loaded, stages),
    )
    tables: list[Any] = []
    if keep_seen is None and not loaded.exclude_seen:
        tables.append(
            "Users of this log come back to items: lists keep what they had (--no-keep-seen)."
        )
    strange = sorted(set(had or []) - set(loaded.item_ids))
    if strange:
        tables.append(f"Not in the catalogue, so they count for nothing: {', '.join(strange)}.")
    reasons = explained(loaded, queries, answers) if explain else [[] for _ in answers]
    names = names_of(loaded) if explain else {}
    if explain and loaded.needs_tensorflow:
        tables.append(
            "Because of what: how much the score falls without it alone. That need not add up to the score."
        )
    for answer, told in zip(answers, reasons, strict=True):
        rows = rows_of(answer)
        for row, reason in zip(rows, told, strict=False):  # none where nobody asked for them
            row["because of"] = in_words(names, reason)
        title = _title(loaded, answer, had)
        tables.append(item_table(title, rows) if rows else f"{title}: no items are left.")
        tables += told_of_stages(loaded, answer, k)
    given: dict[str, Any] = {} if had is None else {"history": had, "not_in_catalogue": strange}
    if explain:
        given["explanations"] = [list(map(as_facts, told)) for told in reasons]
    answered = {"release": str(release), **given, "recommendations": [vars(a) for a in answers]}
    show(answered, as_json, *tables)


@app.command("recommend-all")
@guarded
def recommend_everyone(
    release: ReleasePath,
    out: Annotated[Path, typer.Option(help="The Parquet file to write.")] = Path(
        "recommendations.parquet"
    ),
    k: TopK = 10,
    users: Annotated[
        Path | None, typer.Option(help="A text file, one user id a line; by default all users.")
    ] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="Item id not wanted; repeatable.")] = None,
    keep_seen: KeepSeen = None,
    index: IndexName = None,
    as_json: Json = False,
) -> None:
    """The best items for all users, as a Parquet file: user_id, rank, item_id, score."""
    from tfrecall.cli.console import Narrator, import_tensorflow, show
    from tfrecall.release import load

    loaded, narrator = load(release), Narrator()
    if loaded.needs_tensorflow:
        import_tensorflow()
    done = loaded.recommend_all(
        None if users is None else _lines(users),
        k,
        out,
        exclude=exclude or [],
        exclude_seen=None if keep_seen is None else not keep_seen,
        index=index,
        progress=narrator,
    )
    told = f"{done.rows:,} recommendations for {done.users:,} users in {done.file}"
    if done.unknown:
        told += f", {done.unknown:,} of them without events in training"
    show({"release": str(release), **vars(done)}, as_json, f"{told}.")


@app.command("export-vectors")
@guarded
def export_vectors(
    release: ReleasePath,
    out: Annotated[Path, typer.Option(help="The directory to write; new, or of an earlier export.")],
    column: Annotated[
        list[str] | None,
        typer.Option("--column", help="Column of the item table to write beside; repeatable."),
    ] = None,
    users: Annotated[bool, typer.Option(help="Write the vectors of users, too.")] = True,
    as_json: Json = False,
) -> None:
    """Ids and vectors of items and users as Parquet files, for a vector database."""
    from tfrecall.batch.vectors import export_vectors as write
    from tfrecall.cli.console import import_tensorflow, show
    from tfrecall.release import load

    loaded = load(release)
    if users:
        import_tensorflow()
    facts = write(loaded, out, columns=column or [], users=users)
    told = (
        f"{facts['items']:,} items and {facts['users']:,} users in {out}: {facts['dimension']} numbers "
        f"each, to compare by {facts['metric'].replace('_', ' ')}."
    )
    show({"release": str(release), "out": str(out), **facts}, as_json, told)


@app.command()
@guarded
def similar(
    release: ReleasePath,
    item: Annotated[str, typer.Argument(help="Item id.")],
    k: TopK = 10,
    index: IndexName = None,
    column: Columns = None,
    as_json: Json = False,
) -> None:
    """The items most similar to an item."""
    from tfrecall.cli.console import item_table, show
    from tfrecall.cli.example import label_columns, rows_of
    from tfrecall.release import load

    loaded = load(release)
    answer = loaded.similar_items(item, k, index=index, columns=column or label_columns(loaded))
    table = item_table(f"Similar to {item}", rows_of(answer))
    show({"release": str(release), **vars(answer)}, as_json, table)


@app.command("index")
@guarded
def index_release(
    release: ReleasePath,
    n_trees: Annotated[int | None, typer.Option(help="Build Annoy again with this many trees.")] = None,
    target_recall: Annotated[float | None, typer.Option(help="Tune search_k to this recall.")] = None,
    as_json: Json = False,
) -> None:
    """Show recall and latency of the Annoy index, or build it again as a new version."""
    from tfrecall.cli.console import item_table, show
    from tfrecall.index import Annoy
    from tfrecall.release import load

    loaded = load(release)
    if n_trees is not None or target_recall is not None:
        from tfrecall.release.reindex import reindex

        now = loaded.bundle.annoy.settings if loaded.bundle.annoy else Annoy()
        asked = {"n_trees": n_trees, "target_recall": target_recall}
        wanted: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
        loaded = reindex(release, replace(now, search_k=None, **wanted))
    tuning = loaded.bundle.tuning
    answer = {
        "release": str(release),
        "version": loaded.version,
        "default": loaded.bundle.default,
        "index": loaded.bundle.summary(),
        "tuning": tuning,
    }
    show(answer, as_json, item_table(f"Annoy index of {release}", tuning.get("rows", [])))


def _with_history(release: "Release", queries: list[Any], had: list[str]) -> dict[str, Any]:
    """The one query, or that of somebody never seen, with what the user had."""
    lists = release.people.item_lists
    if not lists:
        raise ConfigError(
            f"The model of {release.root} does not look at what users had, so --history says nothing to "
            "it. Leave it out, or train one with a History in `schema.query`."
        )
    if "history" not in lists and len(lists) > 1:
        raise ConfigError(
            f"The model of {release.root} takes the lists {', '.join(lists)}. Say which with --features: "
            f"'{json.dumps({lists[0]: had})}'."
        )
    if len(queries) > 1:
        raise ConfigError(
            f"--history says what one user had. Received {len(queries)} users. Name one, or give each "
            "list with --features."
        )
    (query,) = queries or [{}]
    query = {"user_id": query} if isinstance(query, str) else query
    return {**query, "history" if "history" in lists else lists[0]: had}


def _details(release: "Release", wanted: bool) -> dict[str, Any]:
    if wanted and release.manifest.get("kind") != "pipeline":
        raise ConfigError(
            f"--stages is told of pipelines. {release.root} is a release of "
            f"{release.manifest['model']['type']}: leave it out."
        )
    return {"details": True} if wanted else {}


def _title(release: "Release", answer: "Recommendation", had: list[str] | None) -> str:
    if answer.known:
        return f"Recommended to user {answer.user_id}"
    whom = "somebody new" if answer.user_id is None else f"user {answer.user_id}"
    if not release.needs_tensorflow:
        of_what = "the history alone" if had else "nothing, for no history is known"
        return f"Recommended to {whom} (unknown: answered from {of_what})"
    of_what = "features" if not had else "the history, features"
    return f"Recommended to {whom} (unknown: answered from {of_what} and the unknown row)"


def _lines(file: Path) -> Iterator[str]:
    """The lines of a file that are not empty, read as they are wanted."""
    try:
        with file.open(encoding="utf-8") as lines:
            yield from (line.rstrip("\r\n") for line in lines if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The users in {file} cannot be read: {error}.") from error
