"""Warm start of a ranker: embeddings of ids from the vectors of a retriever."""

from pathlib import Path

import numpy as np

from tfrecall.data.histories import last_queries
from tfrecall.errors import ConfigError
from tfrecall.layers.features import CategoricalFeature
from tfrecall.models.ranker import Ranker
from tfrecall.models.two_tower import TwoTower
from tfrecall.release.base import Release
from tfrecall.release.loading import load

# Standard deviation of Keras' initial embeddings, uniform in +-.05: that of +-a is a / sqrt(3).
INITIAL = 0.05 / np.sqrt(3)


def warm_start(model: Ranker, source: TwoTower | Release | str | Path) -> None:
    """Gives the embeddings of user and item ids the vectors that a retriever has for them.

    The vectors are those of its towers, users at the end of its log, so their inner product orders as the
    retriever does. Each side is scaled to the spread that embeddings begin with. Ids that the retriever
    does not know keep the vectors they have. Makes the model's weights if it has none yet.

    Args:
        model: an adapted ranker.
        source: a retriever, a release of one, or the path of a release.

    Raises:
        ConfigError: if the ranker embeds neither user nor item ids, its embeddings are not as long as the
            vectors, or the retriever has several vectors a user or knows no users.
        DataError: if the ranker has not seen data yet.

    Example:

    >>> import tfrecall as tr
    >>> log = tr.data.synthetic(n_users=6, n_items=5, n_rows=40, seed=1)
    >>> schema = tr.Schema(query=[tr.Categorical("user_id", 4)], candidate=[tr.Categorical("item_id", 4)])
    >>> retriever = tr.TwoTower(schema, layer_sizes=[])
    >>> retriever.adapt(log)
    >>> ranker = tr.Ranker(schema, layer_sizes=[4], label="timestamp")
    >>> ranker.adapt(log)
    >>> tr.warm_start(ranker, retriever)
    """
    model.create_weights()
    users, items = _vectors(source)
    started = 0
    for tower, column, vectors in (
        (model.query_tower, "user_id", users),
        (model.candidate_tower, model.schema.candidate_id, items),
    ):
        for layer in tower.features:
            if isinstance(layer, CategoricalFeature) and layer.spec.column == column:
                _assign(layer, vectors, model.get_config()["embedding_stddev"] or INITIAL)
                started += 1
    if not started:
        raise ConfigError(
            "A ranker begins with the vectors of users and items of a retriever, but its schema has neither "
            f'Categorical("user_id") nor Categorical("{model.schema.candidate_id}"). Add one.'
        )


def _vectors(
    source: TwoTower | Release | str | Path,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Vectors of a retriever by user id, and by item id."""
    retriever = load(source) if isinstance(source, str | Path) else source
    if isinstance(retriever, TwoTower):
        if retriever.interactions is None:
            raise ConfigError(
                "The retriever was adapted to a dataset, so it knows no users by their ids. Adapt it to an "
                "interaction log."
            )
        queries = last_queries(retriever.interactions)
        names = queries["user_id"].to_list()
        users, items = retriever.embed_queries(queries), retriever.embed_candidates()
        ids = retriever.catalogue.ids
    else:
        people = retriever.users
        # Users without events have no vector of their own, only that of unknown users.
        names = [name for row, name in enumerate(people.ids) if len(people.seen(row))]
        users = retriever.embed(people.build_queries(names).features)
        items, ids = np.asarray(retriever.bundle.exact.vectors), retriever.item_ids
    if users.ndim > 2:
        raise ConfigError(
            f"The retriever has {users.shape[1]} vectors a user, of which none is the user's. Begin with "
            "one of a single vector."
        )
    return dict(zip(names, users, strict=True)), dict(zip(ids.tolist(), items, strict=True))


def _assign(layer: CategoricalFeature, vectors: dict[str, np.ndarray], spread: float) -> None:
    """Overwrites the rows of a table whose values have vectors, scaled to a root mean square."""
    length = len(next(iter(vectors.values())))
    if length != layer.output_dim:
        raise ConfigError(
            f"The retriever's vectors have {length} numbers, but {layer.spec} has {layer.output_dim}. Set its "
            f"`embedding_dim` to {length}."
        )
    table = layer.table
    values, rows = table.numpy(), layer.table_rows
    known = [value for value in vectors if value in rows]
    if known:
        some = np.stack([vectors[value] for value in known])
        # One factor for the whole side: a factor for each vector would change the order by inner
        # products.
        size = np.sqrt(np.square(some).mean()) or 1.0
        values[[rows[value] for value in known]] = some * (spread / size)
    table.assign(values)
