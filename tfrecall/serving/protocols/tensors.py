"""Tensors in place of requests: the signatures of a release, tensors to requests, answers to tensors.

A signature has the inputs and outputs of the exported SavedModel of that name, so that clients of TF Serving
find them again. A baseline, which has no SavedModel, has the signatures of a model that reads `user_id` and
`history`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tfrecall.core.event_context import context_column
from tfrecall.errors import DataError, NotReadyError, UnsupportedError, nearest
from tfrecall.release.base import RecommendingRelease, Release
from tfrecall.release.manifest import versions
from tfrecall.release.pipeline import BasePipeline
from tfrecall.serving.hosting import Hosted
from tfrecall.serving.requests import RecommendAnswer, RecommendRequest
from tfrecall.serving.service import Service, UnknownReleaseError

DEFAULT = "serving_default"
# Length of lists where a release does not say.
DEFAULT_K = 10
_DTYPES = {"string": "DT_STRING", "strings": "DT_STRING", "number": "DT_DOUBLE", "vector": "DT_FLOAT"}
# Inputs that are no columns of a query.
_OPTIONS = ("k", "n_candidates", "exclude", "allow")


class Spec(NamedTuple):
    """Type and shape of a tensor; -1 is any size, and the first size of a column is the batch's."""

    dtype: str
    shape: tuple[int, ...]


class Signature(NamedTuple):
    """Inputs of a signature, and the length of its lists where no input says it."""

    inputs: dict[str, Spec]
    k: int | None = None


OUTPUTS = {"candidate_ids": Spec("DT_STRING", (-1, -1)), "scores": Spec("DT_FLOAT", (-1, -1))}


def columns(release: Release) -> dict[str, Spec]:
    """The columns that a query of a release has, complete, in the order of its query model.

    Raises:
        UnsupportedError: if the release does not recommend.
    """
    if not isinstance(release, (RecommendingRelease, BasePipeline)):
        raise UnsupportedError(
            f'The release "{release.name}" ranks given items and has no lists of candidates. Ask /v1/rank.'
        )
    users = release.users
    found = {name: Spec(_DTYPES[form], _shape(release, name)) for name, form in users.forms.items()}
    lists = (name for name in users.item_lists if name not in found)
    return {**found, **{name: Spec("DT_STRING", (-1, -1)) for name in lists}}


def _shape(release: Release, column: str) -> tuple[int, ...]:
    form = release.users.forms[column]
    if form == "vector":
        return (-1, len(release.users.defaults[column]))
    return (-1, -1) if form == "strings" else (-1,)


def signatures(release: Release) -> dict[str, Signature]:
    """The signatures of a release by name."""
    query, k = columns(release), release.manifest.get("k", DEFAULT_K)
    found = {DEFAULT: Signature(query, k)}
    pipeline = isinstance(release, BasePipeline)
    narrow = {
        name: Spec("DT_FLOAT", s.shape) if s.dtype == "DT_DOUBLE" else s for name, s in query.items()
    }
    if narrow != query:
        found["serving_float32"] = Signature(narrow, k)
    numbers = ("k", "n_candidates") if pipeline else ("k",)
    free = {**dict.fromkeys(numbers, Spec("DT_INT32", ())), "exclude": Spec("DT_STRING", (-1, -1))}
    found["recommend"] = Signature({**free, **query})
    allow = {"allow": Spec("DT_STRING", (-1,))}
    found["recommend_allowed"] = Signature({**free, **allow, **query})
    return found


def signature(release: Release, name: str) -> Signature:
    """One signature.

    Raises:
        DataError: if the release has none of that name.
    """
    found = signatures(release)
    if name not in found:
        raise DataError(
            f'There is no signature "{name}".{nearest(name, found)} There are: {", ".join(found)}.'
        )
    return found[name]


def hosted(service: Service, name: str, version: str | int | None = None) -> Hosted:
    """The release that serves a version of a model; without a version the one of that name.

    Raises:
        UnknownReleaseError: if there is no such release, or none serves that version.
    """
    found = service.route(name)
    if version in (None, ""):
        return found
    served = versions_served(service, name)
    if str(version) in served:
        return served[str(version)]
    raise UnknownReleaseError(
        f'Version {version} of "{name}" is not served. Served: {", ".join(served)}; ask for one of them, or '
        f"for none.{_way_to_serve(found, str(version))}"
    )


