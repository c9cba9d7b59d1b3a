"""Replay of requests to SavedModels as TF Serving sends them, in a fresh process.

    python -m tfrecall.exporting.replay CASES.json ANSWERS.json [--until-input-ends]

Each case names a SavedModel, a signature and its inputs. The model is loaded into a session of the v1
runtime and fed by the tensor names that the signature lists.
"""

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any


def replay(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Outputs of each case, in the order of the cases, as lists; bytes as text.

    Args:
        cases: dictionaries with `model` (a path), `signature` and `inputs`.
    """
    # Late, so that the environment is set before TensorFlow reads it.
    import tensorflow as tf

    answers: list[dict[str, Any]] = [{} for _ in cases]
    # One session a model: loading takes longer than all its requests.
    for path in dict.fromkeys(case["model"] for case in cases):
        with tf.compat.v1.Session(graph=tf.Graph()) as session:
            loaded = tf.compat.v1.saved_model.load(session, ["serve"], path)
            for case, answer in zip(cases, answers, strict=True):
                if case["model"] != path:
                    continue
                signature = loaded.signature_def[case["signature"]]
                feed = {signature.inputs[name].name: v for name, v in case["inputs"].items()}
                fetch = {name: tensor.name for name, tensor in signature.outputs.items()}
                answer.update({n: _plain(v) for n, v in session.run(fetch, feed).items()})
    return answers


# With this option the process ends when its standard input does: with the process that started it.
WATCH = "--until-input-ends"


def _end_with_input() -> None:
    while os.read(0, 1024):
        pass
    os._exit(1)  # from a thread, while TensorFlow may be in a call that hears nothing


def _plain(values: Any) -> Any:
    # TensorFlow returns strings as bytes in object arrays, of ids `[batch, k]`.
    if values.dtype.kind == "O":
        return [[item.decode() for item in row] for row in values]
    return values.tolist()


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    source, target = map(Path, sys.argv[1:3])
    if WATCH in sys.argv[3:]:
        threading.Thread(target=_end_with_input, daemon=True).start()
    target.write_text(json.dumps(replay(json.loads(source.read_text("utf-8")))), "utf-8")
