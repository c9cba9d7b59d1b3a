"""The exported SavedModels, asked without Python: by a program in C on TensorFlow's C API, as a server does.

The requests are the warm-up records that lie beside each model, of one row and of three.
"""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tfrecall._keras import tf
from tfrecall.exporting.signatures import FILE

ROOTS = ["tiny_root", "history_root", "context_root", "interest_root", "rating_root", "pipeline_root"]
SOURCE = Path(__file__).with_name("predict.c")
TIMEOUT = 300  # seconds


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Path:
    """`predict.c`, built with the headers and libraries of the installed TensorFlow."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    libraries = tf.sysconfig.get_lib()
    file = tmp_path_factory.mktemp("c_api") / "predict"
    command = [compiler, "-std=gnu11", "-Wall", "-Wextra", "-Werror", str(SOURCE), "-o", str(file)]
    command += ["-isystem", tf.sysconfig.get_include(), f"-L{libraries}", f"-Wl,-rpath,{libraries}"]
    # The major version of TensorFlow is part of the names of its libraries.
    command += sorted(f"-l:{path.name}" for path in Path(libraries).glob("libtensorflow_*.so.2"))
    subprocess.run(command, check=True, timeout=TIMEOUT)
    return file


def request_text(inputs: dict[str, np.ndarray]) -> str:
    """The inputs as `predict.c` reads them."""
    lines = []
    for name, values in inputs.items():
        lines.append(" ".join([name, str(values.dtype), *map(str, values.shape)]))
        lines += [one.hex() if isinstance(one, bytes) else str(one) for one in values.ravel().tolist()]
    return "\n".join(lines) + "\n"


def answers_of(text: str) -> dict[str, np.ndarray]:
    """The outputs that `predict.c` wrote, by name; strings as bytes."""
    lines, answers = iter(text.splitlines()), {}
    for head in lines:
        name, dtype, *shape = head.split(" ")
        kind = tf.dtypes.as_dtype(int(dtype))
        read = bytes.fromhex if kind == tf.string else float
        shape = [int(size) for size in shape]
        values = [read(next(lines)) for _ in range(int(np.prod(shape)))]
        answers[name] = np.array(values, kind.as_numpy_dtype).reshape(shape)
    return answers


def ask(program: Path, model: Path, signature: str, inputs: dict[str, np.ndarray]):
    done = subprocess.run(
        [program, model, signature],
        input=request_text(inputs),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    return done.returncode, done.stdout, done.stderr


def warm_up_requests(model: Path):
    """Signature and inputs of each record that lies beside a SavedModel."""
    from tensorflow_serving.apis import prediction_log_pb2

    for record in tf.data.TFRecordDataset(str(model / FILE)):
        request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
        inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        yield request.model_spec.signature_name, inputs


def repeated(inputs: dict[str, np.ndarray], rows: int, whole: set[str]) -> dict[str, np.ndarray]:
    """The one row of each input `rows` times; those of `whole` belong to the request."""
    return {
        name: values if name in whole else np.repeat(values, rows, axis=0)
        for name, values in inputs.items()
    }


def requests(model: Path, signatures):
    """Signature and inputs of each recorded request, and the same of three rows where a record has one."""
    for name, inputs in warm_up_requests(model):
        specs = signatures[name].structured_input_signature[1]
        # `k` has no row, and the list of `allow` is one for all rows.
        whole = {key for key, spec in specs.items() if spec.shape.rank == 0 or key == "allow"}
        yield name, inputs
        if all(len(values) == 1 for key, values in inputs.items() if key not in whole):
            yield name, repeated(inputs, 3, whole)


@pytest.mark.slow
@pytest.mark.parametrize("root", ROOTS)
def test_each_signature_answers_c_as_it_answers_python(program, request, root):
    pytest.importorskip("tensorflow_serving")
    models = sorted(path.parent for path in request.getfixturevalue(root).glob("*/1/saved_model.pb"))
    assert models
    for model in models:
        signatures = tf.saved_model.load(str(model)).signatures
        names = set()
        for name, inputs in requests(model, signatures):
            status, text, errors = ask(program, model, name, inputs)
            assert status == 0, errors
            check(
                answers_of(text), signatures[name](**{key: tf.constant(v) for key, v in inputs.items()})
            )
            names.add(name)
        assert "serving_default" in names


def check(answers: dict[str, np.ndarray], expected: dict[str, tf.Tensor]) -> None:
    assert answers.keys() == expected.keys()
    for key, values in expected.items():
        if values.dtype == tf.string:
            assert answers[key].tolist() == values.numpy().tolist()
        else:
            np.testing.assert_allclose(answers[key], values, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "inputs", "message"),
    [
        ("nothing", {"user_id": np.array([b"u1"], object)}, "has no signature nothing"),
        ("serving_default", {"user": np.array([b"u1"], object)}, "has no input user"),
        ("serving_default", {"user_id": np.array([b"u1"], object)}, "1 inputs, and the signature has"),
    ],
)
def test_wrong_requests_end_with_a_message(program, tiny_root, name, inputs, message):
    """So that equal answers above cannot be those of a program that reads nothing."""
    status, text, errors = ask(program, tiny_root / "query" / "1", name, inputs)
    assert (status, text) == (1, "")
    assert message in errors
