"""The SavedModels of a release: raw features in, vectors or candidates out.

Each is a plain `tf.Module` that tracks nothing but variables and lookup tables. The towers are the ones
that were trained, so there is one path from a raw feature to a vector; Keras itself is not exported,
and neither Keras nor tfrecall is needed to load what is.
"""

from typing import Any

import numpy as np

from tfrecall._keras import keras, tf
from tfrecall.data.vocabulary import FIRST
from tfrecall.errors import ConfigError
from tfrecall.index.repeats import Repeats
from tfrecall.layers.interests import best_scores
from tfrecall.models.catalogue import Catalogue
from tfrecall.models.towers import Tower

QUERY_OUTPUT = "query_embedding"
CANDIDATE_OUTPUT = "candidate_embedding"


def save_tower(tower: Tower, output: str, path: str) -> None:
    """Writes a tower with one signature, `serving_default`: raw features -> `[batch, embedding_dim]`.

    A tower of several interests gives `[batch, interests, embedding_dim]`.

    Args:
        tower: an adapted tower.
        output: name of the output tensor.
        path: directory to write.
    """
    module = tf.Module()
    embed = tf.function(lambda **raw: {output: _embed(tower, raw)})
    signature = embed.get_concrete_function(**tower.signature)
    module.tracked = _resources(tower)  # after the first trace, which makes missing variables
    tf.saved_model.save(module, path, signatures={"serving_default": signature})


def save_retrieval(
    tower: Tower,
    catalogue: Catalogue,
    vectors: np.ndarray,
    k: int,
    path: str,
    repeats: Repeats | None = None,
) -> None:
    """Writes query tower and candidate vectors as one model: raw query -> the best candidates.

    All signatures score the whole catalogue exactly, by the best of a query's vectors, and give
    `candidate_ids` (string `[batch, k]`) and `scores` (float `[batch, k]`), best first, the earlier
    candidate first where scores are equal. Where fewer than `k` candidates are left, the id is empty
    and the score -inf.

    - `serving_default`: raw query features; `k` is fixed, as batching in TF Serving needs it.
    - `recommend`: also `k` (int32 scalar from 1; more than there are gives all) and `exclude` (string
      `[batch, any]`, ids not wanted; ids that are not in the catalogue, such as the padding "", are
      ignored).
    - `recommend_allowed`: also `allow` (string `[any]`), the only ids wanted.

    With `repeats` each signature takes `history`, too: string `[batch, any]`, the ids of what a user
    had, oldest first; "" pads. A history feature of that name reads the same argument.

    Args:
        tower: the adapted query tower.
        catalogue: the candidates.
        vectors: float32 `[n, embedding_dim]`, of all candidates.
        k: length of the lists of `serving_default`.
        path: directory to write.
        repeats: how users come back to what they had.

    Raises:
        ConfigError: if a query feature is called `history` and is something else than `repeats` take.
    """
    search = _ExactSearch(tower, catalogue, vectors, repeats)
    string_lists = tf.TensorSpec([None, None], tf.string, name="exclude")
    number = tf.TensorSpec([], tf.int32, name="k")
    allowed = tf.TensorSpec([None], tf.string, name="allow")
    fixed = tf.function(lambda **raw: search.best(raw, tf.constant(k)))
    free = tf.function(lambda k, exclude, **raw: search.best(raw, k, exclude))
    among = tf.function(lambda k, exclude, allow, **raw: search.best(raw, k, exclude, allow))
    query = tower.signature
    if repeats is not None:
        _check_history(tower)
        query["history"] = tf.TensorSpec([None, None], tf.string, name="history")
    signatures = {
        "serving_default": fixed.get_concrete_function(**query),
        "recommend": free.get_concrete_function(k=number, exclude=string_lists, **query),
        "recommend_allowed": among.get_concrete_function(
            k=number, exclude=string_lists, allow=allowed, **query
        ),
    }
    search.tracked = [*_resources(tower), catalogue.lookup.lookup_table]
    tf.saved_model.save(search, path, signatures=signatures)


