"""A SavedModel asked as TF Serving asks it: a v1 session on the tensor names of a signature."""

from pathlib import Path
from typing import Any

import numpy as np

from tfrecall._tensorflow import tf


class Served:
    """One SavedModel in a v1 session, which answers from any thread.

    Attributes:
        meta_graph: its `MetaGraphDef`, as the loader returns it.
        signatures: its `SignatureDef` messages by name.
    """

    def __init__(self, path: Path) -> None:
        self.session = tf.compat.v1.Session(graph=tf.Graph())
        with self.session.graph.as_default():
            self.meta_graph = tf.compat.v1.saved_model.load(self.session, ["serve"], str(path))
        self.signatures = dict(self.meta_graph.signature_def)

    def ask(self, name: str, **inputs: Any) -> dict[str, np.ndarray]:
        signature = self.signatures[name]
        feed = {signature.inputs[key].name: value for key, value in inputs.items()}
        assert feed.keys() == {tensor.name for tensor in signature.inputs.values()}
        fetch = {key: tensor.name for key, tensor in signature.outputs.items()}
        return self.session.run(fetch, feed)
