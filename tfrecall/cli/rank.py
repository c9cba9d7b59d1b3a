"""`tfrecall rank`: the scores that a ranker gives items for a user."""

from typing import Annotated, Any

import typer

from tfrecall.cli.options import Columns, Json, ReleasePath, Trust, app, guarded, json_features
from tfrecall.errors import ConfigError


@app.command()
@guarded
def rank(
    release: ReleasePath,
    items: Annotated[str, typer.Option(help="Item ids to score: a,b,c.")],
    user: Annotated[str | None, typer.Option(help="User id.")] = None,
    features: Annotated[
        str | None,
        typer.Option(help='Query features as JSON: \'{"user_id": "42", "raw_user_age": 30}\'.'),
    ] = None,
    column: Columns = None,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Score items for a user by the release of a ranker, the best first.

    Scores of a Bayesian ranker come with their spread: about two in three ratings lie within one of them.
    """
    from tfrecall.cli.answers import title_and_labels
    from tfrecall.cli.console import import_tensorflow, opened, show, waiting
    from tfrecall.cli.tables import item_table
    from tfrecall.release.ranker import RankerRelease

    if (user is None) == (features is None):
        raise ConfigError("Say who asks: --user ID, or --features JSON, one of them.")
    ids = list(dict.fromkeys(item for item in items.split(",") if item))
    if not ids:
        raise ConfigError(
            f"There is nothing to score. Received: --items {items!r}. Give --items a,b,c."
        )
    query: Any = user if features is None else json_features(features)
    loaded = opened(release, trust)
    if not isinstance(loaded, RankerRelease):
        raise ConfigError(
            f"{release} is no release of a ranker, but of {loaded.manifest['model']['type']}. Ask it with "
            "`tfrecall recommend`, or give the release of a ranker."
        )
    wanted = column or title_and_labels(loaded)
    loaded.check_columns(wanted)
    import_tensorflow()
    with waiting(f"Ask {release}"):
        scores = loaded.predict([query], ids)
        spreads = loaded.spread([query], ids) if loaded.has_spread else None
    # `sorted` is stable: ties keep the order of --items.
    order = sorted(range(len(ids)), key=lambda i: -float(scores[i]))
    columns_of = {row["item_id"]: row for row in loaded.catalogue.shown.iter_rows(named=True)}
    rows: list[dict[str, Any]] = [
        {
            "item_id": ids[i],
            "score": float(scores[i]),
            **({} if spreads is None else {"spread": float(spreads[i])}),
            **{c: columns_of[ids[i]][c] for c in wanted},
        }
        for i in order
    ]
    batch = loaded.users.build_queries([query])
    user_id, known = batch.user_ids[0], bool(batch.known[0])
    whom = "somebody new" if user_id is None else f"user {user_id}"
    title = f"Scores for {whom}{'' if known else ' (unknown: from features and the unknown row)'}"
    answer = {"release": str(release), "user_id": user_id, "known": known, "scores": rows}
    show(answer, as_json, item_table(title, rows))
