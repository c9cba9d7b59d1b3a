"""Export of a retriever: SavedModels, index, context and manifest, checked and published as one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tfrecall._keras import tf
from tfrecall.core.columns import REQUEST_TIME
from tfrecall.core.raw import raw_features
from tfrecall.core.top_k import check_k
from tfrecall.data.histories import last_queries
from tfrecall.data.interactions import Interactions
from tfrecall.errors import ExportError
from tfrecall.exporting.context import past_items, write_context
from tfrecall.exporting.round_trip import SAMPLE_ROWS, check_round_trip
from tfrecall.exporting.signatures import (
    CANDIDATE_OUTPUT,
    QUERY_OUTPUT,
    TracedTower,
    save_retrieval,
    save_tower,
    shares_history,
    write_warmup,
)
from tfrecall.index.annoy import Annoy
from tfrecall.index.bundle import Bundle, IndexSettings, write_bundle
from tfrecall.models.catalogue import Catalogue
from tfrecall.models.queries import query_defaults
from tfrecall.models.ranker import Ranker
from tfrecall.models.two_tower import TwoTower
from tfrecall.release.base import Release
from tfrecall.release.histories import UserHistories, padded_ids, same_width
from tfrecall.release.layout import StagedRelease, stage
from tfrecall.release.loading import load
from tfrecall.release.manifest import check_facts, fingerprint, made_with
from tfrecall.schema.features import Schema

# Queries of known users to which the Annoy index is tuned.
TUNING_ROWS = 500
# Packages that determine a model's numbers.
PACKAGES = ("tfrecall", "tensorflow", "tf-keras")
HISTORY_SETTINGS = ("history_length", "min_rating", "below_rating", "context")
# Values that no log is expected to hold, to replay the path of unknown items and context.
STRANGE_ID = "no such item"
STRANGE_VALUE = "no such value"


def export_retriever(
    model: TwoTower,
    path: str | Path,
    *,
    index: IndexSettings | None = Annoy(),  # noqa: B008 - frozen, so one default serves all calls
    k: int = 10,
    exclude_seen: bool = True,
    facts: dict[str, Any] | None = None,
) -> Release:
    """Write the next version of a release of a two-tower model and open it.

    Args:
        model: an adapted, trained model.
        path: the release directory; created if it does not exist.
        index: an approximate index to build and tune; None for exact search only.
        k: length of the lists that the `serving_default` signature of `retrieval` gives.
        exclude_seen: whether lists leave out seen items unless a query says otherwise.
        facts: further facts for the manifest, as JSON can hold them: metrics, configuration, data.

    Raises:
        ExportError: if the directory cannot be written, or an exported model answers unlike the live
            one.
        ConfigError: if `k` does not lie between 1 and the size of the catalogue.
    """
    with stage(path) as staged:
        stage_retriever(model, staged, index=index, k=k, exclude_seen=exclude_seen, facts=facts)
    return load(path, staged.version, verify=False)


def stage_retriever(
    model: TwoTower,
    staged: StagedRelease,
    *,
    index: IndexSettings | None,
    k: int = 10,
    exclude_seen: bool = True,
    facts: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Fill a staged release with a model, and compare both in a fresh process.

    Args:
        model: an adapted, trained model.
        staged: from `tfrecall.release.layout.stage`.
        index: an approximate index to build and tune; None for exact search only.
        k: length of the lists that the `serving_default` signature of `retrieval` gives.
        exclude_seen: whether the release leaves out seen items by default.
        facts: further facts for the manifest.

    Returns:
        The manifest, but for the files.

    Raises:
        ExportError: if an exported model answers unlike the live one.
        ConfigError: if `k` does not lie between 1 and the size of the catalogue.
    """
    check_facts(facts)
    check_k(k, len(model.catalogue), of_what="candidates")
    vectors = model.embed_candidates()
    if not np.isfinite(vectors).all():
        raise ExportError(
            f"{int((~np.isfinite(vectors)).any(axis=1).sum())} of {len(vectors)} candidate vectors hold "
            "NaN or infinity: the training diverged. Lower the learning rate and train again."
        )
    identity, directory = _fingerprint(model, vectors), staged.directory
    with tensorflow_errors(staged):
        _save_models(model, vectors, k, directory)
        bundle = _write_index(model, vectors, index, identity, directory, exclude_seen)
        stored = write_context(
            directory / "context",
            item_table(model.catalogue, model.schema.candidate_id),
            model.interactions,
            model.query_tower.forms,
            histories_of(model),
        )
        difference = _compare(model, vectors, bundle, k, directory)
    manifest = _facts(model, identity, k, difference, bundle)
    manifest |= {"exclude_seen": exclude_seen, "stored_histories": stored}
    return staged.describe("retriever", {**manifest, **(facts or {})})


