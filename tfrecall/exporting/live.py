"""Live models with the interface of releases, to answer queries before export."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tfrecall._keras import tf
from tfrecall.core.columns import REQUEST_TIME
from tfrecall.core.vocabulary import FIRST
from tfrecall.data.histories import latest
from tfrecall.data.interactions import Interactions
from tfrecall.exporting.context import nobody
from tfrecall.exporting.retriever import histories_of, history_settings, item_table
from tfrecall.index.bundle import Bundle, IndexSettings, build_indexes
from tfrecall.models.queries import query_defaults
from tfrecall.models.ranker import Ranker
from tfrecall.models.two_tower import TwoTower
from tfrecall.release.base import REPEATED, Items
from tfrecall.release.histories import UserHistories
from tfrecall.release.retriever import RetrieverRelease
from tfrecall.release.users import UserStore


class LiveRetrieval(RetrieverRelease):
    """A two-tower model with the interface of its release.

    The candidate vectors are those of the moment it was made; make a new one after more training.

    Attributes:
        model: the two-tower model.
    """

    def __init__(
        self, model: TwoTower, index: IndexSettings | None = None, exclude_seen: bool = True
    ) -> None:
        self.model = model
        exact, approximate = build_indexes(index, model.embed_candidates(), model.catalogue.ids)
        # Only entries that answering and joining read; an export computes all facts anew.
        facts = {
            "name": model.name,
            "fingerprint": "not exported",
            "normalize": model.get_config()["normalize"],
            "interests": model.query_tower.interests,
        }
        repeats = model.repeats and model.repeats.to_dict()
        manifest = {**_manifest(model, facts), "repeats": repeats, "exclude_seen": exclude_seen}
        super().__init__(
            Path(),
            manifest,
            _users(model, (REPEATED,) if model.repeats else ()),
            _items(model),
            Bundle(exact, approximate, {}),
        )

    @property
    def history_log(self) -> Interactions | None:
        """The log that histories are taken from; None for a model without histories."""
        return self.model.history_log

    def embed(self, features: dict[str, np.ndarray]) -> np.ndarray:
        return self.model.query_tower.embed(features)

    def scores(self, queries: pl.DataFrame) -> np.ndarray:
        """Scores of all candidates; histories missing in the table are looked up in the log."""
        return self.model.retriever().scores(queries)


class LiveRanker:
    """A ranker with the interface that pipelines need.

    Attributes:
        model: the ranker.
    """

    def __init__(self, model: Ranker) -> None:
        self.model = model
        self.users = _users(model)
        self.manifest = _manifest(model, {"name": model.name})
        self.items = item_table(model.catalogue, model.schema.candidate_id)

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def item_ids(self) -> np.ndarray:
        return self.model.catalogue.ids

    @property
    def history_log(self) -> Interactions | None:
        """The log that histories are taken from; None for a model without histories."""
        return self.model.interactions if self.model.schema.histories else None

    def score_lists(self, features: dict[str, np.ndarray], item_ids: np.ndarray) -> np.ndarray:
        count, width = item_ids.shape
        # Catalogue index -> catalogue row: FIRST is 2, for padding and unknown. The padding "" becomes a
        # negative row; its score is masked by the pipeline.
        rows = self.model.catalogue.index(tf.constant(item_ids.ravel(), tf.string)).numpy() - FIRST
        query_rows = np.repeat(np.arange(count), width)
        return self.model.score_raw(features, rows, query_rows).reshape(count, width)

    def features_of(self, queries: pl.DataFrame) -> dict[str, np.ndarray]:
        """Raw features of each query; histories missing in the table are looked up in the log."""
        return self.model.raw_queries(queries)


def _manifest(model: TwoTower | Ranker, facts: dict[str, Any]) -> dict[str, Any]:
    """Manifest entries that `RetrieverRelease` and `check_joinable` read."""
    return {
        "version": 0,
        "model": {"type": type(model).__name__, **facts},
        "schema": model.get_config()["schema"],
        "histories": history_settings(model.schema),
    }


def _items(model: TwoTower | Ranker) -> Items:
    return Items(model.catalogue.ids, lambda: item_table(model.catalogue, model.schema.candidate_id))


def _users(model: TwoTower | Ranker, more_lists: tuple[str, ...] = ()) -> UserStore:
    """The store that `write_context` would write and `UserStore.load` read."""
    data, histories = model.interactions, histories_of(model)
    forms = model.query_tower.forms
    # The time of the request is the one number among the columns of histories.
    made = set(model.schema.history_columns) - {REQUEST_TIME}
    own = {column: form for column, form in forms.items() if column not in made}
    lists = tuple(dict.fromkeys([*model.schema.histories, *more_lists]))
    contexts = {name: spec.context for name, spec in model.schema.histories.items() if spec.context}
    if data is None:
        no_one = np.zeros(1, np.int64), np.zeros(0, np.int32)
        for name, spec in model.schema.histories.items():
            past = UserHistories(*no_one, spec.history_length, model.catalogue.ids)
            histories.update(dict.fromkeys([name, *spec.context_columns.values()], past))
        table, offsets, seen = nobody(own), *no_one
    else:
        table = latest(data, list(own))
        offsets, seen = data.histories.offsets, data.histories.items
    defaults = query_defaults(model)
    return UserStore.of(table, offsets, seen, histories, forms, defaults, lists, contexts)
