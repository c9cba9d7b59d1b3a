"""What every exported SavedModel has to keep so that TF Serving can serve it.

`models` lists the SavedModels of a release, `requests` makes one request of three different rows for each
signature of one; the `check_*` functions ask them. The rules are those of TF Serving's source.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.serving.session import Served
from tfrecall._tensorflow import tf
from tfrecall.core.raw import raw_features
from tfrecall.exporting.signatures import FILE
from tfrecall.release import load
from tfrecall.release.base import Release

Inputs = dict[str, np.ndarray]

# Fixtures with a release of each kind: towers, histories, repeats, context, interests, ranker, pipelines.
ROOTS = [
    "tiny_root",
    "history_root",
    "repeating_root",
    "context_root",
    "interest_root",
    "rating_root",
    "pipeline_root",
    "numbers_root",
]
# Two users of each log, and nobody known.
USERS = ["u1", "u2", "nobody"]
ROWS = len(USERS)
# TF Serving reads no more records of a warm-up file (kMaxNumRecords).
MAX_WARMUP_RECORDS = 1000
DTYPES = {tf.string, tf.float32, tf.float64, tf.int32}
# Inputs of a whole request: all others have one row a query.
WHOLE = ("k", "n_candidates", "allow")


def models(root: Path) -> list[Path]:
    """Directories of the SavedModels of a release."""
    return sorted(path.parent for path in root.glob("*/[0-9]*/saved_model.pb"))


def requests(release: Release, model: Path, served: Served) -> Iterator[tuple[str, Inputs]]:
    """Each signature of a SavedModel of the release, with inputs of `ROWS` rows."""
    columns = _columns(release, model.parent.name)
    for name, signature in sorted(served.signatures.items()):
        if not name.startswith("__"):
            yield name, {key: _input(key, info, columns) for key, info in signature.inputs.items()}


def _columns(release: Release, part: str) -> Inputs:
    facts = release.manifest.get("ranker" if part == "ranker" else "retrieval", release.manifest)
    items = release.items.head(ROWS)
    return {
        # All that a user had, of models with repeats; a feature of that name comes after it.
        "history": np.array([["i2", "i7", "i2"], ["i9", "", ""], ["", "", ""]], object),
        **raw_features(items, facts["candidate"]["forms"]),
        **release.users.build_queries(USERS).features,
        "exclude": np.array([["i1", ""], ["i3", "i4"], ["", ""]], object),
        "allow": np.array(["i1", "i2", "i3", "i5", "i8", "i9"], object),
        "candidate_ids": np.array([["i1", "i2"], ["i3", ""], ["i4", "not there"]], object),
        "k": np.int32(3),
        "n_candidates": np.int32(6),
    }


def _input(name: str, info: Any, columns: Inputs) -> Any:
    dtype, values = tf.dtypes.as_dtype(info.dtype), columns[name]
    if name == "candidate_ids" and len(info.tensor_shape.dim) == 1:
        values = values[:, 0]
    return values if dtype == tf.string else np.asarray(values, dtype.as_numpy_dtype)


def row(inputs: Inputs, at: int) -> Inputs:
    """The request of one of the rows."""
    return {key: value if key in WHOLE else value[at : at + 1] for key, value in inputs.items()}


def warm_up_requests(model: Path) -> Iterator[tuple[str, Inputs]]:
    """Signature and inputs of each record that lies beside a SavedModel."""
    from tensorflow_serving.apis import prediction_log_pb2

    for record in tf.data.TFRecordDataset(str(model / FILE)):
        request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
        inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        yield request.model_spec.signature_name, inputs


def check_layout(root: Path) -> None:
    """`NAME/<integer>/saved_model.pb`; every other name in a base path is one that the server skips."""
    for model in models(root):
        assert model.name == str(int(model.name))
        assert int(model.name) > 0
        beside = {path.name for path in model.parent.iterdir()} - {model.name}
        assert not any(name.isdecimal() for name in beside), beside
        assert {"saved_model.pb", "variables"} <= {path.name for path in model.iterdir()}


def check_signatures(served: Served) -> None:
    """Types that JSON and tensors have in common, a batch in front, and one signature for batching.

    The server joins requests along dimension 0, so batching needs a signature without scalar inputs
    whose inputs and outputs all have an open first dimension.
    """
    assert "serving_default" in served.signatures
    batched = []
    for name, signature in served.signatures.items():
        if name.startswith("__"):
            continue
        assert signature.method_name == "tensorflow/serving/predict"
        for info in (*signature.inputs.values(), *signature.outputs.values()):
            assert tf.dtypes.as_dtype(info.dtype) in DTYPES
            assert not info.tensor_shape.unknown_rank
        if all(map(_has_rows, (*signature.inputs.values(), *signature.outputs.values()))):
            batched.append(name)
        assert not [key for key in signature.outputs if key.endswith("_bytes")]
    assert "serving_default" in batched


def _has_rows(info: Any) -> bool:
    return len(info.tensor_shape.dim) > 0 and info.tensor_shape.dim[0].size == -1


def check_float32(served: Served, asked: dict[str, Inputs]) -> None:
    """Where `serving_default` takes float64, `serving_float32` takes the rest alike, and answers alike."""
    default = served.signatures["serving_default"].inputs
    wide = {key for key, info in default.items() if info.dtype == tf.float64.as_datatype_enum}
    assert ("serving_float32" in served.signatures) == bool(wide)
    if wide:
        narrow = asked["serving_float32"]
        assert {key for key, value in narrow.items() if value.dtype == np.float32} == wide
        # What float32 holds, as float64: times are rounded on both sides.
        rounded = {key: v.astype(np.float64) if key in wide else v for key, v in narrow.items()}
        same_rows(served.ask("serving_float32", **narrow), served.ask("serving_default", **rounded))


def check_warm_up(served: Served, model: Path) -> None:
    """At most 1,000 records, each of which passes: one that fails keeps the server from loading."""
    records = list(warm_up_requests(model))
    assert 0 < len(records) <= MAX_WARMUP_RECORDS
    for name, inputs in records:
        assert served.ask(name, **inputs).keys() == set(served.signatures[name].outputs)


def check_rows_apart(served: Served, asked: dict[str, Inputs]) -> None:
    """A row is answered alike alone and among others, by every signature."""
    for name, inputs in asked.items():
        together = served.ask(name, **inputs)
        for at in range(ROWS):
            alone = served.ask(name, **row(inputs, at))
            same_rows({key: values[at : at + 1] for key, values in together.items()}, alone)


def same_rows(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Equal texts, and numbers that differ in the last digits only."""
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        values, others = np.asarray(values), np.asarray(found[key])
        assert others.shape == values.shape
        if values.dtype.kind in "OSU":
            assert others.tolist() == values.tolist()
        else:
            np.testing.assert_allclose(others, values, rtol=1e-5, atol=1e-6)


def open_models(root: Path) -> list[tuple[Path, Served, dict[str, Inputs]]]:
    """Each SavedModel of a release in a session, with a request for each signature."""
    release = load(root)
    opened = []
    for model in models(root):
        served = Served(model)
        opened.append((model, served, dict(requests(release, model, served))))
    assert opened
    return opened