def versions_served(service: Service, name: str) -> dict[str, Hosted]:
    """Version -> the release that serves it: the one of a name, then others of the same directory.

    A directory is served under several names where earlier versions of it stay pinned.

    Raises:
        UnknownReleaseError: if there is no release of that name.
    """
    found = service.route(name)
    root = found.root.resolve()
    others = (one for one in service.hosted.values() if one.root.resolve() == root)
    served: dict[str, Hosted] = {}
    for one in (found, *others):
        served.setdefault(str(one.answerer.release.version), one)
    return served


def _way_to_serve(found: Hosted, version: str) -> str:
    if version not in map(str, versions(found.root)):
        return ""
    other = f"{found.name}_{version}"
    return (
        f" It is in the directory: serve it beside the current one by {other}=DIRECTORY "
        f"--pin {other}={version}."
    )


def rows(tensors: Mapping[str, np.ndarray]) -> int:
    """Number of queries.

    Raises:
        DataError: if columns differ in it, or none is given.
    """
    sizes = {name: len(values) for name, values in tensors.items() if name not in _OPTIONS}
    if not sizes:
        raise DataError("No column of a query is given.")
    n = next(iter(sizes.values()))
    if "exclude" in tensors:
        sizes["exclude"] = len(tensors["exclude"])
    if set(sizes.values()) != {n}:
        told = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise DataError(f"Each tensor has one row a query. Received rows: {told}.")
    return n


def requests(
    release: Release, name: str, tensors: Mapping[str, np.ndarray], **options: Any
) -> list[RecommendRequest]:
    """One request for each row of the tensors.

    Args:
        release: the release that they are for.
        name: its name in the service.
        tensors: columns of queries, `exclude` and `allow`; "" pads lists.
        options: further fields of all requests.

    Raises:
        DataError: if the tensors differ in the number of rows.
    """
    n, values = rows(tensors), {column: tensor.tolist() for column, tensor in tensors.items()}
    allow, exclude = values.pop("allow", None), values.pop("exclude", [[]] * n)
    if allow is not None:
        options["allow"] = [item for item in allow if item]
    users = values.pop("user_id", [None] * n)
    return [
        RecommendRequest(
            user_id=users[i],
            features=_features(release, {column: of[i] for column, of in values.items()}) or None,
            exclude=[item for item in exclude[i] if item],
            release=name,
            **options,
        )
        for i in range(n)
    ]


def _features(release: Release, row: dict[str, Any]) -> dict[str, Any]:
    """A row without padding; lists of ids keep theirs, which their context has to match."""
    users = release.users
    beside = {context_column(of, name) for of, names in users.contexts.items() for name in names}
    for column, value in row.items():
        if column in beside:
            row[column] = [text or None for text in value]
        elif users.forms.get(column) == "strings" and column not in users.item_lists:
            row[column] = [text for text in value if text]
    return row


async def ask(
    service: Service, asked: Sequence[RecommendRequest], version: int, deadline: float | None = None
) -> list[RecommendAnswer]:
    """The answers to the rows of a tensor, which has all its rows or none.

    Args:
        service: the service.
        asked: requests of `requests`.
        version: version of the release for which they were made.
        deadline: moment of `time.monotonic`.

    Raises:
        Exception: the first that stands in the place of an answer.
        NotReadyError: if another version answered, because a new one was swapped in meanwhile.
    """
    found: list[RecommendAnswer] = []
    for answer in await service.recommend_batch(asked, deadline):
        if isinstance(answer, BaseException):
            raise answer
        if answer.version != version:
            raise NotReadyError(f"Version {version} was replaced meanwhile. Ask again.")
        found.append(answer)
    return found


def fallbacks(answers: Sequence[RecommendAnswer]) -> str:
    """Reasons why popular items stand in for those of the model, such as "timeout"; "" where none do."""
    return ", ".join(sorted({answer.fallback for answer in answers if answer.fallback}))


def arrays(answers: Sequence[RecommendAnswer], width: int | None = None) -> dict[str, np.ndarray]:
    """Answers as `OUTPUTS`: object array of `str` and float32, `[n, width]`, padded by "" and -inf.

    Args:
        answers: lists, best first.
        width: length of the rows; None for that of the longest list.
    """
    if width is None:
        width = max((len(answer.items) for answer in answers), default=0)
    ids = np.full((len(answers), width), "", object)
    scores = np.full((len(answers), width), -np.inf, np.float32)
    for row, answer in enumerate(answers):
        found = len(answer.items)
        ids[row, :found] = [item.item_id for item in answer.items]
        scores[row, :found] = [item.score for item in answer.items]
    return {"candidate_ids": ids, "scores": scores}
