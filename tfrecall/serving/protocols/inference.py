"""The Open Inference Protocol, version 2, without a transport: tensors in, tensors out.

Inputs are columns of queries: `user_id`, features, histories; what a row does not give of a known user is what
the release has stored. `exclude` and `allow` are inputs, too; `k`, `exclude_seen`, `index` and `n_candidates`
are parameters of a request.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version as version_of
from typing import Any

import numpy as np

from tfrecall.errors import DataError, nearest
from tfrecall.release.base import Release
from tfrecall.serving.protocols.contents import datatype, shown
from tfrecall.serving.protocols.tensors import (
    DEFAULT_K,
    Spec,
    arrays,
    ask,
    columns,
    fallbacks,
    hosted,
    requests,
    rows,
    versions_served,
)
from tfrecall.serving.service import Service

PLATFORM = "tfrecall"
_OF_TENSORFLOW = {"DT_STRING": "BYTES", "DT_DOUBLE": "FP64", "DT_FLOAT": "FP32"}
# Parameters that say how a list is made, and the type of each.
PARAMETERS: dict[str, type] = {"k": int, "exclude_seen": bool, "index": str, "n_candidates": int}
# Parameters of the transport.
_IGNORED = ("binary_data_output",)
OUTPUTS = {
    "candidate_ids": ("BYTES", (-1, -1)),
    "scores": ("FP32", (-1, -1)),
    "known": ("BOOL", (-1,)),
}


@dataclass
class Asked:
    """A request for inference.

    Attributes:
        model, version: name and version of a release; no version is the served one.
        inputs: tensors by name; texts in object arrays.
        outputs: names of the outputs that are wanted; none for all.
        parameters: those of the request.
    """

    model: str
    version: str | None
    inputs: dict[str, np.ndarray]
    outputs: Sequence[str] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Answered:
    """An answer to a request for inference."""

    version: str
    outputs: dict[str, np.ndarray]
    parameters: dict[str, Any]


async def infer(service: Service, asked: Asked, deadline: float | None = None) -> Answered:
    """Lists for the rows of the inputs.

    Raises:
        TfrecallError: if the request cannot be used, or is not answered.
    """
    model = hosted(service, asked.model, asked.version)
    release = model.answerer.release
    options = _options(asked.parameters)
    names = list(asked.outputs) or list(OUTPUTS)
    _known(names, OUTPUTS, "output")
    made = requests(release, model.name, _inputs(release, asked.inputs), **options)
    answers = await ask(service, made, release.version, deadline)
    found = {**arrays(answers), "known": np.array([answer.known for answer in answers], bool)}
    reason = fallbacks(answers)
    parameters = {"fallback": reason} if reason else {}
    return Answered(str(release.version), {name: found[name] for name in names}, parameters)


def _options(parameters: Mapping[str, Any]) -> dict[str, Any]:
    options = {name: value for name, value in parameters.items() if name not in _IGNORED}
    _known(options, PARAMETERS, "parameter")
    for name, value in options.items():
        if type(value) is not PARAMETERS[name]:
            raise DataError(
                f"The parameter `{name}` is of type {PARAMETERS[name].__name__}. Received: {value!r:.200}."
            )
    return {"k": DEFAULT_K, **options}


def _known(names: Iterable[str], valid: Iterable[str], kind: str) -> None:
    for name in names:
        if name not in valid:
            raise DataError(
                f'There is no {kind} "{name}".{nearest(name, valid)} There are: {", ".join(valid)}.'
            )


def _inputs(release: Release, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Tensors in the shapes of columns."""
    specs = _specs(release)
    _known(given, specs, "input")
    found = {name: _column(name, values, specs[name]) for name, values in given.items()}
    rows(found)
    return found


def _specs(release: Release) -> dict[str, Spec]:
    return {
        "user_id": Spec("DT_STRING", (-1,)),
        **columns(release),
        "exclude": Spec("DT_STRING", (-1, -1)),
        "allow": Spec("DT_STRING", (-1,)),
    }


def _column(name: str, values: np.ndarray, spec: Spec) -> np.ndarray:
    if len(spec.shape) == 1 and values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]  # a column of a table, as many clients send it
    if values.ndim != len(spec.shape):
        raise DataError(f'"{name}" has the shape {shown(spec.shape)}. Received: {shown(values.shape)}.')
    is_text = values.dtype == object
    # Whole numbers may stand for texts, as in JSON: ids 42 and "42" are one.
    if (spec.dtype == "DT_STRING" and values.dtype.kind in "fb") or (
        spec.dtype != "DT_STRING" and is_text
    ):
        raise DataError(
            f'"{name}" has the datatype {_OF_TENSORFLOW[spec.dtype]}. Received: {datatype(values)}.'
        )
    return values


def server() -> dict[str, Any]:
    """Facts of the server."""
    return {
        "name": PLATFORM,
        "version": version_of("tfrecall"),
        "extensions": ["binary_tensor_data"],
    }


def metadata(service: Service, name: str, version: str | None) -> dict[str, Any]:
    """Facts of a model: what it takes and gives."""
    release = hosted(service, name, version).answerer.release
    inputs = [
        {"name": key, "datatype": _OF_TENSORFLOW[spec.dtype], "shape": list(spec.shape)}
        for key, spec in _specs(release).items()
    ]
    outputs = [
        {"name": key, "datatype": kind, "shape": list(shape)} for key, (kind, shape) in OUTPUTS.items()
    ]
    return {
        "name": name,
        "versions": [*versions_served(service, name)],
        "platform": PLATFORM,
        "inputs": inputs,
        "outputs": outputs,
    }
