"""Two workers train like one process; one that is lost ends the training, which can go on."""

import json

import numpy as np
import pytest

from tests.training.workers import ends

pytestmark = pytest.mark.slow

TRAIN = """
model, fitted = trained(checkpoints=folder)
weights = [variable.numpy().tolist() for variable in model.trainable_variables]
print(json.dumps([fitted.history, weights, int(model.optimizer.iterations)]))
"""
ALONE = """
if replicas.is_chief:
    one, alone = trained("none")
    for name, values in alone.history.items():
        np.testing.assert_allclose(fitted.history[name], values, rtol=1e-5, err_msg=name)
    for variable, other in zip(model.trainable_variables, one.trainable_variables):
        np.testing.assert_allclose(variable.numpy(), other.numpy(), atol=1e-5)
    assert int(one.optimizer.iterations) == 12
"""
LOSE = """
class Lost(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2 and not replicas.is_chief:
            os.kill(os.getpid(), 9)

trained(checkpoints=folder, callbacks=[Lost()])
"""


def test_two_workers_train_like_one_and_go_on_after_one_was_lost(tmp_path):
    whole = ends(TRAIN + ALONE, tmp_path / "whole")
    assert [status for status, _, _ in whole] == [0, 0], whole
    first, second = (json.loads(told.splitlines()[-1]) for _, told, _ in whole)
    assert first == second
    history, weights, steps = first
    assert steps == 12

    chief, lost = ends(LOSE, tmp_path / "lost")
    assert lost[0] == -9
    assert chief[0] == 1, chief
    assert "WorkerLostError" in chief[2]
    assert "Start all workers again" in chief[2]
    assert [file.suffix for file in (tmp_path / "lost").iterdir()].count(".npz") == 2

    again = ends("import logging; logging.basicConfig(level=20)" + TRAIN, tmp_path / "lost")
    assert [status for status, _, _ in again] == [0, 0], again
    for _, told, errors in again:
        assert "Resuming after epoch 2 of 4" in errors
        resumed_history, resumed_weights, steps = json.loads(told.splitlines()[-1])
        assert resumed_history.keys() == history.keys()
        for name, values in resumed_history.items():
            assert values == pytest.approx(history[name], rel=1e-5)
        for resumed, expected in zip(resumed_weights, weights, strict=True):
            np.testing.assert_allclose(resumed, expected, atol=1e-5)
        assert steps == 12


def test_workers_that_would_train_something_else_are_refused(tmp_path):
    found = ends("settings['learning_rate'] = 0.1 + replicas.cluster.index; trained()", tmp_path)
    for status, _, errors in found:
        assert status == 1
        assert "ConfigError: Worker 1 would train something else" in errors
        assert "learning_rate: 0.1, but 1.1" in errors
