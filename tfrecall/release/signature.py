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
        path: directory of the SavedModel, for errors.
        session: session of its graph.
        definition: its `SignatureDef`.
    """

    def __init__(self, path: Path, session: Any, definition: Any) -> None:
        from tensorflow.core.protobuf.config_pb2 import CallableOptions, RunOptions

        self._path, self._names = path, list(definition.inputs)
        (output,) = definition.outputs.values()
        # `Session.run` decides on feeds and options at each call, for 250 us. Keras' functions of graphs
        # are made like this one.
        self._call = session._make_callable_from_options(
            CallableOptions(
                feed=[definition.inputs[name].name for name in self._names],
                fetch=[output.name],
                run_options=RunOptions(inter_op_thread_pool=_CALLER),
            )
        )

    def __call__(self, features: Mapping[str, np.ndarray]) -> np.ndarray:
        """The output for arrays of the inputs, one row a query; strings are objects."""
        try:
            values = [features[name] for name in self._names]
        except KeyError as error:
            raise ReleaseError(
                f"The SavedModel {self._path} reads {error}, which the manifest does not list in "
                "`query.forms`: one of them is foreign. Export again."
            ) from error
        return self._call(*values)[0]


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
    try:
        session = v1.Session(graph=tf.Graph(), config=config)
        # As TF Serving loads it. `tf.saved_model.load` makes a Python object of each function of the model,
        # which takes two to three times as long. Without its decorator, which recommends that one in the log.
        load = v1.saved_model.load.__wrapped__
        definitions = dict(load(session, ["serve"], str(path)).signature_def)
        return [Signature(path, session, definitions[name]) for name in names]
    except (OSError, KeyError, RuntimeError, ValueError, tf.errors.OpError) as error:
        raise ReleaseError(f"The SavedModel {path} cannot be loaded: {error}. Export again.") from error
