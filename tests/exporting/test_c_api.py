"""The exported SavedModels, asked without Python: by a program in C on TensorFlow's C API, as a server does.

Every signature is asked for three rows and for one, those of all releases in one process: loading TensorFlow
takes longer than its answers.
"""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.serving.tf_serving_contract import ROOTS, open_models, row, same_rows
from tfrecall._keras import tf

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
    # The other linker of GNU takes 2 seconds over a library of a gigabyte, the usual one 13.
    command += ["-fuse-ld=gold"] if shutil.which("ld.gold") else []
    subprocess.run(command, check=True, timeout=TIMEOUT)
    return file


def request_text(inputs: dict[str, np.ndarray]) -> str:
    """The inputs as `predict.c` reads them."""
    lines = []
    for name, values in inputs.items():
        lines.append(" ".join([name, str(values.dtype), *map(str, values.shape)]))
        for one in values.ravel().tolist():
            one = one.encode() if isinstance(one, str) else one
            lines.append(one.hex() if isinstance(one, bytes) else str(one))
    return "\n".join(lines) + "\n\n"


def answers_of(text: str) -> list[dict[str, np.ndarray]]:
    """The outputs that `predict.c` wrote for each request, by name; strings as bytes."""
    lines = iter(text.splitlines())
    found: list[dict[str, np.ndarray]] = []
    answers: dict[str, np.ndarray] = {}
    for head in lines:
        if not head:  # the end of a response
            found.append(answers)
            answers = {}
            continue
        name, dtype, *shape = head.split(" ")
        kind = tf.dtypes.as_dtype(int(dtype))
        read = bytes.fromhex if kind == tf.string else float
        shape = [int(size) for size in shape]
        values = [read(next(lines)) for _ in range(int(np.prod(shape)))]
        answers[name] = np.array(values, kind.as_numpy_dtype).reshape(shape)
    return found


Request = tuple[str, dict[str, np.ndarray]]


def ask(program: Path, models: dict[Path, list[Request]]):
    """Status, standard output and standard error of the program that is asked for requests of models."""
    arguments: list[object] = []
    for model, requests in models.items():
        arguments += [*["--"][: len(arguments)], model, *(name for name, _ in requests)]
    done = subprocess.run(
        [program, *arguments],
        input="".join(request_text(inputs) for requests in models.values() for _, inputs in requests),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
def test_each_signature_answers_c_as_it_answers_python(program, request):
    models, expected = {}, []
    for root in ROOTS:
        for model, served, asked in open_models(request.getfixturevalue(root)):
            single = [(name, row(inputs, 0)) for name, inputs in asked.items()]
            models[model] = [*asked.items(), *single]
            answers = [served.ask(name, **inputs) for name, inputs in models[model]]
            places = [(root, model.parent.name, name) for name, _ in models[model]]
            expected += zip(places, answers, strict=True)
    status, text, errors = ask(program, models)
    assert status == 0, errors
    for answer, (place, wanted) in zip(answers_of(text), expected, strict=True):
        try:
            same_rows(answer, wanted)
        except AssertionError as error:
            raise AssertionError(f"{place} answers otherwise") from error


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
    status, text, errors = ask(program, {tiny_root / "query" / "1": [(name, inputs)]})
    assert (status, text) == (1, "")
    assert message in errors
