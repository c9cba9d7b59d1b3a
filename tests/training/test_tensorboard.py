"""What TensorBoard is given: read back from its files."""

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from google.protobuf import text_format
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

from tfrecall._keras import keras, tf
from tfrecall.models.catalogue import Catalogue
from tfrecall.training.tensorboard import METADATA, VECTORS, Board, write_projector


def scalars(folder):
    """All scalars of the event files of a directory: {name: {step: value}}."""
    found = {}
    for file in sorted(folder.glob("events*")):
        for record in tf.data.TFRecordDataset(str(file)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step] = float(tf.make_ndarray(value.tensor))
    return found


class Halving(keras.optimizers.schedules.LearningRateSchedule):
    def __call__(self, step):
        return 0.5 ** tf.cast(step + 1, tf.float32)

    def get_config(self):
        return {}


def fitted(rate, folder, first=0, epochs=2):
    model = keras.Sequential([keras.layers.Dense(1, input_shape=(1,))])
    model.compile(keras.optimizers.SGD(rate), "mse")
    x = np.ones([4, 1])
    return model.fit(
        x,
        x,
        batch_size=4,
        initial_epoch=first,
        epochs=epochs,
        validation_data=(x, x),
        callbacks=[Board(folder)],
        verbose=0,
    ).history


@pytest.mark.slow
def test_loss_metrics_and_rate_of_each_epoch(tmp_path):
    history = fitted(Halving(), tmp_path)
    train, validation = scalars(tmp_path / "train"), scalars(tmp_path / "validation")
    # One step an epoch: the rates of steps 0 and 1 are 1/2 and 1/4.
    assert train["learning_rate"] == {1: 0.5, 2: 0.25}
    assert train["loss"] == pytest.approx({1: history["loss"][0], 2: history["loss"][1]})
    assert validation["loss"] == pytest.approx({1: history["val_loss"][0], 2: history["val_loss"][1]})
    assert train.keys() == {"loss", "learning_rate"}, "neither graph nor weights"
    assert validation.keys() == {"loss"}


@pytest.mark.slow
def test_a_resumed_training_goes_on_where_it_was(tmp_path):
    fitted(0.125, tmp_path, epochs=1)
    fitted(0.125, tmp_path, first=1, epochs=3)
    assert scalars(tmp_path / "train")["learning_rate"] == {1: 0.125, 2: 0.125, 3: 0.125}


def lines(file):
    return file.read_text("utf-8").removesuffix("\n").split("\n")


def test_the_projector_gets_each_candidate_with_its_labels(tmp_path, tiny_model):
    vectors = tiny_model.embed_candidates()
    write_projector(tmp_path, vectors, tiny_model.catalogue)
    read = [[float(v) for v in line.split("\t")] for line in lines(tmp_path / VECTORS)]
    np.testing.assert_allclose(read, vectors, rtol=1e-6)
    names, *rows = [line.split("\t") for line in lines(tmp_path / METADATA)]
    items = tiny_model.catalogue.items
    assert names == ["item_id", "group", "title", "genres"]
    assert [row[0] for row in rows] == items["item_id"].to_list()
    assert [row[names.index("title")] for row in rows] == items["title"].to_list()
    genres = [", ".join(genres) for genres in items["genres"].to_list()]
    assert [row[names.index("genres")] for row in rows] == genres
    config = text_format.Parse((tmp_path / "projector_config.pbtxt").read_text(), ProjectorConfig())
    (embedding,) = config.embeddings
    assert (embedding.tensor_path, embedding.metadata_path) == (VECTORS, METADATA)
    assert list(embedding.tensor_shape) == list(vectors.shape)


def catalogue_of(**columns) -> Catalogue:
    items = pl.DataFrame(columns)
    return SimpleNamespace(items=items, ids=np.array(items["item_id"].to_list(), object))


def test_titles_stay_in_their_line_and_column(tmp_path):
    titles = ["a\tb", "c\nd\r\n", None, "e\\t", 'f "g"', "h\u2028"]
    catalogue = catalogue_of(item_id=list("uvwxyz"), title=titles, price=[1.0] * 6)
    write_projector(tmp_path, np.zeros([6, 2]), catalogue)
    rows = lines(tmp_path / METADATA)
    assert rows[1:] == ["u\ta\\tb", "v\tc\\nd\\r\\n", "w\t", "x\te\\\\t", 'y\tf "g"', "z\th\u2028"]


def test_a_single_column_has_no_line_of_names(tmp_path):
    # So the projector wants it: it would take the names for an item.
    write_projector(tmp_path, np.zeros([2, 2]), catalogue_of(item_id=["a", "b"]))
    assert lines(tmp_path / METADATA) == ["a", "b"]
