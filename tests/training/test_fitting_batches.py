"""Validation batches hold as many rows as their scores for the whole catalogue leave room for."""

from tfrecall.training import fitting


def test_scores_of_a_batch_are_bounded(tiny_model, monkeypatch):
    assert len(tiny_model.catalogue.ids) == 40
    assert fitting._rows_at_once(tiny_model) == 4096
    monkeypatch.setattr(fitting, "VALIDATION_SCORES", 100)
    assert fitting._rows_at_once(tiny_model) == 2  # 2 x 40 scores, 3 would be 120
    monkeypatch.setattr(fitting, "VALIDATION_SCORES", 10)
    assert fitting._rows_at_once(tiny_model) == 1