class _ExactSearch(tf.Module):
    """Scores all candidates and takes the best."""

    def __init__(
        self, tower: Tower, catalogue: Catalogue, vectors: np.ndarray, repeats: Repeats | None
    ) -> None:
        super().__init__()
        self.vectors = tf.Variable(vectors, trainable=False, name="candidate_vectors")
        self.ids = tf.Variable(list(catalogue.ids), trainable=False, name="candidate_ids")
        # In a tuple, so that tf.Module does not track the Keras objects.
        self._untracked = (lambda: (tower, catalogue, repeats),)

    def best(
        self,
        raw: dict[str, tf.Tensor],
        k: tf.Tensor,
        exclude: tf.Tensor | None = None,
        allow: tf.Tensor | None = None,
    ) -> dict[str, tf.Tensor]:
        tower, catalogue, repeats = self._untracked[0]()
        scores = best_scores(_embed(tower, raw), self.vectors)
        if repeats is not None:
            scores = self._with_repeats(repeats, scores, catalogue.index(raw["history"]))
        if allow is not None:
            wanted = tf.scatter_nd(
                catalogue.index(allow)[:, tf.newaxis], tf.ones_like(allow, tf.int32), [self._width]
            )
            scores = tf.where(wanted[FIRST:] > 0, scores, -np.inf)
        if exclude is not None:
            scores = self._without(scores, catalogue.index(exclude))
        positive = tf.debugging.assert_positive(k, message="`k` must be 1 or more.")
        with tf.control_dependencies([positive] if positive is not None else []):
            best = tf.math.top_k(scores, tf.minimum(k, self._width - FIRST))
        left = best.values > -np.inf
        ids = tf.where(left, tf.gather(self.ids, best.indices), "")
        return {"candidate_ids": ids, "scores": best.values}

    def _with_repeats(self, repeats: Repeats, scores: tf.Tensor, history: tf.Tensor) -> tf.Tensor:
        """As `Repeats.apply`: the scores of own items replaced.

        Args:
            repeats: how users come back to what they had.
            scores: float32 `[batch, n]`.
            history: int32 `[batch, any]`, candidate indexes, oldest first; 0 pads, 1 is unknown.
        """
        events = tf.cast(history > 0, tf.int32)
        after = tf.cumsum(events, axis=1, reverse=True) - events  # events that came later
        place = tf.cast(after, tf.float64)
        weights = tf.exp(-repeats.recency * tf.math.log1p(place) - repeats.decay * place)
        counts = (events > 0) & (after < repeats.length)
        weights = tf.where(counts, tf.maximum(weights, np.finfo(np.float64).tiny), 0.0)
        rows = tf.repeat(tf.range(tf.shape(history)[0]), tf.shape(history)[1])
        where = tf.stack([rows, tf.reshape(history, [-1])], axis=1)
        shape = [tf.shape(scores)[0], self._width]
        total = tf.scatter_nd(where, tf.reshape(weights, [-1]), shape)[:, FIRST:]
        logits = tf.math.log(tf.maximum(total, np.finfo(np.float64).tiny)) + repeats.bias
        logits += repeats.blend * tf.cast(scores, tf.float64) / repeats.temperature
        own = tf.cast(repeats.temperature * logits, scores.dtype)
        return tf.where(total > 0, own, scores)

    @property
    def _width(self) -> int:
        return self.vectors.shape[0] + FIRST

    def _without(self, scores: tf.Tensor, excluded: tf.Tensor) -> tf.Tensor:
        """Scores with -inf at the excluded indexes of each row."""
        message = "`exclude` needs one row of ids a query; pad with the empty string."
        equal = tf.debugging.assert_equal(tf.shape(excluded)[0], tf.shape(scores)[0], message)
        with tf.control_dependencies([equal] if equal is not None else []):
            rows = tf.repeat(tf.range(tf.shape(excluded)[0]), tf.shape(excluded)[1])
        where = tf.stack([rows, tf.reshape(excluded, [-1])], axis=1)
        # Two columns in front take what is padding or unknown.
        padded = tf.pad(scores, [[0, 0], [FIRST, 0]])
        barred = tf.fill(tf.shape(rows), tf.constant(-np.inf, scores.dtype))
        return tf.tensor_scatter_nd_update(padded, where, barred)[:, FIRST:]


def _check_history(tower: Tower) -> None:
    """Refuses a feature under the name of what `repeats` take, unless it is the same list."""
    if "history" not in tower.signature or shares_history(tower):
        return
    raise ConfigError(
        'With `model.repeats` the exported model has an argument "history", all that a user had. A query '
        "feature of that name must be a History without `min_rating` and `below_rating`, which reads the "
        "same list. Rename the column of the other feature, or give its History another `column`."
    )


def shares_history(tower: Tower) -> bool:
    """Whether what `repeats` take is a feature of the tower, too."""
    specs = [layer.spec for layer in tower.histories if layer.spec.column == "history"]
    return bool(specs) and not specs[0].is_rated


def _embed(tower: Tower, raw: dict[str, tf.Tensor]) -> tf.Tensor:
    # Servers do not look: a list nested too deep would be answered by chance.
    checked = {name: tf.ensure_shape(raw[name], spec.shape) for name, spec in tower.signature.items()}
    return tower(tower.preprocess(checked), training=False)


def _resources(tower: Tower) -> list[Any]:
    lookups = [part for part in tower.submodules if isinstance(part, keras.layers.StringLookup)]
    return [*tower.variables, *(lookup.lookup_table for lookup in lookups)]
