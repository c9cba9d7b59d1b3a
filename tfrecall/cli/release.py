"""Commands that ask a release or change its version: `recommend`, `similar`, `rollback`."""

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from tfrecall.cli.options import (
    Columns,
    EngineOptions,
    Excluded,
    IndexName,
    Json,
    KeepSeen,
    PartsEngine,
    Processes,
    ReleasePath,
    TopK,
    Trust,
    app,
    engine_for_parts,
    guarded,
    json_features,
)
from tfrecall.errors import ConfigError


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
    exclude: Excluded = None,
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
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """The best items for users."""
    from tfrecall.cli.console import import_tensorflow, opened, show, waiting

    with waiting(f"Open {release}"):
        from tfrecall.cli.answers import Answers, check_stages, label_columns, with_history

    queries: list[Any] = [*(user or []), *map(json_features, features or [])]
    if not queries and history is None:
        raise ConfigError("Nobody to recommend to. Give --user ID, --features JSON or --history IDS.")
    loaded = opened(release, trust)
    past = None if history is None else [item for item in history.split(",") if item]
    if past is not None:
        queries = [with_history(loaded, queries, past)]
    details: dict[str, Any] = {"details": True} if stages else {}  # an option of pipelines alone
    if stages:
        check_stages(loaded)
    if loaded.needs_tensorflow:
        import_tensorflow()
    with waiting(f"Ask {release}"):
        recommendations = loaded.recommend(
            queries,
            k,
            exclude=exclude or [],
            exclude_seen=None if keep_seen is None else not keep_seen,
            index=index,
            columns=column or label_columns(loaded),
            **details,
        )
        answers = Answers(loaded, queries, recommendations, k, past, explain, exclude or [])
        shown = [*answers.notes(seen_rule_given=keep_seen is not None), *answers.tables()]
    show({"release": str(release), **answers.to_dict()}, as_json, *shown)


@app.command("recommend-all")
@guarded
def recommend_everyone(
    release: ReleasePath,
    out: Annotated[
        Path, typer.Option(help="The Parquet file to write; with an engine, a new directory.")
    ] = Path("recommendations.parquet"),
    k: TopK = 10,
    users: Annotated[
        Path | None,
        typer.Option(
            help="A text file, one user id a line, or a table (CSV, Parquet, JSON) of at most 256 MB; by "
            "default all users."
        ),
    ] = None,
    user_column: Annotated[
        str | None, typer.Option(help="With a table of users, the name of their column.")
    ] = None,
    exclude: Excluded = None,
    keep_seen: KeepSeen = None,
    index: IndexName = None,
    engine: PartsEngine = None,
    processes: Processes = None,
    engine_option: EngineOptions = None,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """The best items for all users, as Parquet: user_id, rank, item_id, score."""
    from tfrecall.batch import recommend_all
    from tfrecall.cli.answers import unknown_exclusions
    from tfrecall.cli.console import Narrator, import_tensorflow, opened, show, waiting
    from tfrecall.cli.user_lists import asked_users

    chosen = engine_for_parts(engine, processes, engine_option)
    loaded = opened(release, trust)
    if loaded.needs_tensorflow and chosen is None:
        import_tensorflow()
    with waiting(f"Ask {release}"):
        bulk = recommend_all(
            loaded,
            None if users is None else asked_users(users, user_column),
            k,
            out,
            exclude=exclude or [],
            exclude_seen=None if keep_seen is None else not keep_seen,
            index=index,
            engine=chosen,
            trust=trust,
            progress=Narrator(),
        )
    text = f"{bulk.rows:,} recommendations for {bulk.users:,} users in {bulk.file}"
    if bulk.unknown:
        text += f", {bulk.unknown:,} of them without events in training"
    notes = unknown_exclusions(loaded, exclude or [])
    show({"release": str(release), **vars(bulk)}, as_json, *notes, f"{text}.")


@app.command("embed")
@app.command("export-vectors", hidden=True)
@guarded
def export_vectors(
    release: ReleasePath,
    out: Annotated[Path, typer.Option(help="The directory to write; new, or of an earlier export.")],
    column: Annotated[
        list[str] | None,
        typer.Option("--column", help="Column of the item table to write beside; repeatable."),
    ] = None,
    users: Annotated[bool, typer.Option(help="Write the vectors of users, too.")] = True,
    engine: PartsEngine = None,
    processes: Processes = None,
    engine_option: EngineOptions = None,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Ids and vectors of items and users as Parquet files, for a vector database."""
    from tfrecall.batch.vectors import export_vectors as write
    from tfrecall.cli.console import Narrator, import_tensorflow, opened, show, waiting

    chosen = engine_for_parts(engine, processes, engine_option)
    loaded = opened(release, trust)
    if users and chosen is None:
        import_tensorflow()
    with waiting(f"Ask {release}"):
        facts = write(
            loaded,
            out,
            columns=column or [],
            users=users,
            engine=chosen,
            trust=trust,
            progress=Narrator(),
        )
    text = (
        f"{facts['items']:,} items and {facts['users']:,} users in {out}: {facts['dimension']} numbers "
        f"each, to compare by {facts['metric'].replace('_', ' ')}."
    )
    show({"release": str(release), "out": str(out), **facts}, as_json, text)


@app.command()
@guarded
def similar(
    release: ReleasePath,
    item: Annotated[str | None, typer.Argument(help="Item id.")] = None,
    title: Annotated[
        str | None,
        typer.Option(help="The item's title in place of its id, or the part of it that only one has."),
    ] = None,
    k: TopK = 10,
    score: Annotated[
        str | None,
        typer.Option(help="cosine, or inner: the inner product, which favours popular items."),
    ] = None,
    index: IndexName = None,
    column: Columns = None,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """The items most similar to an item."""
    from tfrecall.cli.answers import item_rows, label_columns, titled_item
    from tfrecall.cli.console import opened, show, waiting
    from tfrecall.cli.tables import item_table

    if (item is None) == (title is None):
        raise ConfigError(
            "Name one item, by its id or by --title. Received: "
            + ("neither." if item is None else f"the id {item!r} and the title {title!r}.")
        )
    loaded = opened(release, trust)
    item_id = cast(str, item) if title is None else titled_item(loaded, title)
    # The release refuses other scores.
    by = cast(Any, score)
    with waiting(f"Ask {release}"):
        answer = loaded.similar_items(
            item_id, k, score=by, index=index, columns=column or label_columns(loaded)
        )
    named = item_id if title is None else f"{loaded.item_names()[item_id]} ({item_id})"
    table = item_table(f"Similar to {named}", item_rows(answer))
    show({"release": str(release), **vars(answer)}, as_json, table)


@app.command()
@guarded
def rollback(
    release: ReleasePath,
    to: Annotated[
        int | None, typer.Option(help="Version to make current; by default the one before it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make an earlier version of a release current again; services change to it by themselves."""
    from tfrecall.cli.console import show
    from tfrecall.release.layout import make_current
    from tfrecall.release.manifest import read_manifest, versions

    before = read_manifest(release)["version"]
    now = make_current(release, to)
    answer = {"release": str(release), "version": now, "before": before, "versions": versions(release)}
    show(answer, as_json, f"Version {now} of {release} is current; it was {before}.")
