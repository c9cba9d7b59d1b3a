"""Validation batches hold as many rows as their scores for the whole catalogue leave room for."""

from tfrecall.training.inputs import feed
from tfrecall.training.inputs.examples import TrainingExamples


def test_scores_of_a_batch_are_bounded(tiny_model, monkeypatch):
    assert len(tiny_model.catalogue.ids) == 40
    rows = tiny_model.interactions
    batches = feed.Feed(TrainingExamples(tiny_model, rows), rows, rows, 0)
    assert len(rows) == 900
    assert batches.validation_steps == 1  # of 4096 rows
    monkeypatch.setattr(feed, "VALIDATION_SCORES", 100)
    assert batches.validation_steps == 450  # of 2 x 40 scores, 3 would be 120
    monkeypatch.setattr(feed, "VALIDATION_SCORES", 10)
    assert batches.validation_steps == 900