@contextmanager
def tensorflow_errors(staged: StagedRelease) -> Iterator[None]:
    """Translate TensorFlow's errors, such as those of a full disk, which are no `OSError`.

    Raises:
        ExportError: naming the release directory.
    """
    try:
        yield
    except tf.errors.OpError as error:
        raise ExportError(
            f"The release could not be written to {staged.root}: {error}. Check the permissions and the "
            "free space there. The version before is untouched."
        ) from error


def item_table(catalogue: Catalogue, candidate_id: str) -> pl.DataFrame:
    """The item table, with the column that identifies candidates as text in `item_id`."""
    return catalogue.items.select(
        pl.col(candidate_id).cast(pl.String).alias("item_id"), pl.all().exclude("item_id")
    )


def _save_models(model: TwoTower, vectors: np.ndarray, k: int, directory: Path) -> None:
    query, candidate = TracedTower(model.query_tower), TracedTower(model.candidate_tower)
    save_tower(query, QUERY_OUTPUT, str(directory / "query"))
    save_tower(candidate, CANDIDATE_OUTPUT, str(directory / "candidate"))
    save_retrieval(query, model.catalogue, vectors, k, str(directory / "retrieval"), model.repeats)
    one_query = {name: values[:1] for name, values in sample_queries(model, 1).items()}
    one_candidate = raw_features(model.catalogue.items[:1], candidate.tower.forms)
    # A signature takes its inputs in full, so warm-up requests hold an empty history, too.
    request = {"history": np.array([[""]], object), **one_query} if model.repeats else one_query
    everyone = {**request, "k": np.int32(k), "exclude": np.array([[""]], object)}
    write_warmup(directory / "query", "query", [("serving_default", one_query)])
    write_warmup(directory / "candidate", "candidate", [("serving_default", one_candidate)])
    write_warmup(
        directory / "retrieval",
        "retrieval",
        [("serving_default", request), ("recommend", everyone)],
    )


def _write_index(
    model: TwoTower,
    vectors: np.ndarray,
    index: IndexSettings | None,
    fingerprint: str,
    directory: Path,
    exclude_seen: bool,
) -> Bundle:
    queries = model.query_tower.embed(sample_queries(model, TUNING_ROWS))
    return write_bundle(
        directory / "index",
        vectors,
        model.catalogue.ids,
        index,
        tuning_queries=queries,
        tuning_exclude=_seen(model, len(queries)) if exclude_seen else None,
        model=fingerprint,
        interests=model.query_tower.interests,
    )


def _seen(model: TwoTower, queries: int) -> list[np.ndarray]:
    """Seen items of the users of `sample_queries`, in catalogue rows; none of the unknown ones."""
    seen: list[np.ndarray] = []
    if (data := model.interactions) is not None:
        users = data.user_vocabulary.rows(_sample(data, TUNING_ROWS)["user_id"])
        seen = [data.histories[user] for user in users]
    return [*seen, *[np.empty(0, np.int64)] * (queries - len(seen))]


def histories_of(model: TwoTower | Ranker) -> dict[str, UserHistories]:
    """Histories of the model's users, for each history feature and each column of its context."""
    data, specs = model.interactions, model.schema.histories
    return past_items(data, specs, model.history_index(data)) if data is not None and specs else {}


def _compare(model: TwoTower, vectors: np.ndarray, bundle: Bundle, k: int, directory: Path) -> float:
    """The largest difference between SavedModels and live model."""
    queries = sample_queries(model, SAMPLE_ROWS)
    items = model.catalogue.items[:SAMPLE_ROWS]
    return check_round_trip(
        directory,
        queries,
        model.query_tower.embed(queries),
        raw_features(items, model.candidate_tower.forms),
        vectors[:SAMPLE_ROWS],
        bundle.exact,
        k,
        model.repeats,
        _sample_histories(model, queries),
    )


def _sample_histories(model: TwoTower, queries: dict[str, np.ndarray]) -> np.ndarray | None:
    """Histories to sample for the replay check, the last one empty; None for a model without `repeats`."""
    if model.repeats is None:
        return None
    if shares_history(model.query_tower):
        return queries["history"]
    count = len(next(iter(queries.values())))
    histories = []
    if model.interactions is not None:
        past, ids = model.interactions.histories, model.catalogue.ids
        some = np.flatnonzero(past.lengths)[: count - 1]
        # One event more than `repeats` read, so that the cut is replayed, too.
        histories = [ids[past[user][-model.repeats.length - 1 :]].tolist() for user in some]
    return padded_ids([*histories, *[[]] * (count - len(histories))])


