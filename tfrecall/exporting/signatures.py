"""The SavedModels of a release: raw features in, vectors or candidates out.

Each is a plain `tf.Module` that tracks nothing but variables and lookup tables. The trained towers
themselves are traced, so there is one path from a raw feature to a vector; Keras objects are not
exported, and loading a SavedModel needs neither Keras nor tfrecall.
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfrecall._keras import keras, tf
from tfrecall.core.vocabulary import FIRST
from tfrecall.errors import ConfigError, ReleaseError
from tfrecall.index.repeats import Repeats
from tfrecall.layers.encoders.interests import best_scores
from tfrecall.layers.features import string_lookup
from tfrecall.models.catalogue import Catalogue
from tfrecall.models.towers import Tower

QUERY_OUTPUT = "query_embedding"
CANDIDATE_OUTPUT = "candidate_embedding"
# AutoGraph takes a third of the time of an export, and nothing here has an `if` over tensors.
_traced = functools.partial(tf.function, autograph=False)
Tensors = dict[str, tf.Tensor]


class TracedTower:
    """A tower as one graph of raw columns, which any number of signatures and SavedModels call.

    Tracing a tower takes a good part of the time of a small export, so it is done once. Numbers may come as
    float32: the graph computes in float64, in which they are the same numbers.

    Args:
        tower: an adapted tower.
    """

    def __init__(self, tower: Tower) -> None:
        self.tower = tower

    def __call__(self, raw: Tensors) -> tf.Tensor:
        """The vectors of raw columns; more columns are ignored."""
        signature = self.tower.signature
        return self._graph(**{name: _wide(raw[name], spec) for name, spec in signature.items()})

    @functools.cached_property
    def _graph(self) -> Any:
        embed = _traced(lambda **raw: _embed(self.tower, raw))
        return embed.get_concrete_function(**self.tower.signature)

    @property
    def resources(self) -> list[Any]:
        """Variables and lookup tables of the graph, which a SavedModel has to track."""
        _ = self._graph  # the first call makes missing variables
        lookups = [
            part for part in self.tower.submodules if isinstance(part, keras.layers.StringLookup)
        ]
        return [*self.tower.variables, *(lookup.lookup_table for lookup in lookups)]


def _wide(values: tf.Tensor, spec: tf.TensorSpec) -> tf.Tensor:
    """Numbers of `serving_float32` as the float64 that all models take."""
    return tf.cast(values, tf.float64) if spec.dtype == tf.float64 else values


def save_tower(traced: TracedTower, output: str, path: str) -> None:
    """Save a tower with the signature `serving_default`: raw features -> `[batch, embedding_dim]`.

    A tower of several interests gives `[batch, interests, embedding_dim]`. With numbers among the features,
    which are float64, there is a signature `serving_float32`, too, that takes them as float32.

    Args:
        traced: the tower.
        output: name of the output tensor.
        path: directory to write.
    """
    module = tf.Module()
    module.tracked = traced.resources
    embed = _traced(lambda **raw: {output: traced(raw)})
    signatures = {
        name: embed.get_concrete_function(**columns)
        for name, columns in by_precision(traced.tower.signature).items()
    }
    tf.saved_model.save(module, path, signatures=signatures)


def by_precision(columns: dict[str, tf.TensorSpec]) -> dict[str, dict[str, tf.TensorSpec]]:
    """Names of signatures, and the columns of each: with numbers in float64, and in float32.

    TensorFlow converts no argument, and seconds since 1970 do not fit float32, so the first is the default.
    """
    narrow = {
        name: tf.TensorSpec(spec.shape, tf.float32, name=name) if spec.dtype == tf.float64 else spec
        for name, spec in columns.items()
    }
    one = {"serving_default": columns}
    return one if narrow == columns else {**one, "serving_float32": narrow}


def save_retrieval(
    traced: TracedTower,
    catalogue: Catalogue,
    vectors: np.ndarray,
    k: int,
    path: str,
    repeats: Repeats | None = None,
) -> None:
    """Save query tower and candidate vectors as one model: raw query -> the best candidates.

    All signatures score the whole catalogue exactly, by the best of a query's vectors, and give
    `candidate_ids` (string `[batch, k]`) and `scores` (float `[batch, k]`), best first, the earlier
    candidate first where scores are equal. Where fewer than `k` candidates are left, the id is empty
    and the score -inf.

    - `serving_default`: raw query features; `k` is fixed, as batching in TF Serving needs it. With numbers
      among them, which are float64, `serving_float32` takes them as float32.
    - `recommend`: also `k` (int32 scalar from 1; more than there are gives all) and `exclude` (string
      `[batch, any]`, ids to leave out; ids outside the catalogue, such as the padding "", are
      ignored).
    - `recommend_allowed`: also `allow` (string `[any]`), ids to which all lists are restricted.

    With `repeats` each signature takes `history`, too: string `[batch, any]`, the item ids of a user's
    history, oldest first; "" pads. A history feature of that name reads the same argument.

    Args:
        traced: the query tower.
        catalogue: the candidates.
        vectors: float32 `[n, embedding_dim]`, of all candidates.
        k: length of the lists of `serving_default`.
        path: directory to write.
        repeats: the model of repeat consumption; None without one.

    Raises:
        ConfigError: if a query feature called `history` is not the list that `repeats` read.
    """
    search = _ExactSearch(traced, catalogue.ids, catalogue.lookup, vectors, repeats)
    if repeats is not None:
        _check_history(traced.tower)
    _save_search(search, traced.tower.signature, k, path, traced.resources)


def resave_retrieval(
    query: Path,
    shape: Sequence[int],
    ids: np.ndarray,
    vectors: np.ndarray,
    k: int,
    path: str,
    repeats: Repeats | None = None,
) -> None:
    """Save an exported query model and other candidate vectors as `save_retrieval` does, without the tower.

    Args:
        query: directory of the SavedModel of the query tower.
        shape: of the vectors of one query: `[dim]`, or `[interests, dim]`.
        ids: object array of `str` `[n]`, the candidates.
        vectors: float32 `[n, dim]`, of all candidates.
        k: length of the lists of `serving_default`.
        path: directory to write.
        repeats: the model of repeat consumption; None without one.
    """
    model = tf.saved_model.load(str(query))
    columns = _inputs(model, "serving_default")

    def embed(raw: Tensors) -> tf.Tensor:
        given = {name: _wide(raw[name], spec) for name, spec in columns.items()}
        found = model.signatures["serving_default"](**given)[QUERY_OUTPUT]
        return tf.ensure_shape(found, [None, *shape])

    search = _ExactSearch(embed, ids, string_lookup(ids), vectors, repeats)
    _save_search(search, columns, k, path, [model])


def _save_search(
    search: "_ExactSearch",
    query: dict[str, tf.TensorSpec],
    k: int,
    path: str,
    tracked: list[Any],
) -> None:
    """Save a search with the signatures of `save_retrieval`."""
    string_lists = tf.TensorSpec([None, None], tf.string, name="exclude")
    number = tf.TensorSpec([], tf.int32, name="k")
    allowed = tf.TensorSpec([None], tf.string, name="allow")
    fixed = _traced(lambda **raw: search.best(raw, tf.constant(k)))
    free = _traced(lambda k, exclude, **raw: search.best(raw, k, exclude))
    among = _traced(lambda k, exclude, allow, **raw: search.best(raw, k, exclude, allow))
    if search.takes_history:
        query["history"] = tf.TensorSpec([None, None], tf.string, name="history")
    signatures = {
        **{name: fixed.get_concrete_function(**of) for name, of in by_precision(query).items()},
        "recommend": free.get_concrete_function(k=number, exclude=string_lists, **query),
        "recommend_allowed": among.get_concrete_function(
            k=number, exclude=string_lists, allow=allowed, **query
        ),
    }
    search.tracked = [*tracked, search.table]
    tf.saved_model.save(search, path, signatures=signatures)


class _ExactSearch(tf.Module):
    """Scores all candidates and takes the best."""

    def __init__(
        self,
        embed: Callable[[Tensors], tf.Tensor],
        ids: np.ndarray,
        lookup: keras.layers.StringLookup,
        vectors: np.ndarray,
        repeats: Repeats | None,
    ) -> None:
        super().__init__()
        self.vectors = tf.Variable(vectors, trainable=False, name="candidate_vectors")
        self.ids = tf.Variable(list(ids), trainable=False, name="candidate_ids")
        # In a tuple, so that tf.Module does not track the Keras objects.
        self._untracked = (lambda: (embed, lookup, repeats),)

    @property
    def takes_history(self) -> bool:
        """Whether what a user had is an argument beside the query."""
        return self._untracked[0]()[2] is not None

    @property
    def table(self) -> Any:
        """The lookup table of the candidates, a resource to save."""
        return self._untracked[0]()[1].lookup_table

    def best(
        self,
        raw: dict[str, tf.Tensor],
        k: tf.Tensor,
        exclude: tf.Tensor | None = None,
        allow: tf.Tensor | None = None,
    ) -> dict[str, tf.Tensor]:
        embed, lookup, repeats = self._untracked[0]()

        def index(item_ids: tf.Tensor) -> tf.Tensor:
            return tf.cast(lookup(item_ids), tf.int32)

        scores = best_scores(embed(raw), self.vectors)
        if repeats is not None:
            scores = self._with_repeats(repeats, scores, index(raw["history"]))
        if allow is not None:
            # Counts by catalogue index, which is row + FIRST: padding and unknown ids fall on 0 and 1, and
            # the slice below drops them.
            ones = tf.ones_like(allow, tf.int32)
            wanted = tf.scatter_nd(index(allow)[:, tf.newaxis], ones, [self._width])
            scores = tf.where(wanted[FIRST:] > 0, scores, -np.inf)
        if exclude is not None:
            scores = self._without(scores, index(exclude))
        # In a graph the check is an op that has to run first; eagerly it runs at once and returns None.
        positive = tf.debugging.assert_positive(k, message="`k` must be 1 or more.")
        with tf.control_dependencies([positive] if positive is not None else []):
            best = tf.math.top_k(scores, tf.minimum(k, self._width - FIRST))
        left = best.values > -np.inf
        ids = tf.where(left, tf.gather(self.ids, best.indices), "")
        return {"candidate_ids": ids, "scores": best.values}

    def _with_repeats(self, repeats: Repeats, scores: tf.Tensor, history: tf.Tensor) -> tf.Tensor:
        """Replace the scores of items in the user's history, as `Repeats.apply` does.

        Args:
            repeats: the model of repeat consumption.
            scores: float32 `[batch, n]`.
            history: int32 `[batch, any]`, candidate indexes, oldest first; 0 pads, 1 is unknown.
        """
        # The weight of an event depends on its distance from the newest: history [a, b, c, pad] has
        # after = [2, 1, 0, 0]. float64 as in `Repeats.apply`, for equal scores.
        events = tf.cast(history > 0, tf.int32)
        after = tf.cumsum(events, axis=1, reverse=True) - events  # events that came later
        place = tf.cast(after, tf.float64)
        weights = tf.exp(-repeats.recency * tf.math.log1p(place) - repeats.decay * place)
        counts = (events > 0) & (after < repeats.length)
        # At least the smallest normal float: a weight that underflows to 0 would read as "not in the history".
        weights = tf.where(counts, tf.maximum(weights, np.finfo(np.float64).tiny), 0.0)
        # (query, catalogue index) of every event; scatter_nd adds the weights of repeated events. Padding (0)
        # and unknown (1) are the first FIRST columns, which the slice drops.
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
        # FIRST columns in front, so that a column is a catalogue index, and padding (0) and unknown ids (1)
        # bar nothing.
        padded = tf.pad(scores, [[0, 0], [FIRST, 0]])
        barred = tf.fill(tf.shape(rows), tf.constant(-np.inf, scores.dtype))
        return tf.tensor_scatter_nd_update(padded, where, barred)[:, FIRST:]


def _check_history(tower: Tower) -> None:
    """Refuse a feature with the name of the input of `repeats`, unless it is the same list."""
    if "history" not in tower.signature or shares_history(tower):
        return
    raise ConfigError(
        'With `model.repeats` the exported model has an argument "history", all that a user had. A query '
        "feature of that name must be a History without `min_rating` and `below_rating`, which reads the "
        "same list. Rename the column of the other feature, or give its History another `column`."
    )


def shares_history(tower: Tower) -> bool:
    """Whether the input of `repeats` is a feature of the tower, too."""
    specs = [layer.spec for layer in tower.histories if layer.spec.column == "history"]
    return bool(specs) and not specs[0].is_rated


def _embed(tower: Tower, raw: dict[str, tf.Tensor]) -> tf.Tensor:
    # TF Serving does not check ranks against the signature: without this, a list nested too deep would get
    # an arbitrary answer instead of an error.
    checked = {name: tf.ensure_shape(raw[name], spec.shape) for name, spec in tower.signature.items()}
    return tower(tower.preprocess(checked), training=False)


def save_pipeline(retrieval: Path, ranker: Path, n_candidates: int, k: int, path: Path) -> None:
    """Save the SavedModels of a retriever and a ranker as one.

    The inputs are the raw columns of both, each column once; the candidates are the retrieval's exact
    best. All signatures give `candidate_ids` (string `[batch, k]`) and `scores` (float `[batch, k]`), the
    ranker's, best first; ties keep the order of the retrieval. If fewer are left, the id is empty and the
    score -inf; a list is no longer than the candidates.

    - `serving_default`: raw columns; `k` and `n_candidates` are fixed, as batching in TF Serving needs it.
      With numbers among them, which are float64, `serving_float32` takes them as float32.
    - `recommend`: also `k`, `n_candidates` (int32 scalars from 1) and `exclude` (string `[batch, any]`, ids
      to leave out of the candidates, such as seen items; "" pads).
    - `recommend_allowed`: also `allow` (string `[any]`), ids to which all lists are restricted.

    Args:
        retrieval, ranker: directories of the SavedModels, as `save_retrieval` and `save_ranker` write them.
        n_candidates: how many candidates `serving_default` ranks.
        k: length of its lists.
        path: directory to write.
    """
    module = _Composed(retrieval, ranker)
    query = module.columns
    number = {name: tf.TensorSpec([], tf.int32, name=name) for name in ("k", "n_candidates")}
    exclude = {"exclude": tf.TensorSpec([None, None], tf.string, name="exclude")}
    allow = {"allow": tf.TensorSpec([None], tf.string, name="allow")}

    def fixed(**raw: tf.Tensor) -> Tensors:
        raw = {name: _wide(raw[name], spec) for name, spec in query.items()}
        # The retrieval's `recommend` takes `exclude`: one column of padding, as high as the batch.
        nothing = tf.fill([tf.shape(raw[next(iter(query))])[0], 1], "")
        return module.best(tf.constant(k), tf.constant(n_candidates), {"exclude": nothing, **raw})

    def free(k: tf.Tensor, n_candidates: tf.Tensor, **raw: tf.Tensor) -> Tensors:
        return module.best(k, n_candidates, raw)

    def concrete(function: Any, specs: dict[str, tf.TensorSpec]) -> Any:
        return _traced(function).get_concrete_function(**specs)

    signatures = {
        **{name: concrete(fixed, columns) for name, columns in by_precision(query).items()},
        "recommend": concrete(free, {**number, **exclude, **query}),
        "recommend_allowed": concrete(free, {**number, **exclude, **allow, **query}),
    }
    tf.saved_model.save(module, str(path), signatures=signatures)


class _Composed(tf.Module):
    """Retriever and ranker, with their variables and tables tracked."""

    def __init__(self, retrieval: Path, ranker: Path) -> None:
        super().__init__()
        self.retrieval = tf.saved_model.load(str(retrieval))
        self.ranker = tf.saved_model.load(str(ranker))
        inputs = {
            "all": _inputs(self.retrieval, "recommend"),
            "among": _inputs(self.retrieval, "recommend_allowed"),
            "ranker": _inputs(self.ranker, "rank_lists"),
        }
        # In a tuple, so that tf.Module does not wrap it.
        self._inputs = (inputs,)

    @property
    def columns(self) -> dict[str, tf.TensorSpec]:
        """The raw columns of both models."""
        (inputs,) = self._inputs
        both = {**inputs["ranker"], **inputs["all"]}
        own = ("k", "exclude", "candidate_ids")
        return {name: spec for name, spec in both.items() if name not in own}

    def best(self, k: tf.Tensor, n_candidates: tf.Tensor, raw: Tensors) -> Tensors:
        """Final lists for raw columns, among them `exclude` and perhaps `allow`."""
        (inputs,) = self._inputs
        which, signature = ("among", "recommend_allowed") if "allow" in raw else ("all", "recommend")
        columns = {name: raw[name] for name in inputs[which] if name != "k"}
        candidates = self.retrieval.signatures[signature](k=n_candidates, **columns)
        ids = candidates["candidate_ids"]
        columns = {name: raw[name] for name in inputs["ranker"] if name != "candidate_ids"}
        scores = self.ranker.signatures["rank_lists"](candidate_ids=ids, **columns)["score"]
        # The ranker scores padding like an unknown item, so it could win a place.
        scores = tf.where(ids != "", scores, -np.inf)
        positive = tf.debugging.assert_positive(k, message="`k` must be 1 or more.")
        with tf.control_dependencies([positive] if positive is not None else []):
            best = tf.math.top_k(scores, tf.minimum(k, tf.shape(ids)[1]))
        listed = tf.gather(ids, best.indices, batch_dims=1)
        return {"candidate_ids": listed, "scores": best.values}


def _inputs(model: Any, signature: str) -> dict[str, tf.TensorSpec]:
    if signature not in model.signatures:
        raise ReleaseError(
            f'A SavedModel of the release has no signature "{signature}", so it was written by an earlier '
            f"version. It has: {', '.join(model.signatures)}. Export the model again."
        )
    _, named = model.signatures[signature].structured_input_signature
    return {name: tf.TensorSpec(spec.shape, spec.dtype, name=name) for name, spec in named.items()}


# Path below a SavedModel from which TF Serving reads warm-up requests.
FILE = Path("assets.extra") / "tf_serving_warmup_requests"


def write_warmup(saved_model: Path, name: str, requests: list[tuple[str, dict[str, Any]]]) -> None:
    """Write the warm-up records of a SavedModel.

    Args:
        saved_model: its directory.
        name: name under which the model is served.
        requests: signature names, and for each the tensors of one request. At most 1,000: TF Serving
            reads no more, and one that fails keeps the version from loading.
    """
    file = saved_model / FILE
    file.parent.mkdir()
    with tf.io.TFRecordWriter(str(file)) as writer:
        for signature, inputs in requests:
            writer.write(_prediction_log(name, signature, inputs))


def _prediction_log(name: str, signature: str, inputs: dict[str, Any]) -> bytes:
    """A `PredictionLog` of TF Serving with one request, as a serialized protocol buffer.

    Written by hand, because `tensorflow-serving-api` would bring in gRPC for four messages. Field numbers are
    those of `apis/{prediction_log,predict,model}.proto`.
    """
    model_spec = _field(1, name.encode()) + _field(3, signature.encode())
    request = _field(1, model_spec)
    for key, value in inputs.items():
        tensor = tf.make_tensor_proto(value).SerializeToString()
        request += _field(2, _field(1, key.encode()) + _field(2, tensor))
    predict_log = _field(1, request)
    return _field(6, predict_log)


def _field(number: int, content: bytes) -> bytes:
    """A field of a protocol buffer that holds text, bytes or a message: tag, length, content."""
    length, size = len(content), b""
    while length >= 128:  # a varint: seven bits a byte, the lowest first
        size += bytes([length % 128 + 128])
        length //= 128
    # number << 3 | 2, the wire type of length-delimited fields.
    return bytes([number * 8 + 2]) + size + bytes([length]) + content
