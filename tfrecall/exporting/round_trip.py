"""Round trip: exported models must answer like the live ones.

The exported models answer in a fresh process, which has never seen the live one. Where the environment
variable `TFRECALL_REPLAY` is `in_process` they answer in this one: the same answers, without the seconds
that a second TensorFlow takes to start. It is meant for tests that export a lot.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import tfrecall
from tfrecall.core.top_k import best_scores
from tfrecall.errors import ExportError
from tfrecall.exporting.replay import WATCH, replay
from tfrecall.exporting.signatures import CANDIDATE_OUTPUT, QUERY_OUTPUT
from tfrecall.index.exact import ExactIndex
from tfrecall.index.repeats import Repeats, search_with_repeats
from tfrecall.index.search import Hits
from tfrecall.release.base import REPEATED
from tfrecall.release.pipeline import BasePipeline, Staged
from tfrecall.release.rules import Rules
from tfrecall.release.users import Query

# Relative to the largest number compared. The same operations run in another graph, where the order of
# additions may differ: float32 keeps about seven digits.
TOLERANCE = 1e-5
TIMEOUT_SECONDS = 600
# Number of queries and of candidates to compare.
SAMPLE_ROWS = 32
# Length of the allow-list of `recommend_allowed` in the comparison.
ALLOWED = 100

Features = dict[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    """One request to a SavedModel, with the live model's answer.

    Attributes:
        name: name of the SavedModel.
        signature: name of the signature.
        inputs: inputs of the signature.
        outputs: the live model's numbers by output.
        live: the live model's scores of all candidates, for signatures that return ids.
    """

    name: str
    signature: str
    inputs: dict[str, Any]
    outputs: dict[str, np.ndarray]
    live: np.ndarray | None = None

    def __str__(self) -> str:
        return f"The exported model {self.name}, asked by {self.signature},"


def check_round_trip(
    directory: Path,
    queries: Features,
    query_vectors: np.ndarray,
    candidates: Features,
    candidate_vectors: np.ndarray,
    exact: ExactIndex,
    k: int,
    repeats: Repeats | None = None,
    histories: np.ndarray | None = None,
) -> float:
    """Replay samples in a fresh process, all at once and the first alone, and compare the answers.

    Args:
        directory: holds the SavedModels `query`, `candidate` and `retrieval`.
        queries: raw features of some queries.
        query_vectors: the live model's vectors of these queries.
        candidates: raw features of some candidates.
        candidate_vectors: the live model's vectors of these candidates.
        exact: exact search over the live candidate vectors.
        k: length of the lists of `retrieval`.
        repeats: the model of repeat consumption; None without one.
        histories: with `repeats`, the repeated history of each query: object `[n, any]` of ids, oldest
            first; "" pads.

    Returns:
        The largest difference found, relative to the largest number compared.

    Raises:
        ExportError: if an answer differs by more than `TOLERANCE`, or the models cannot be loaded.
    """
    cases = []
    # The first query alone as well: batches of one find shapes that were fixed while tracing.
    for rows in (None, 1):
        some, vectors = _first(queries, rows), query_vectors[:rows]
        cases += [
            Case("query", "serving_default", some, {QUERY_OUTPUT: vectors}),
            Case(
                "candidate",
                "serving_default",
                _first(candidates, rows),
                {CANDIDATE_OUTPUT: candidate_vectors[:rows]},
            ),
            *_retrieval_cases(
                some, vectors, exact, k, repeats, None if histories is None else histories[:rows]
            ),
        ]
    answers = replayed(directory, cases)
    # Numbers first: if a tower differs, so do the lists, and the error should name the tower.
    worst = _largest_difference(cases, answers)
    for case, answer in zip(cases, answers, strict=True):
        if case.live is not None:
            _check_ids(case, answer, case.live, exact)
    return worst


def check_replayed(directory: Path, cases: list[Case]) -> float:
    """Replay any requests in a fresh process, and compare the outputs.

    Returns:
        The largest difference found, relative to the largest number compared.

    Raises:
        ExportError: if an output differs by more than `TOLERANCE`."""
    return _largest_difference(cases, replayed(directory, cases))


def _largest_difference(cases: list[Case], answers: list[dict[str, Any]]) -> float:
    worst = 0.0
    for case, answer in zip(cases, answers, strict=True):
        for output, expected in case.outputs.items():
            received = np.array(answer[output], np.float32)
            worst = max(worst, _difference(case, output, expected, received))
    return worst


def _first(features: Features, rows: int | None) -> dict[str, Any]:
    return {column: values[:rows].tolist() for column, values in features.items()}


def _retrieval_cases(
    queries: dict[str, Any],
    vectors: np.ndarray,
    exact: ExactIndex,
    k: int,
    repeats: Repeats | None,
    histories: np.ndarray | None,
) -> list[Case]:
    """Requests to each signature of `retrieval`: plain, without the best candidate, among some candidates."""
    live, past = best_scores(vectors, exact.vectors), []
    if repeats is not None and histories is not None:
        past = [exact.rows(ids[ids != ""]) for ids in histories]
        live = repeats.apply(live, past)
        queries = {**queries, "history": histories.tolist()}

    def search(exclude: Sequence[np.ndarray], allow: np.ndarray | None = None) -> Hits:
        return search_with_repeats(exact, exact, vectors, k, exclude, allow, repeats, past)

    best = search([np.empty(0, np.int64)] * len(vectors))
    unwanted = best.rows[:, :1]
    allow = np.arange(min(ALLOWED, len(exact)))
    without, among = search(list(unwanted)), search(list(unwanted), allow)
    free = {**queries, "k": k, "exclude": [[exact.ids[row], ""] for row in unwanted[:, 0]]}
    allowed = {**free, "allow": exact.ids[allow].tolist()}

    def case(signature: str, inputs: dict[str, Any], hits: Hits) -> Case:
        return Case("retrieval", signature, inputs, {"scores": hits.scores}, live)

    return [
        case("serving_default", queries, best),
        case("recommend", free, without),
        case("recommend_allowed", allowed, among),
    ]


def replayed(directory: Path, cases: list[Case]) -> list[dict[str, Any]]:
    """Ask the SavedModels in a directory in a fresh process, which has never seen the live models.

    Args:
        directory: holds the SavedModels.
        cases: requests.

    Returns:
        For each request its outputs by name, as lists; ids as text.

    Raises:
        ExportError: if a SavedModel cannot be loaded or does not answer in time.
    """
    source, target = directory / "cases.json", directory / "answers.json"
    plain = [
        {"model": str(directory / case.name), "signature": case.signature, "inputs": case.inputs}
        for case in cases
    ]
    if os.environ.get("TFRECALL_REPLAY") == "in_process":
        return json.loads(json.dumps(replay(plain)))
    # The pipe ends with this process, however that ends, and the fresh process with the pipe.
    watched, held = os.pipe()
    try:
        source.write_text(json.dumps(plain), "utf-8")
        subprocess.run(
            [sys.executable, "-m", "tfrecall.exporting.replay", str(source), str(target), WATCH],
            stdin=watched,
            check=True,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_SECONDS,
            env=_environment(),
        )
        return json.loads(target.read_text("utf-8"))
    except subprocess.CalledProcessError as error:
        raise ExportError(
            f"The exported models do not load in a fresh process, which ended with {error.returncode}:\n"
            f"{error.stderr[-2000:]}\nNothing was published."
        ) from error
    except subprocess.TimeoutExpired as error:
        raise ExportError(
            f"The exported models did not answer within {TIMEOUT_SECONDS} seconds in a fresh process. "
            "Nothing was published."
        ) from error
    finally:
        os.close(held)
        os.close(watched)
        source.unlink(missing_ok=True)
        target.unlink(missing_ok=True)


def _environment() -> dict[str, str]:
    """The environment of this process, with this `tfrecall` on the path."""
    # The fresh process may start in another directory, where a relative path or an older installation
    # would be found first.
    package = str(Path(tfrecall.__file__).parents[1])
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def _difference(case: Case, output: str, live: np.ndarray, exported: np.ndarray) -> float:
    if live.shape != exported.shape:
        raise ExportError(
            f"{case} answers {output} of shape {exported.shape}, the live model {live.shape}. Nothing was "
            "published."
        )
    finite = np.isfinite(live)  # short lists are padded with -inf, which must agree exactly
    largest = max(float(np.abs(live[finite]).max(initial=0)), np.finfo(np.float32).tiny)
    difference = float(np.abs(live[finite] - exported[finite]).max(initial=0)) / largest
    if not difference <= TOLERANCE or not np.array_equal(live[~finite], exported[~finite]):
        raise ExportError(
            f"{case} does not answer like the live model: {output} differs by {difference:.2g} of the "
            f"largest number, more than {TOLERANCE}. Nothing was published."
        )
    return difference


def _check_ids(case: Case, answer: dict[str, Any], live: np.ndarray, exact: ExactIndex) -> None:
    """Check that each id has its score and occurs once; the order of equal scores is open."""
    for i, ids in enumerate(answer["candidate_ids"]):
        scores = np.array(answer["scores"][i])
        rows = exact.rows(ids)
        items = [item for item in ids if item]
        if len(set(items)) < len(items):
            raise ExportError(f"{case} gives an item twice to query {i}: {ids}. Nothing was published.")
        expected = np.where(rows < 0, -np.inf, live[i][rows])
        largest = np.abs(expected[rows >= 0]).max(initial=0)
        if not np.allclose(expected, scores, rtol=1e-4, atol=1e-4 * largest):
            raise ExportError(
                f"{case} gives {ids} to query {i} with scores {scores.tolist()}; the live model scores "
                f"them {expected.tolist()}. Nothing was published."
            )


def sample_requests(pipeline: BasePipeline, at_once: int, requests: int = 1) -> list[dict[str, Any]]:
    """Inputs of the SavedModel for some known users; the last of each request is an unknown user.

    Args:
        pipeline: of releases.
        at_once: queries in a request.
        requests: number of requests.
    """
    return [_inputs(pipeline, queries) for queries in _queries(pipeline, at_once, requests)]


def check_pipeline(pipeline: BasePipeline, directory: Path, n_candidates: int, k: int) -> float:
    """Replay requests to a pipeline's SavedModel, and return the largest relative difference of a score.

    Each id must have the ranker's score of the pipeline in process and be one of its candidates, and the
    list must miss none of the best. If two items tie, up to rounding, at the border of the candidates or
    of the list, either may be in it.

    Raises:
        ExportError: if it answers otherwise, or cannot be loaded.
    """
    requests: list[tuple[Case, Staged]] = []
    # One candidate more than the SavedModel ranks, to see whether the border is a tie.
    options: dict[str, Any] = {"rules": Rules(), "index": "exact", "exclude_seen": False}
    options["n_candidates"] = min(n_candidates + 1, len(pipeline.item_ids))
    for queries in (*_queries(pipeline, SAMPLE_ROWS, 1), *_queries(pipeline, 1, 1)):
        inputs = _inputs(pipeline, queries)
        staged = pipeline.stages(queries, k, **options)
        best = str(pipeline.item_ids[staged.hits.rows[0, 0]])
        without = pipeline.stages(queries, k, exclude=[best], **options)
        barred = [[best, ""]] * len(queries)
        free = {**inputs, "k": k, "n_candidates": n_candidates, "exclude": barred}
        requests += [
            (Case("pipeline", "serving_default", inputs, {}), staged),
            (Case("pipeline", "recommend", free, {}), without),
        ]
    answers = replayed(directory, [case for case, _ in requests])
    return max(
        _compared(pipeline, case, staged, answer, n_candidates)
        for (case, staged), answer in zip(requests, answers, strict=True)
    )


def _queries(pipeline: BasePipeline, at_once: int, requests: int) -> list[list[Query]]:
    users: list[Query] = list(pipeline.users.ids)
    # Spread over the table: the first users of a log are often the oldest and most active.
    users = users[:: max(1, len(users) // (at_once * requests))]
    groups = [users[i * at_once : (i + 1) * at_once] for i in range(requests)]
    return [[*group[: at_once - 1], {}] if at_once > 1 or not group else group for group in groups]


def _inputs(pipeline: BasePipeline, queries: list[Query]) -> dict[str, Any]:
    batch = pipeline.users.build_queries(queries)
    inputs = {name: values.tolist() for name, values in batch.features.items()}
    if pipeline.repeats is not None:  # they read the whole history, a History feature perhaps less
        histories = [pipeline.item_ids[pipeline.users.seen(user)].tolist() for user in batch.users]
        width = max(1, *map(len, histories))
        inputs[REPEATED] = [ids + [""] * (width - len(ids)) for ids in histories]
    return inputs


def _compared(
    pipeline: BasePipeline, case: Case, staged: Staged, answer: dict[str, Any], n_candidates: int
) -> float:
    worst = 0.0
    for i, ids in enumerate(answer["candidate_ids"]):
        scores = np.array(answer["scores"][i], np.float32)
        rows, ranked = staged.candidates.rows[i], staged.ranked[i]
        tied = _tied(staged.candidates.scores[i], n_candidates)
        # In a tie the next item may replace the last candidate, so it is accepted as one, and the best of
        # the list are not determined.
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
            finite = np.isfinite(expected)
            largest = max(float(np.abs(expected[finite]).max(initial=0)), np.finfo(np.float32).tiny)
            difference = float(np.abs(expected[finite] - scores[finite]).max(initial=0)) / largest
            if not difference <= TOLERANCE or not np.array_equal(expected[~finite], scores[~finite]):
                raise _unlike(case, f"scores of query {i} are not {what}, by {difference:.2g}")
            worst = max(worst, difference)
    return worst


def _tied(scores: np.ndarray, n_candidates: int) -> bool:
    """Whether the last candidate and the next item have equal scores up to rounding."""
    if len(scores) <= n_candidates or not np.isfinite(scores[n_candidates]):
        return False
    near = TOLERANCE * np.abs(scores[np.isfinite(scores)]).max()
    return bool(scores[n_candidates - 1] - scores[n_candidates] <= near)


def _unlike(case: Case, what: str) -> ExportError:
    return ExportError(
        f"{case} does not answer like the pipeline in process: {what}. Nothing was published."
    )
