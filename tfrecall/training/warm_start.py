"""A ranker that begins with what a retriever knows of users and items."""

from pathlib import Path
from typing import Any

import numpy as np

from tfrecall.data.histories import last_queries
from tfrecall.errors import ConfigError
from tfrecall.models.ranker import Ranker
from tfrecall.models.two_tower import TwoTower
from tfrecall.release.loading import load
from tfrecall.release.retriever import Release
from tfrecall.schema.features import Categorical

# Of Keras' initial embeddings, uniform in +-.05.
INITIAL = 0.05 / np.sqrt(3)


def start_from(model: Ranker, source: TwoTower | Release | str | Path) -> None:
    """Gives the embeddings of user and item ids the vectors that a retriever has for them.

    The vectors are those of its towers, users as the log ends; so their inner product orders as the
    retriever does. Each side is scaled to the spread that embeddings begin with. Ids that the retriever
    does not know keep what they have.

    Args:
        model: adapted, with weights.
        source: what is begun with.

    Raises:
        ConfigError: if there is no embedding of user or item ids, or none of the length of the vectors.
    """
    users, items = _vectors(source)
    found = 0
    for tower, column, vectors in (
        (model.query_tower, "user_id", users),
        (model.candidate_tower, model.schema.candidate_id, items),
    ):
        for layer in tower.features:
            if isinstance(layer.spec, Categorical) and layer.spec.column == column:
                _put(layer, vectors, model.get_config()["embedding_stddev"] or INITIAL)
                found += 1
    if not found:
        raise ConfigError(
            "A ranker begins with the vectors of users and items of a retriever, but its schema has neither "
            f'Categorical("user_id") nor Categorical("{model.schema.candidate_id}"). Add one.'
        )


def _vectors(source: Any) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """By user id and by item id."""
    if isinstance(source, str | Path):
        source = load(source)
    if isinstance(source, TwoTower):
        if source.interactions is None:
            raise ConfigError(
                "The retriever was adapted to a dataset, so it knows no users by their ids."
            )
        queries = last_queries(source.interactions)
        names = queries["user_id"].to_list()
        users, items = source.embed_queries(queries), source.embed_candidates()
        ids = source.catalogue.ids
    else:
        names = [name for name, row in source.people.rows.items() if len(source.people.seen(row))]
        users = source.embed(source.people.ask(names).features)
        items, ids = np.asarray(source.bundle.exact.vectors), source.item_ids
    if users.ndim > 2:
        raise ConfigError(
            f"The retriever has {users.shape[1]} vectors a user, of which none is the user's. Begin with "
            "one of a single vector."
        )
    return dict(zip(names, users, strict=True)), dict(zip(ids.tolist(), items, strict=True))


def _put(layer: Any, vectors: dict[str, np.ndarray], spread: float) -> None:
    table = layer._table.embeddings
    length = len(next(iter(vectors.values())))
    if length != table.shape[1]:
        raise ConfigError(
            f"The retriever's vectors have {length} numbers, but {layer.spec} has {table.shape[1]}. Set its "
            f"`embedding_dim` to {length}."
        )
    values = table.numpy()
    rows = {value: row for row, value in enumerate(layer.state, start=2)}
    known = [value for value in vectors if value in rows]
    if known:
        some = np.stack([vectors[value] for value in known])
        size = np.sqrt(np.square(some).mean()) or 1.0
        values[[rows[value] for value in known]] = some * (spread / size)
    table.assign(values)
