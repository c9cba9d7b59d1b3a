"""Signatures of SavedModels as functions from arrays to an array, for many small calls.

TensorFlow calls a loaded signature by way of Python and of another thread, which takes half a millisecond
and more where cores are busy. A session computes the same, bit by bit, in the caller's thread: 30 us.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfrecall.errors import ReleaseError

# Thread pool of a run: that of no pool, the thread of the caller (RunOptions in protobuf/config.proto).
_CALLER = -1


class Signature:
    """A signature with one output. Several threads may call it.

    Args:
        session: session of its graph.
        inputs: name -> placeholder.
        output: tensor of the output.
    """

    def __init__(self, session: Any, inputs: Mapping[str, Any], output: Any) -> None:
        from tensorflow.core.protobuf.config_pb2 import CallableOptions, RunOptions

        self._names = list(inputs)
        # `Session.run` decides on feeds and options at each call, for 250 us. Keras' functions of graphs
        # are made like this one.
        self._call = session._make_callable_from_options(
            CallableOptions(
                feed=[inputs[name].name for name in self._names],
                fetch=[output.name],
                run_options=RunOptions(inter_op_thread_pool=_CALLER),
            )
        )

    def __call__(self, features: Mapping[str, np.ndarray]) -> np.ndarray:
        """The output for arrays of the inputs, one row a query; strings are objects."""
        return self._call(*[features[name] for name in self._names])[0]


def load_signatures(path: Path, names: Sequence[str]) -> list[Signature]:
    """Load a SavedModel once for several of its signatures.

    Operations use as many threads as `tf.config.threading` says at the first load of the process.

    Args:
        path: directory of the SavedModel.
        names: signatures with one output each.

    Raises:
        ReleaseError: if the model cannot be loaded, or lacks one of them.
    """
    from tfrecall._tensorflow import tf  # takes seconds, which releases that run no model need not cost

    v1, threads = tf.compat.v1, tf.config.threading
    config = v1.ConfigProto(
        intra_op_parallelism_threads=threads.get_intra_op_parallelism_threads(),
        inter_op_parallelism_threads=threads.get_inter_op_parallelism_threads(),
    )
    graph = tf.Graph()
    try:
        with graph.as_default():
            model = tf.saved_model.load(str(path))
            called = [_placed(model.signatures[name], v1.placeholder) for name in names]
            session = v1.Session(graph=graph, config=config)
            session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        return [Signature(session, inputs, output) for inputs, output in called]
    except (OSError, KeyError, ValueError, tf.errors.OpError) as error:
        raise ReleaseError(f"The SavedModel {path} cannot be loaded: {error}. Export again.") from error


def _placed(signature: Any, placeholder: Any) -> tuple[dict[str, Any], Any]:
    """A signature in the graph: its placeholders and its output."""
    _, specs = signature.structured_input_signature
    inputs = {name: placeholder(spec.dtype, spec.shape) for name, spec in specs.items()}
    (output,) = signature(**inputs).values()
    return inputs, output
