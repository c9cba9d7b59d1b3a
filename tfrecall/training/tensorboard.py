"""TensorBoard: curves of a training by epoch, candidate vectors for the embedding projector."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from tensorboard.plugins import projector

from tfrecall._keras import keras, tf
from tfrecall.models.catalogue import Catalogue

VECTORS, METADATA = "candidate_vectors.tsv", "candidate_metadata.tsv"


class Board(keras.callbacks.Callback):
    """Writes loss, metrics and learning rate of each epoch, from 1.

    Training and validation are two runs of TensorBoard, `train` and `validation`, and a metric has the
    same name in both, so that it shows them in one picture. Neither the graph nor weights are written.

    Args:
        folder: directory of the two runs.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        self.folder = Path(folder)
        self._writers: dict[str, Any] = {}

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        rate = keras.backend.get_value(self.model.optimizer.learning_rate)
        for name, value in {**(logs or {}), "learning_rate": rate}.items():
            side = "validation" if name.startswith("val_") else "train"
            if side not in self._writers:
                self._writers[side] = tf.summary.create_file_writer(str(self.folder / side))
            with self._writers[side].as_default(step=epoch + 1):
                tf.summary.scalar(name.removeprefix("val_"), float(value))
        # After each epoch, so that curves can be watched while training goes on.
        for writer in self._writers.values():
            writer.flush()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers = {}


def write_projector(folder: str | Path, vectors: np.ndarray, catalogue: Catalogue) -> None:
    """Writes candidate vectors for TensorBoard's embedding projector, with labels from the item table.

    Args:
        folder: the log directory of TensorBoard.
        vectors: float `[n, embedding_dim]`, in the order of the catalogue.
        catalogue: names the candidates; every text or list column of its items becomes a label.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / VECTORS).open("w", encoding="utf-8") as file:
        # A float32 has seven significant digits; the default of 18 more than doubles the file.
        np.savetxt(file, vectors, fmt="%.7g", delimiter="\t")
    rows = _labels(catalogue)
    # The projector takes the first line for names only if there is more than one column.
    lines = [rows.columns, *rows.rows()] if rows.width > 1 else rows.rows()
    text = "".join("\t".join(map(_escaped, line)) + "\n" for line in lines)
    (folder / METADATA).write_text(text, "utf-8", newline="\n")
    config = projector.ProjectorConfig()
    embedding = config.embeddings.add()
    embedding.tensor_name = "candidates"
    embedding.tensor_path, embedding.metadata_path = VECTORS, METADATA
    embedding.tensor_shape.extend(vectors.shape)
    projector.visualize_embeddings(str(folder), config)


def _labels(catalogue: Catalogue) -> pl.DataFrame:
    """The ids, and the columns of the item table that read like labels."""
    items = catalogue.items
    lists = [pl.col(c).cast(pl.List(pl.String)).list.join(", ") for c in _lists(items)]
    labels = items.select(pl.col(pl.String), *lists).select(pl.all().exclude("item_id"))
    order = [name for name in items.columns if name in labels.columns]
    ids = pl.Series("item_id", catalogue.ids.tolist(), pl.String)
    return pl.DataFrame([ids, *(labels[name] for name in order)])


def _lists(items: pl.DataFrame) -> list[str]:
    return [name for name, dtype in items.schema.items() if isinstance(dtype, pl.List)]


def _escaped(value: str | None) -> str:
    """Values as text in one line and one column; unknown ones are empty."""
    text = (value or "").replace("\\", "\\\\")
    for character, name in (("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r")):
        text = text.replace(character, name)
    return text
