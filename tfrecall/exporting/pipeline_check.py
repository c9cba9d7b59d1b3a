"""Proof that a pipeline's SavedModel answers like the pipeline in process."""

from pathlib import Path
from typing import Any

import numpy as np

from tfrecall.errors import ExportError
from tfrecall.exporting.export import SAMPLE_ROWS
from tfrecall.exporting.round_trip import TOLERANCE, Case, replayed
from tfrecall.release.people import Query
from tfrecall.release.release import REPEATED
from tfrecall.release.rules import Rules
from tfrecall.release.two_stages import Staged, TwoStages


def sample_requests(pipeline: TwoStages, at_once: int, requests: int = 1) -> list[dict[str, Any]]:
    """Inputs of the SavedModel for some known users, the last of each request being nobody.

    Args:
        pipeline: of releases.
        at_once: queries in a request.
        requests: how many.
    """
    return [_inputs(pipeline, queries) for queries in _queries(pipeline, at_once, requests)]


def check_pipeline(pipeline: TwoStages, directory: Path, n_candidates: int, k: int) -> float:
    """Asks `directory / "pipeline"` in a fresh process: the largest relative difference of a score.

    Each id has the ranker's score that it has in process, stands among the best candidates there, and
    none that belongs into the list is left out. Where two candidates score alike but for rounding, at the
    border of the candidates or of the list, either may stand there.

    Raises:
        ExportError: if it answers otherwise, or cannot be loaded.
    """
    told: list[tuple[Case, Staged]] = []
    for queries in (*_queries(pipeline, SAMPLE_ROWS, 1), *_queries(pipeline, 1, 1)):
        inputs = _inputs(pipeline, queries)
        plain: dict[str, Any] = {"rules": Rules(), "n_candidates": n_candidates, "index": "exact"}
        staged = pipeline.stages(queries, k, exclude_seen=False, **plain)
        best = pipeline._padded_ids[staged.hits.rows[:, 0]].tolist()
        without = pipeline.stages(queries, k, exclude_seen=False, exclude=best[:1], **plain)
        barred = [[best[0], ""]] * len(queries)
        free = {**inputs, "k": k, "n_candidates": n_candidates, "exclude": barred}
        told += [
            (Case("pipeline", "serving_default", inputs, {}), staged),
            (Case("pipeline", "recommend", free, {}), without),
        ]
    answers = replayed(directory, [case for case, _ in told])
    return max(
        _compared(pipeline, case, staged, answer)
        for (case, staged), answer in zip(told, answers, strict=True)
    )


def _queries(pipeline: TwoStages, at_once: int, requests: int) -> list[list[Query]]:
    users: list[Query] = list(pipeline.people.rows)
    users = users[:: max(1, len(users) // (at_once * requests))]
    groups = [users[i * at_once : (i + 1) * at_once] for i in range(requests)]
    return [[*group[: at_once - 1], {}] if at_once > 1 or not group else group for group in groups]


def _inputs(pipeline: TwoStages, queries: list[Query]) -> dict[str, Any]:
    asked = pipeline.people.ask(queries)
    inputs = {name: values.tolist() for name, values in asked.features.items()}
    if pipeline.repeats is not None and REPEATED not in inputs:
        had = [pipeline.item_ids[pipeline.people.seen(user)].tolist() for user in asked.users]
        width = max(1, *map(len, had))
        inputs[REPEATED] = [ids + [""] * (width - len(ids)) for ids in had]
    return inputs


def _compared(pipeline: TwoStages, case: Case, staged: Staged, answer: dict[str, Any]) -> float:
    worst, k = 0.0, staged.hits.rows.shape[1]
    for i, ids in enumerate(answer["candidate_ids"]):
        scores = np.array(answer["scores"][i], np.float32)
        rows, ranked = staged.candidates.rows[i], staged.ranked[i]
        live = dict(zip(pipeline._padded_ids[rows].tolist(), ranked.tolist(), strict=True))
        largest = max(float(np.abs(ranked[rows >= 0]).max(initial=0)), np.finfo(np.float32).tiny)
        expected = np.sort(ranked)[::-1][:k]
        strange = [item for item in ids if item and item not in live]
        # What is not among the candidates in process ties with the last of them, or is wrong.
        if strange and not _tied_at_the_border(staged.candidates.scores[i]):
            raise _unlike(case, f"it ranks {strange[0]}, which is no candidate of query {i}")
        if strange:
            continue
        own = np.array([live[item] if item else -np.inf for item in ids], np.float32)
        for what, given in (("the ranker's", own), ("the best", expected)):
            there = np.isfinite(given)
            difference = float(np.abs(given[there] - scores[there]).max(initial=0)) / largest
            if not difference <= TOLERANCE or not np.array_equal(given[~there], scores[~there]):
                raise _unlike(case, f"scores of query {i} are not {what}, by {difference:.2g}")
            worst = max(worst, difference)
    return worst


def _tied_at_the_border(scores: np.ndarray) -> bool:
    there = scores[np.isfinite(scores)]
    return len(there) > 1 and there[-2] - there[-1] <= TOLERANCE * np.abs(there).max()


def _unlike(case: Case, what: str) -> ExportError:
    return ExportError(
        f"{case} does not answer like the pipeline in process: {what}. Nothing was published."
    )
