"""Rankers whose training steps compute in bfloat16."""

import numpy as np
import pytest

from tests.tiny_ratings import SCHEMA, rating_interactions
from tfrecall.data.splits import split_random
from tfrecall.models.ranker import Ranker
from tfrecall.schema.labels import Label
from tfrecall.training import fit


@pytest.mark.slow
@pytest.mark.parametrize("crosses", [("dot", "concat", "elementwise"), ("dcn", "dot_interaction")])
def test_a_ranker_learns_in_bfloat16_and_answers_in_float32(crosses):
    train, test = split_random(rating_interactions(), 0.2, seed=1)
    model = Ranker(SCHEMA, (8,), label=Label("rating", 1, 5), crosses=crosses, biases=("user_id",))
    settings = {
        "optimizer": "adam",
        "learning_rate": 0.01,
        "batch_size": 256,
        "epochs": 5,
        "verbose": 0,
    }
    found = fit(model, train, mixed_precision=True, **settings)
    assert found.history["rmse"][-1] < found.history["rmse"][0]
    assert {weight.dtype.name for weight in model.trainable_variables} == {"float32"}
    assert model.crosses.compute_dtype == "float32"
    predictions = model.predictions(test)
    assert predictions.dtype == np.float32
    # 480 scores between 1 and 5: bfloat16, with 7 bits after the first, has 289 numbers there.
    assert len(np.unique(predictions)) > 400
