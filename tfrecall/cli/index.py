"""The command `index`: the indexes of a release, built again, and other items."""

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from tfrecall.cli.options import Json, ReleasePath, Trust, app, guarded
from tfrecall.errors import ConfigError


@app.command("index")
@guarded
def index_release(
    release: ReleasePath,
    index: Annotated[
        str | None,
        typer.Option(
            help="Build this index: exact alone, annoy, faiss or scann beside it, or auto, which follows the "
            "number of items and the packages installed."
        ),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            help="Numbers that exact search reads: float32, bfloat16 or int8. Answers are the same."
        ),
    ] = None,
    n_trees: Annotated[int | None, typer.Option(help="Trees of Annoy.")] = None,
    shards: Annotated[
        int | None,
        typer.Option(help="Forests of Annoy over parts of the catalogue, searched in parallel."),
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="Method of faiss: ivf_flat, ivf_pq or hnsw.")
    ] = None,
    target_recall: Annotated[float | None, typer.Option(help="Tune search_k to this recall.")] = None,
    add: Annotated[
        Path | None,
        typer.Option(
            help="A table of new items (CSV, Parquet, JSON) with the columns of the candidate features: their "
            "vectors come from the exported candidate model, without training."
        ),
    ] = None,
    remove: Annotated[
        list[str] | None,
        typer.Option(help="Ids of items to take out of the catalogue: a,b,c; repeatable."),
    ] = None,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Show recall and latency of the approximate index; as a new version build another, add or remove items."""
    from tfrecall.cli.console import import_tensorflow, opened, show, waiting
    from tfrecall.cli.tables import item_table
    from tfrecall.index.choice import settings_for

    loaded = opened(release, trust)
    if getattr(loaded, "bundle", None) is None:
        raise ConfigError(
            f"{release} has no vectors to index: it is of {loaded.manifest['model']['type']}."
        )
    given = {"n_trees": n_trees, "shards": shards, "method": method, "target_recall": target_recall}
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    asked = bool(changes) or index is not None or storage is not None
    settings = settings_for(loaded.bundle, index, storage, changes) if asked else None
    kept = cast(Any, storage)  # `settings_for` refuses other names
    notes: list[str] = []
    if add is not None or remove:
        import_tensorflow()
        with waiting("Change the items, and compare the models with the new index"):
            from tfrecall.cli.item_tables import items_of
            from tfrecall.exporting.items import change_items

            added = None if add is None else items_of(add, loaded, notes)
            removed = [item for ids in remove or [] for item in ids.split(",") if item]
            loaded = change_items(release, added, removed, index=settings, storage=kept, trust=trust)
        facts = loaded.manifest["items_changed"]
        notes.append(
            f"Version {loaded.version} of {release}: {facts['added']:,} items added, {facts['removed']:,} "
            f"removed, {len(loaded.item_ids):,} in all. Services change to it by themselves."
        )
    elif asked:
        from tfrecall.release.reindex import reindex

        with waiting("Build and tune the index"):
            loaded = reindex(release, settings, storage=kept, trust=trust)
        notes.append(
            f"Version {loaded.version} of {release}: {' and '.join(loaded.bundle.names)} search, exact search "
            f"in {loaded.bundle.exact.storage}."
        )
    tuning = loaded.bundle.tuning
    answer = {
        "release": str(release),
        "version": loaded.version,
        "default": loaded.bundle.default,
        "indexes": loaded.bundle.names,
        "storage": loaded.bundle.exact.storage,
        "index": loaded.bundle.summary(),
        "tuning": tuning,
        **({"items": loaded.manifest["items_changed"]} if add is not None or remove else {}),
    }
    rows = tuning.get("rows", [])
    title = f"Index {loaded.bundle.names[-1]} of {release}"
    shown = [item_table(title, rows)] if rows or not notes else []
    show(answer, as_json, *notes, *shown)
