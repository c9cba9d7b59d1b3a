"""Proof that what was exported answers like the live model."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from tfrecall.errors import ExportError
from tfrecall.exporting.signatures import CANDIDATE_OUTPUT, QUERY_OUTPUT
from tfrecall.index.exact import ExactIndex

# Relative to the largest number compared. The same operations run in another graph, where the order of
# additions may differ: float32 keeps about seven digits.
TOLERANCE = 1e-5
TIMEOUT_SECONDS = 600


def check_round_trip(
    directory: Path,
    queries: dict[str, np.ndarray],
    query_vectors: np.ndarray,
    candidates: dict[str, np.ndarray],
    candidate_vectors: np.ndarray,
    exact: ExactIndex,
    k: int,
) -> float:
    """Replays samples in a fresh process, all at once and the first alone, and compares.

    Args:
        directory: holds the SavedModels `query`, `candidate` and `retrieval`.
        queries: raw features of some queries.
        query_vectors: what the live model makes of them.
        candidates: raw features of some candidates.
        candidate_vectors: what the live model makes of them.
        exact: exact search over the live candidate vectors.
        k: length of the lists of `retrieval`.

    Returns:
        The largest difference found, relative to the largest number compared.

    Raises:
        ExportError: if an answer differs by more than `TOLERANCE`, or the models cannot be loaded.
    """
    hits = exact.search(query_vectors, k)
    live = {
        "query": {QUERY_OUTPUT: query_vectors},
        "candidate": {CANDIDATE_OUTPUT: candidate_vectors},
        "retrieval": {"scores": hits.scores},
    }
    raw = {"query": queries, "candidate": candidates, "retrieval": queries}
    cases = [_case(directory, name, raw[name], rows) for name in live for rows in (None, 1)]
    answers = _replay(directory, cases)
    worst = 0.0
    for case, answer in zip(cases, answers, strict=True):
        for output, expected in live[case["name"]].items():
            received = np.array(answer[output], np.float32)
            worst = max(worst, _difference(case, output, expected[: len(received)], received))
        if case["name"] == "retrieval":
            _check_ids(answer, query_vectors, exact)
    return worst


def _case(directory: Path, name: str, raw: dict[str, np.ndarray], rows: int | None) -> dict[str, Any]:
    inputs = {column: values[:rows].tolist() for column, values in raw.items()}
    return {
        "name": name,
        "model": str(directory / name),
        "signature": "serving_default",
        "inputs": inputs,
    }


def _replay(directory: Path, cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    source, target = directory / "cases.json", directory / "answers.json"
    try:
        source.write_text(json.dumps(cases), "utf-8")
        subprocess.run(
            [sys.executable, "-m", "tfrecall.exporting.replay", str(source), str(target)],
            check=True,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
        )
        return json.loads(target.read_text("utf-8"))
    except subprocess.CalledProcessError as error:
        raise ExportError(
            f"The exported models do not load in a fresh process:\n{error.stderr[-2000:]}"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise ExportError(
            f"The exported models did not answer within {TIMEOUT_SECONDS} seconds in a fresh process."
        ) from error
    finally:
        source.unlink(missing_ok=True)
        target.unlink(missing_ok=True)


def _difference(case: dict[str, Any], output: str, live: np.ndarray, exported: np.ndarray) -> float:
    if live.shape != exported.shape:
        raise ExportError(
            f"{case['model']} answers {output} of shape {exported.shape}, the live model {live.shape}."
        )
    largest = max(float(np.abs(live).max(initial=0)), np.finfo(np.float32).tiny)
    difference = float(np.abs(live - exported).max(initial=0)) / largest
    if not difference <= TOLERANCE:
        raise ExportError(
            f"{case['model']} does not answer like the live model: {output} differs by {difference:.2g} "
            f"of the largest number, more than {TOLERANCE}. Nothing was published."
        )
    return difference


def _check_ids(answer: dict[str, Any], query_vectors: np.ndarray, exact: ExactIndex) -> None:
    """Each id has the score it came with; which of two equal ones comes first is left open."""
    row_of = {item: row for row, item in enumerate(exact.ids)}
    for i, (ids, scores) in enumerate(zip(answer["candidate_ids"], answer["scores"], strict=True)):
        live = exact.vectors[[row_of[item] for item in ids]] @ query_vectors[i]
        if not np.allclose(live, scores, rtol=1e-4, atol=1e-4 * np.abs(live).max()):
            raise ExportError(
                f"The exported retrieval model gives {ids} to query {i} with scores {scores}; the live "
                f"model scores them {live.tolist()}. Nothing was published."
            )
