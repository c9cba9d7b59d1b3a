"""What a search may choose is checked before the first trial."""

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from tfrecall.config.recipes import load_config
from tfrecall.config.sections import TuneConfig
from tfrecall.errors import ConfigError
from tfrecall.runs.tuning.space import Space, default_space


def recipe(*settings):
    return load_config("two_tower_ml100k", settings)


def space(path, **choice):
    return Space(recipe(), {path: TuneConfig(**choice)})


@pytest.mark.parametrize(
    ("path", "choice", "distribution"),
    [
        ("training.learning_rate", {"low": 1, "high": 3}, FloatDistribution(1, 3)),
        (
            "training.learning_rate",
            {"low": 0.1, "high": 3.0, "log": True},
            FloatDistribution(0.1, 3, True),
        ),
        ("training.batch_size", {"low": 64, "high": 512, "log": True}, IntDistribution(64, 512, True)),
        ("schema.query.0.embedding_dim", {"low": 4, "high": 9}, IntDistribution(4, 9)),
        (
            "model.layer_sizes",
            {"choices": [[64], [128, 64], [64]]},
            CategoricalDistribution(["[64]", "[128, 64]"]),
        ),
        ("training.clip_norm", {"low": 0.5, "high": 2.0}, FloatDistribution(0.5, 2.0)),
    ],
)
def test_ranges_and_choices_become_distributions(path, choice, distribution):
    assert space(path, **choice).distributions == {path: distribution}


def test_choices_are_values_of_settings_again():
    found = space("task", choices=[{"type": "full_softmax"}, {"type": "in_batch", "temperature": 0.5}])
    second = found.distributions["task"].choices[1]
    assert found.configured({"task": second}).task.temperature == 0.5


@pytest.mark.parametrize(
    ("path", "choice", "said"),
    [
        ("training.learning_rte", {"low": 1, "high": 2}, 'Did you mean "learning_rate"?'),
        ("trainin.epochs", {"low": 1, "high": 2}, 'Did you mean "training"?'),
        ("training..epochs", {"low": 1, "high": 2}, "is not a setting"),
        ("model.dropout", {"low": 0.0, "high": 1.0}, "model.dropout: "),
        ("model.dropout", {"choices": [0.1, "much"]}, "model.dropout: "),
        ("training.epochs", {"low": 1.5, "high": 2.5}, "training.epochs: "),
        ("task.type", {"choices": ["in_bach"]}, 'Did you mean "in_batch"?'),
        ("data.source", {"choices": ["a", "b"]}, "`data` changes the rows"),
        ("split.seed", {"low": 1, "high": 9}, "`split` changes the rows"),
        ("training.monitor", {"choices": ["loss"]}, "is what trials are compared by"),
        ("training.seed", {"low": 1, "high": 9}, "the best of several seeds is luck"),
        ("evaluation.ks", {"choices": [[1]]}, "comes after training"),
    ],
)
def test_what_cannot_be_searched_is_refused(path, choice, said):
    with pytest.raises(ConfigError) as error:
        space(path, **choice)
    assert said in str(error.value)


def test_an_empty_space_is_refused():
    with pytest.raises(ConfigError, match="nothing to choose"):
        Space(recipe(), {})


def test_the_recipes_own_values_are_known_if_they_may_be_chosen():
    choices = {"model.layer_sizes": TuneConfig(choices=[[8], [256, 64]])}
    inside = Space(recipe(), {**choices, "model.dropout": TuneConfig(low=0.2, high=0.5)})
    assert inside.own_values() == {"model.layer_sizes": "[256, 64]", "model.dropout": 0.5}
    outside = Space(recipe(), {**choices, "model.dropout": TuneConfig(low=0.1, high=0.4)})
    assert outside.own_values() is None
    unset = Space(recipe(), {"training.clip_norm": TuneConfig(low=0.5, high=2.0)})
    assert unset.own_values() is None


@pytest.mark.parametrize("settings", [[], ["model.layer_sizes=[]"], ["model.normalize=true"]])
def test_every_recipe_has_a_default_space_with_its_own_values(settings):
    config = recipe(*settings)
    found = default_space(config)
    assert Space(config, found).own_values() or settings == ["model.normalize=true"]
    assert ("task.temperature" in found) == config.model.is_normalized
    assert ("model.layer_sizes" in found) == bool(config.model.layer_sizes)


def test_of_a_loss_that_multiplies_cosines_the_factor_is_searched():
    found = default_space(load_config("dssm_pointwise_ml1m"))
    assert "task.gamma" in found
    assert "task.temperature" not in found
    assert not {"task.gamma", "task.temperature"} & set(default_space(load_config("dssm_triplet_ml1m")))
