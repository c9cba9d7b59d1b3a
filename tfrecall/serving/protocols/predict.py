"""TF Serving's REST API on our data plane: `:predict`, model status and metadata.

Inputs, outputs, encodings and error bodies are TF Serving's, and so are the answers: queries are taken as they
are given, nothing stored about the user joins in, and only `exclude` leaves items out. Numbers that are NaN or
infinite are refused, where the SavedModel would answer arbitrarily.
"""

from typing import Any

import numpy as np
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from tfrecall.errors import DataError
from tfrecall.release.base import Release
from tfrecall.release.pipeline import BasePipeline
from tfrecall.serving.protocols.predict_json import read, written
from tfrecall.serving.protocols.tensors import (
    OUTPUTS,
    Signature,
    Spec,
    arrays,
    ask,
    fallbacks,
    hosted,
    requests,
    signature,
    signatures,
    versions_served,
)
from tfrecall.serving.requests import RecommendRequest
from tfrecall.serving.service import Service
from tfrecall.serving.web import deadline, exchange, reply


def add_routes(app: FastAPI, service: Service) -> None:
    """Add TF Serving's routes to an application."""

    async def predict(request: Request) -> Response:
        model = hosted(service, *_model(request))
        release = model.answerer.release
        name, as_rows, tensors = read(exchange(request).body, release)
        asked, width = _asked(release, model.name, signature(release, name), tensors)
        answers = await ask(service, asked, release.version, deadline(request))
        reason = fallbacks(answers)
        # The body has no place for it.
        headers = {"X-Fallback": reason} if reason else None
        return Response(
            written(arrays(answers, width), as_rows), 200, headers, media_type="application/json"
        )

    async def status(request: Request) -> Response:
        name, version = _model(request)
        hosted(service, name, version)
        told = {"error_code": "OK", "error_message": ""}
        return reply(
            {
                "model_version_status": [
                    {"version": served, "state": "AVAILABLE", "status": told}
                    for served in versions_served(service, name)
                    if version in (None, served)
                ]
            }
        )

    async def metadata(request: Request) -> Response:
        model, version = _model(request)
        release = hosted(service, model, version).answerer.release
        found = {name: _definition(name, one) for name, one in signatures(release).items()}
        spec = {"name": model, "signature_name": "", "version": str(release.version)}
        return reply({"model_spec": spec, "metadata": {"signature_def": {"signature_def": found}}})

    for path in ("/v1/models/{name}", "/v1/models/{name}/versions/{version}"):
        app.add_route(f"{path}:predict", predict, ["POST"])
        app.add_route(f"{path}/metadata", metadata, ["GET"])
        app.add_route(path, status, ["GET"])


def _model(request: Request) -> tuple[str, str | None]:
    return request.path_params["name"], request.path_params.get("version")


def _asked(
    release: Release, name: str, asked: Signature, tensors: dict[str, np.ndarray]
) -> tuple[list[RecommendRequest], int]:
    """Requests for the rows, and the length of their lists, which ends with the catalogue or the candidates."""
    k = int(tensors.pop("k", np.int32(asked.k or 0)))
    options: dict[str, Any] = {}
    limit = len(release.item_ids)
    if isinstance(release, BasePipeline):
        n_candidates = int(tensors.pop("n_candidates", release.n_candidates))
        # Rules are not in the SavedModel.
        options = {"n_candidates": n_candidates, "rules": {}}
        limit = min(limit, n_candidates)
    if k < 1 or limit < 1:
        raise DataError(f"`k` and `n_candidates` are numbers from 1. Received: {k} and {limit}.")
    width = min(k, limit)
    return requests(release, name, tensors, k=width, exclude_seen=False, **options), width


def _definition(name: str, asked: Signature) -> dict[str, Any]:
    """A `SignatureDef` in JSON. Names of tensors, which no client of REST uses, are TensorFlow's habit."""
    inputs = {key: _info(spec, f"{name}_{key}:0") for key, spec in asked.inputs.items()}
    outputs = {
        key: _info(spec, f"StatefulPartitionedCall:{place}")
        for place, (key, spec) in enumerate(OUTPUTS.items())
    }
    return {
        "inputs": inputs,
        "outputs": outputs,
        "method_name": "tensorflow/serving/predict",
        "defaults": {},
    }


def _info(spec: Spec, name: str) -> dict[str, Any]:
    sizes = [{"size": str(size), "name": ""} for size in spec.shape]
    return {
        "dtype": spec.dtype,
        "tensor_shape": {"dim": sizes, "unknown_rank": False},
        "name": name,
    }
