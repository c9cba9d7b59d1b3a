"""Training batches of sequences fit the positions of self-attention, or are refused before an epoch."""

import numpy as np
import pytest

from tfrecall.data import synthetic
from tfrecall.errors import ConfigError
from tfrecall.models.two_tower import TwoTower
from tfrecall.schema.encoders import GRU, Attention
from tfrecall.schema.features import Categorical, History, Schema
from tfrecall.schema.targets import HistoriesConfig
from tfrecall.tasks.full_softmax import FullSoftmax
from tfrecall.training.inputs.examples import TrainingExamples

LOG = synthetic(4, 12, 160, seed=3)
MOST = int(LOG.histories.lengths.max())


def model_with(encoder, length=6, log=LOG):
    item = Categorical("item_id", 4)
    model = TwoTower(
        Schema(query=[History("history", item, length, encoder)], candidate=[item]),
        [],
        task=FullSoftmax(),
    )
    model.adapt(log)
    return model


def events_of_rows(examples):
    """The most events of a sequence, over two epochs."""
    return max(
        int((np.array(batch["query"]["history_history"]["items"]) > 0).sum(axis=1).max())
        for _ in range(2)
        for batch in examples.batches()
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        ({}, (6, 1)),  # 128 targets and 6 events before do not fit
        ({"targets_per_row": 4}, (4, 3)),  # 4 targets are 3 events more than the context
        ({"context": 2}, (5, 2)),
        ({"context": 6}, (1, 6)),
        ({"context": 1, "targets_per_row": 3}, (3, 1)),  # fits as it is
    ],
)
def test_sequences_are_as_long_as_there_are_positions(settings, shape):
    model = model_with(Attention(1))
    examples = TrainingExamples(model, LOG, 64, histories=HistoriesConfig(**settings))
    assert (examples._sequences.targets_per_row, examples._sequences.context) == shape
    assert events_of_rows(examples) <= 6
    # Every event but the first of each user is a target, once an epoch.
    assert sum(len(batch["candidate_index"]) for batch in examples.batches()) == len(LOG) - 4
    cut = settings != {"context": 1, "targets_per_row": 3}
    assert any("6 positions" in note for note in examples.notes) == cut
    assert model.compute_loss(next(iter(examples.batches())), training=True).numpy() > 0


@pytest.mark.slow
def test_more_context_than_positions_is_refused():
    with pytest.raises(ConfigError, match=r"7 events before.*6 of the encoder.*`max_length`"):
        TrainingExamples(model_with(Attention(1)), LOG, 64, histories=HistoriesConfig(context=7))


@pytest.mark.slow
@pytest.mark.parametrize(
    "encoder", [GRU(4), Attention(1, max_length=6 + MOST), Attention(1, max_length=MOST)]
)
def test_settings_that_fit_stay_as_they_are(encoder):
    examples = TrainingExamples(model_with(encoder), LOG, 64)
    assert (examples._sequences.targets_per_row, examples._sequences.context) == (64, 6)
    assert not any("positions" in note for note in examples.notes)


@pytest.mark.slow
def test_windows_are_never_too_long():
    examples = TrainingExamples(
        model_with(Attention(1)), LOG, 64, histories=HistoriesConfig(form="windows")
    )
    assert examples._sequences.context == 6
    assert events_of_rows(examples) == 6