def sample_queries(model: TwoTower | Ranker, rows: int) -> dict[str, np.ndarray]:
    """Raw features of up to `rows` known users at the end of the log, and of an unknown user.

    With histories, the unknown user comes twice: with an unknown item among others, and with no item.
    """
    nobody = _nobody(model)
    if model.interactions is None:
        return nobody
    queries = _sample(model.interactions, rows)
    made = model.schema.history_columns
    forms = {c: form for c, form in model.query_tower.forms.items() if c not in made}
    known = raw_features(queries, forms)
    users = model.interactions.user_vocabulary.rows(queries["user_id"])
    known.update({name: past.ids(users) for name, past in histories_of(model).items()})
    if model.schema.is_timed:
        # One moment, which does not pass between the two models compared.
        known[REQUEST_TIME] = np.full(len(queries), model.interactions.event_times.max())
    return {name: np.concatenate(same_width(known[name], nobody[name])) for name in nobody}


def _sample(data: Interactions, rows: int) -> pl.DataFrame:
    queries = last_queries(data)
    return queries.sample(min(rows, len(queries)), seed=0)


def _nobody(model: TwoTower | Ranker) -> dict[str, np.ndarray]:
    forms, unknowns = model.query_tower.forms, model.query_tower.unknowns
    lists = model.schema.histories
    rows = 2 if lists else 1
    shape = {name: (rows, 1) if form == "strings" else (rows,) for name, form in forms.items()}
    shape |= {name: (rows, len(unknowns[name])) for name, form in forms.items() if form == "vector"}
    # Texts as object arrays: NumPy's fixed-width strings would cut longer ones when joined.
    unknown = {name: np.full(shape[name], unknowns[name]) for name in forms}
    unknown = {
        name: v.astype(object) if forms[name] in ("string", "strings") else v
        for name, v in unknown.items()
    }
    some = model.catalogue.ids[:2].tolist()
    strange = {name: padded_ids([[*some, STRANGE_ID, some[0]], []]) for name in lists}
    for spec in lists.values():
        # An event with context values that never occur in the log.
        context = padded_ids([["", "", "", STRANGE_VALUE], []])
        strange.update(dict.fromkeys(spec.context_columns.values(), context))
    return {**unknown, **strange}


def _facts(model: TwoTower, identity: str, k: int, difference: float, bundle: Bundle) -> dict[str, Any]:
    config = model.get_config()
    return {
        "model": {
            "name": model.name,
            "type": type(model).__name__,
            "fingerprint": identity,
            "dimension": bundle.exact.dimension,
            "candidates": len(bundle.exact),
            **_cold_candidates(model),
            "normalize": config["normalize"],
            "interests": model.query_tower.interests,
        },
        "schema": config["schema"],
        "query": {"forms": model.query_tower.forms, "defaults": query_defaults(model)},
        "candidate": {
            "forms": model.candidate_tower.forms,
            "defaults": model.candidate_tower.unknowns,
        },
        "repeats": model.repeats and model.repeats.to_dict(),
        "histories": history_settings(model.schema),
        "k": k,
        "index": bundle.summary(),
        "tuning": bundle.tuning,
        "round_trip": {"largest_relative_difference": difference},
        "made_with": made_with(*PACKAGES, "annoy"),
    }


def _cold_candidates(model: TwoTower) -> dict[str, int]:
    """Number of candidates without an event, which features alone describe; nothing where no log says so."""
    if model.interactions is None:
        return {}
    rows = model.interactions.item_rows
    return {"cold_candidates": len(model.catalogue) - len(np.unique(rows[rows >= 0]))}


def history_settings(schema: Schema) -> dict[str, dict[str, Any]]:
    """Settings of the history features, for the manifest."""
    return {
        name: {key: getattr(spec, key) for key in HISTORY_SETTINGS}
        for name, spec in schema.histories.items()
    }


def _fingerprint(model: TwoTower, vectors: np.ndarray) -> str:
    """Fingerprint of weights, vocabularies and statistics, and candidates."""
    towers = (model.query_tower, model.candidate_tower)
    facts = [
        model.catalogue.ids.tolist(),
        model.repeats and model.repeats.to_dict(),
        *(tower.get_config() for tower in towers),
    ]
    return fingerprint(facts, [vectors, *(w for tower in towers for w in tower.get_weights())])
