"""Release of a retriever: recommendations for users, similar items for items."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tfrecall.core.manifests import restore
from tfrecall.core.results import Explanation
from tfrecall.core.top_k import best_scores
from tfrecall.core.vocabulary import Vocabulary
from tfrecall.index.bundle import Bundle, load_bundle
from tfrecall.index.repeats import Repeats, search_with_repeats
from tfrecall.index.search import Hits, ItemScore
from tfrecall.release.base import REPEATED, Items, RecommendingRelease
from tfrecall.release.explanation import LeaveOneOut, explained, listed
from tfrecall.release.signature import Signature, load_signatures
from tfrecall.release.users import Query, QueryBatch, UserStore


class RetrieverRelease(RecommendingRelease):
    """A loaded release of a two-tower model. Made by `tfrecall.load`.

    Attributes:
        root: the release directory.
        manifest: facts of the version.
        users: features and histories of its users.
        catalogue: its items.
        bundle: the exact index, and Annoy's if there is one.
        repeats: the model of repeat consumption; None without one.
        exclude_seen: whether lists leave out seen items by default.
    """

    def __init__(
        self, root: Path, manifest: dict[str, Any], users: UserStore, catalogue: Items, bundle: Bundle
    ) -> None:
        super().__init__(root, manifest, users, catalogue)
        self.bundle = bundle
        facts = manifest.get("repeats")
        place = f"{root / 'manifest.json'}, repeats"
        self.repeats = restore(place, lambda: Repeats(**facts)) if facts else None

    @classmethod
    def load(cls, root: Path, manifest: dict[str, Any]) -> "RetrieverRelease":
        """Open the parts of a version whose files were checked.

        Raises:
            ReleaseError: naming a part that is damaged or foreign.
        """
        version, query = str(manifest["version"]), manifest["query"]
        histories = manifest.get("histories", {})
        bundle = load_bundle(
            root / "index" / version, verify=False, model=manifest["model"]["fingerprint"]
        )
        context = root / "context" / version
        users = UserStore.load(
            context,
            query["forms"],
            query["defaults"],
            {name: history["history_length"] for name, history in histories.items()},
            bundle.exact.ids,
            [REPEATED] if manifest.get("repeats") else [],
            {name: history["context"] for name, history in histories.items() if history.get("context")},
        )
        return cls(root, manifest, users, Items.load(context, bundle.exact.ids), bundle)

    @property
    def interests(self) -> int:
        """Number of vectors of a query; the best of them scores an item."""
        return self.manifest["model"].get("interests", 1)

    @cached_property
    def _query_model(self) -> Signature:
        """Query tower, loaded at first use: similar items, for example, need no TensorFlow."""
        return load_signatures(self.part("query"), ["serving_default"])[0]

    def search(
        self,
        asked: QueryBatch,
        k: int,
        barred: Sequence[np.ndarray],
        *,
        allow: Sequence[str] | None = None,
        index: str | None = None,
    ) -> Hits:
        """The lists of queries that were completed already (`UserStore.build_queries`)."""
        search = self.bundle.index(index)
        allowed = None if allow is None else self.catalogue.rows(allow)
        if not len(asked.users):
            return Hits(np.empty((0, 0), np.int32), np.empty((0, 0), np.float32))
        past: list[np.ndarray] = []
        if self.repeats is not None:
            # Given with the query, the repeated history replaces the stored one, also the empty list.
            past = [
                self.catalogue.rows(lists[REPEATED]) if REPEATED in lists else self.users.seen(user)
                for user, lists in zip(asked.users, asked.lists, strict=True)
            ]
        vectors = self.embed(asked.features)
        return search_with_repeats(
            search, self.bundle.exact, vectors, k, barred, allowed, self.repeats, past
        )

    def similar(
        self, row: int, k: int = 10, *, score: ItemScore | None = None, index: str | None = None
    ) -> Hits:
        """The list of `similar_items` in arrays: the largest cosines or inner products of vectors."""
        return self.bundle.similar(row, k, score or "cosine", index)

    def explanations(self, query: Query, item_ids: Sequence[str]) -> list[Explanation]:
        """Explain several items for one query, at the cost of one."""
        asked = self.users.build_queries([query])
        rows = [self.catalogue.row(item_id) for item_id in item_ids]
        if not rows:
            return []
        past = np.empty(0, np.int64)
        if self.repeats is not None:
            given = asked.lists[0].get(REPEATED)
            had = self.users.seen(asked.users[0]) if given is None else self.catalogue.rows(given)
            past = np.asarray(had, np.int64)[-self.repeats.length :]
        return self.explained(asked.user_ids[0], asked.features, past, np.array(rows))

    def explained(
        self,
        user_id: str | None,
        features: Mapping[str, np.ndarray],
        past: np.ndarray,
        rows: np.ndarray,
    ) -> list[Explanation]:
        """Explanations of some rows of the catalogue for the features of one query.

        Args:
            user_id: user of the query; None without one.
            features: input columns of the query model, one row.
            past: repeated history in catalogue rows, oldest first; empty without `repeats`.
            rows: catalogue rows of the items to explain.
        """
        histories = self.users.histories
        # Removed items of a history still count for the model.
        ids = np.concatenate([self.item_ids, self.users.retired])
        vocabulary = Vocabulary(ids) if len(self.users.retired) else self.catalogue.vocabulary
        lists = listed(self.users, features, vocabulary)
        own = {column: row for column, row in features.items() if column not in histories}
        variants = LeaveOneOut.of(lists, own, self.users.defaults, past)
        length = max((history.length for history in histories.values()), default=1)
        queries = variants.embedded(self.embed, length)
        vectors = self.bundle.exact.vectors
        return explained(user_id, ids, rows, variants, queries, vectors, self.repeats)

    def embed(self, features: dict[str, np.ndarray]) -> np.ndarray:
        """Raw features to query vectors, by the exported model: float32 `[n, embedding_dim]`.

        Of a model with `interests` > 1 in its manifest `[n, interests, embedding_dim]`.
        """
        return self._query_model(features)

    def embed_queries(self, queries: pl.DataFrame) -> np.ndarray:
        """A table of queries (`Interactions.queries`) to vectors, as `embed` gives them.

        Histories missing in the table are those at the end of the training data, not at the time of each
        row: test rows should come later.
        """
        return self.embed(self.users.of_table(queries))

    def scores(self, queries: pl.DataFrame) -> np.ndarray:
        """Scores of the whole catalogue, so that a release can be evaluated like a model.

        Histories missing in the table are those at the end of the training data.
        """
        scores = best_scores(self.embed_queries(queries), self.bundle.exact.vectors)
        if self.repeats is None:
            return scores
        users = self.users.rows_of(queries["user_id"].to_list())
        return self.repeats.apply(scores, [self.users.seen(user) for user in users])
