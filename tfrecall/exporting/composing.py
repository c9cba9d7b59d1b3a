"""One SavedModel of two: raw query -> candidates -> their scores by the ranker -> the final list."""

from pathlib import Path
from typing import Any

import numpy as np

from tfrecall._keras import tf
from tfrecall.errors import ReleaseError

Tensors = dict[str, tf.Tensor]


def save_pipeline(retrieval: Path, ranker: Path, n_candidates: int, k: int, path: Path) -> None:
    """Writes the SavedModels of a retriever and a ranker as one, which holds all that they hold.

    The inputs are the raw columns of both, each column once; the candidates are the retrieval's exact
    best. All signatures give `candidate_ids` (string `[batch, k]`) and `scores` (float `[batch, k]`), the
    ranker's, best first, of equal ones the retrieval's better one first. Where fewer are left, the id is
    empty and the score -inf; a list is no longer than the candidates.

    - `serving_default`: raw columns; `k` and `n_candidates` are fixed, as batching in TF Serving needs it.
    - `recommend`: also `k`, `n_candidates` (int32 scalars from 1) and `exclude` (string `[batch, any]`, ids
      that shall be no candidates: what was seen, for one; "" pads).
    - `recommend_allowed`: also `allow` (string `[any]`), the only ids wanted.

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
        nothing = tf.fill([tf.shape(raw[next(iter(query))])[0], 1], "")
        return module.best(tf.constant(k), tf.constant(n_candidates), {"exclude": nothing, **raw})

    def free(k: tf.Tensor, n_candidates: tf.Tensor, **raw: tf.Tensor) -> Tensors:
        return module.best(k, n_candidates, raw)

    def concrete(function: Any, specs: dict[str, tf.TensorSpec]) -> Any:
        return tf.function(function, autograph=False).get_concrete_function(**specs)

    signatures = {
        "serving_default": concrete(fixed, query),
        "recommend": concrete(free, {**number, **exclude, **query}),
        "recommend_allowed": concrete(free, {**number, **exclude, **allow, **query}),
    }
    tf.saved_model.save(module, str(path), signatures=signatures)


class _Composed(tf.Module):
    """Both models, whose variables and tables it tracks."""

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
        """The final lists, of `raw` columns with `exclude` and, maybe, `allow` among them."""
        (inputs,) = self._inputs
        which, signature = ("among", "recommend_allowed") if "allow" in raw else ("all", "recommend")
        asked = {name: raw[name] for name in inputs[which] if name != "k"}
        found = self.retrieval.signatures[signature](k=n_candidates, **asked)
        ids = found["candidate_ids"]
        columns = {name: raw[name] for name in inputs["ranker"] if name != "candidate_ids"}
        scores = self.ranker.signatures["rank_lists"](candidate_ids=ids, **columns)["score"]
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
