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
    # One more than are ranked, which says how near the next one was.
    asked: dict[str, Any] = {"rules": Rules(), "index": "exact", "exclude_seen": False}
    asked["n_candidates"] = min(n_candidates + 1, len(pipeline.item_ids))
    for queries in (*_queries(pipeline, SAMPLE_ROWS, 1), *_queries(pipeline, 1, 1)):
        inputs = _inputs(pipeline, queries)
        staged = pipeline.stages(queries, k, **asked)
        best = str(pipeline.item_ids[staged.hits.rows[0, 0]])
        without = pipeline.stages(queries, k, exclude=[best], **asked)
        barred = [[best, ""]] * len(queries)
        free = {**inputs, "k": k, "n_candidates": n_candidates, "exclude": barred}
        told += [
            (Case("pipeline", "serving_default", inputs, {}), staged),
            (Case("pipeline", "recommend", free, {}), without),
        ]
    answers = replayed(directory, [case for case, _ in told])
    return max(
        _compared(pipeline, case, staged, answer, n_candidates)
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
    if pipeline.repeats is not None:  # which weigh all that was had, more than a History may take
        had = [pipeline.item_ids[pipeline.people.seen(user)].tolist() for user in asked.users]
        width = max(1, *map(len, had))
        inputs[REPEATED] = [ids + [""] * (width - len(ids)) for ids in had]
    return inputs


def _compared(
    pipeline: TwoStages, case: Case, staged: Staged, answer: dict[str, Any], n_candidates: int
) -> float:
    worst = 0.0
    for i, ids in enumerate(answer["candidate_ids"]):
        scores = np.array(answer["scores"][i], np.float32)
        rows, ranked = staged.candidates.rows[i], staged.ranked[i]
        tied = _tied(staged.candidates.scores[i], n_candidates)
        count = len(rows) if tied else n_candidates
        live = dict(zip(pipeline.item_ids[rows[:count]], ranked[:count].tolist(), strict=True))
        strange = [item for item in ids if item and item not in live]
        if strange:
            raise _unlike(case, f"it ranks {strange[0]}, which is no candidate of query {i}")
        own = np.array([live[item] if item else -np.inf for item in ids], np.float32)
        compared = {"those of its items": own}
        if not tied:
            compared["the best"] = np.sort(ranked[:n_candidates])[::-1][: len(ids)]
        for what, expected in compared.items():
            there = np.isfinite(expected)
            largest = max(float(np.abs(expected[there]).max(initial=0)), np.finfo(np.float32).tiny)
            difference = float(np.abs(expected[there] - scores[there]).max(initial=0)) / largest
            if not difference <= TOLERANCE or not np.array_equal(expected[~there], scores[~there]):
                raise _unlike(case, f"scores of query {i} are not {what}, by {difference:.2g}")
            worst = max(worst, difference)
    return worst


def _tied(scores: np.ndarray, n_candidates: int) -> bool:
    """Whether the last candidate and the next item score alike but for rounding."""
    if len(scores) <= n_candidates or not np.isfinite(scores[n_candidates]):
        return False
    near = TOLERANCE * np.abs(scores[np.isfinite(scores)]).max()
    return bool(scores[n_candidates - 1] - scores[n_candidates] <= near)


def _unlike(case: Case, what: str) -> ExportError:
    return ExportError(
        f"{case} does not answer like the pipeline in process: {what}. Nothing was published."
    )
