"""Release of a ranker: scores of pairs of query and item."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl

from tfrecall.errors import DataError
from tfrecall.release.base import Items, Release
from tfrecall.release.signature import Signature, load_signatures
from tfrecall.release.users import Query, UserStore

# Pairs scored in one call: bounds the memory of their histories.
AT_ONCE = 4096


class RankerRelease(Release):
    """A loaded release of a ranker. Made by `tfrecall.load`.

    A ranker scores given items and finds none itself: `predict`, not `recommend`.

    Attributes:
        root: the release directory.
        manifest: facts of the version.
        users: features and histories of its users.
        catalogue: its items.
        context: the directory of users and items.
    """

    lacks: ClassVar[dict[str, str]] = dict.fromkeys(
        (
            "bundle",
            "embed",
            "embed_queries",
            "exclude_seen",
            "explain",
            "explanations",
            "explained",
            "find",
            "interests",
            "recommend",
            "repeats",
            "scores",
            "search",
            "similar_items",
        ),
        "{root} is the release of a ranker ({name}): it scores items that it is given, and has no index to "
        "find some. Use `predict`, on the command line `tfrecall rank`.",
    )

    def __init__(
        self, root: Path, manifest: dict[str, Any], users: UserStore, catalogue: Items, context: Path
    ) -> None:
        super().__init__(root, manifest, users, catalogue)
        self.context = context

    @classmethod
    def load(
        cls, root: Path, manifest: dict[str, Any], context_part: str = "context"
    ) -> "RankerRelease":
        """Open the parts of a version whose files were checked.

        Args:
            root: the release directory.
            manifest: facts of the version.
            context_part: the part with users and items; in a pipeline `context` is the retriever's.

        Raises:
            ReleaseError: naming a part that is damaged or foreign.
        """
        query, histories = manifest["query"], manifest.get("histories", {})
        context = root / context_part / str(manifest["version"])
        catalogue = Items.load(context)
        users = UserStore.load(
            context,
            query["forms"],
            query["defaults"],
            {name: history["history_length"] for name, history in histories.items()},
            catalogue.ids,
            contexts={
                n: history["context"] for n, history in histories.items() if history.get("context")
            },
        )
        return cls(root, manifest, users, catalogue, context)

    @property
    def has_spread(self) -> bool:
        """Whether scores come with their uncertainty: those of a `BayesianRanker` do."""
        return "draws" in self.manifest["model"]

    def predict(self, queries: Sequence[Query], item_ids: Sequence[str]) -> np.ndarray:
        """Scores of pairs: predicted ratings, logits of clicks or ranking scores, depending on the task.

        Args:
            queries: user ids, or dictionaries of features as `Release.recommend` takes them; one for each
                item, or a single one for all.
            item_ids: ids of the items, `[n]`.

        Returns:
            Float32 `[n]`.

        Raises:
            DataError: if an item is not in the catalogue, a query cannot be used, or both do not pair up.
        """
        features = self._pairs(queries, item_ids)
        return self.score(features, item_ids) if len(item_ids) else np.empty(0, np.float32)

    def spread(self, queries: Sequence[Query], item_ids: Sequence[str]) -> np.ndarray:
        """Standard deviation of the ratings that may come: about two in three lie within one of the score.

        Args:
            queries, item_ids: as of `predict`.

        Returns:
            Float32 `[n]`, more for users and items of which little is known.

        Raises:
            DataError: if the ranker is no `BayesianRanker`; else as of `predict`.
        """
        if not self.has_spread:
            raise DataError(
                f"{self.root} is the release of a {self.manifest['model']['type']}, whose scores have no "
                "spread. Train a `BayesianRanker` for it."
            )
        features = self._pairs(queries, item_ids)
        ids = np.asarray(item_ids, dtype=object)
        if not len(ids):
            return np.empty(0, np.float32)
        return self._spread_signature({**features, "candidate_ids": ids})

    def _pairs(self, queries: Sequence[Query], item_ids: Sequence[str]) -> dict[str, np.ndarray]:
        """Features of the queries of pairs, once the pairs are checked; none without items."""
        if isinstance(queries, str) or isinstance(item_ids, str):
            raise DataError(
                "Users and items are lists of ids. Received a single text: put it in a list."
            )
        if len(queries) not in (1, len(item_ids)):
            raise DataError(
                f"Each score is of one user and one item. Received: {len(queries):,} users and "
                f"{len(item_ids):,} items. Give a user for each item, or a single one for all."
            )
        for item_id in item_ids:
            self.catalogue.row(item_id)
        return self.users.build_queries(queries).features if len(item_ids) else {}

    def score(
        self, features: dict[str, np.ndarray], item_ids: Sequence[str] | np.ndarray
    ) -> np.ndarray:
        """Scores of pairs from features of queries (`UserStore.build_queries`): float32 `[n]`.

        Args:
            features: input columns of 1 row, or `n` rows.
            item_ids: ids of the items, `[n]`.
        """
        ids = np.asarray(item_ids, dtype=object)
        pairs, _ = self._signatures
        return pairs({**features, "candidate_ids": ids})

    def score_lists(self, features: dict[str, np.ndarray], item_ids: np.ndarray) -> np.ndarray:
        """Scores of a list of items for each query.

        Args:
            features: of `UserStore.build_queries`, `n` rows.
            item_ids: object array of `str` `[n, any]`; "" pads; its score is meaningless.

        Returns:
            Float32 `[n, any]`.
        """
        _, lists = self._signatures
        return lists({**features, "candidate_ids": item_ids})

    def features_of(self, queries: pl.DataFrame) -> dict[str, np.ndarray]:
        """Features of a table of queries (`Interactions.queries`), one row each."""
        return self.users.of_table(queries)

    def predictions(self, queries: pl.DataFrame) -> np.ndarray:
        """Scores of a table of queries (`Interactions.queries`) with `item_id`: float32 `[n]`.

        Histories missing in the table are those at the end of the training data.
        """
        features = self.users.of_table(queries)
        ids = np.array(queries["item_id"].to_list(), dtype=object)
        parts = [
            self.score({c: values[some] for c, values in features.items()}, ids[some])
            # -(-n // m) rounds up; at least one part, so that an empty table gives an empty array.
            for some in np.array_split(np.arange(len(ids)), max(1, -(-len(ids) // AT_ONCE)))
        ]
        return np.concatenate(parts)

    @cached_property
    def _signatures(self) -> list[Signature]:
        """Signatures of the model for pairs and for lists."""
        return load_signatures(self.part("ranker"), ["rank", "rank_lists"])

    @cached_property
    def _spread_signature(self) -> Signature:
        (spread,) = load_signatures(self.part("ranker"), ["spread"])
        return spread
