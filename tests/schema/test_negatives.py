"""Specifications of negatives: plain forms, refusals, the same words for older tasks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrecall.config.recipes import config_from_dict, load_config
from tfrecall.errors import ConfigError
from tfrecall.runs.build import make_model
from tfrecall.schema.negatives import (
    SOURCES,
    CrossBatch,
    Explicit,
    Hard,
    HeadTail,
    InBatch,
    LogUniform,
    Mixed,
    Popularity,
    Source,
    Uniform,
    is_drawn,
    is_mined,
    negatives_from_dict,
    negatives_to_dict,
)
from tfrecall.tasks.in_batch import InBatchSoftmax
from tfrecall.tasks.sampled_softmax import SampledSoftmax

counts = st.integers(1, 1000)
OPTIONS = {"exclude_known": st.booleans(), "resample": st.booleans(), "seed": st.integers(0, 99)}
NEGATIVES = st.one_of(
    st.builds(InBatch),
    st.builds(LogUniform, counts),
    st.builds(Mixed, counts),
    st.builds(CrossBatch, counts),
    st.builds(Uniform, counts, **OPTIONS),
    st.builds(Popularity, counts, st.floats(0, 2), **OPTIONS),
    st.builds(HeadTail, counts, st.floats(0.1, 0.9), counts, st.floats(0, 2), **OPTIONS),
    st.builds(Explicit, st.text(min_size=1), counts, **OPTIONS),
    st.builds(Hard, counts),
    st.builds(
        Hard,
        ranks=st.integers(1, 9).map(lambda a: (a, a + 5)),
        release=st.none() | st.text(min_size=1),
        per_positive=counts,
    ),
)


@given(NEGATIVES)
def test_negatives_survive_their_plain_form(spec):
    assert negatives_from_dict(negatives_to_dict(spec)) == spec
    assert negatives_from_dict(spec) == spec


def test_every_source_has_its_name():
    assert {cls.__dataclass_fields__["type"].default for cls in Source.__args__} == {
        *SOURCES,
        "log_uniform",
    }


def test_a_name_is_a_source_with_its_defaults():
    assert negatives_from_dict("popularity") == Popularity(4, 0.75)
    assert negatives_from_dict("head_tail") == HeadTail(4, 0.3, 5, 0.75)


def test_two_families():
    mined = Hard(ranks=(1, 2))
    assert all(map(is_drawn, [Uniform(), Popularity(), HeadTail(), Explicit("shown"), mined]))
    assert not any(map(is_drawn, [InBatch(), Mixed(), CrossBatch(), Hard(3)]))
    assert is_mined(mined)
    assert not is_mined(Hard(3))


@pytest.mark.parametrize(
    ("construct", "message"),
    [
        (
            lambda: negatives_from_dict("unifrom"),
            'no source "unifrom".* Did you mean "uniform".* explicit',
        ),
        (lambda: negatives_from_dict({"per_positive": 3}), "need a source.*in_batch, uniform"),
        (lambda: negatives_from_dict(3), "need a source.*Received: 3"),
        (
            lambda: negatives_from_dict({"type": "uniform", "alpha": 1}),
            'Uniform has no setting "alpha"',
        ),
        (lambda: Popularity(alpha=-0.1), "`alpha` must be from 0.* to 2. Received: -0.1"),
        (lambda: Popularity(alpha=2.1), "Received: 2.1"),
        (lambda: HeadTail(alpha=float("nan")), "Received: nan"),
        (lambda: HeadTail(head_share=1), "`head_share`.*less than 1. Received: 1"),
        (lambda: HeadTail(threshold=0), "`threshold`.*greater than 0. Received: 0"),
        (lambda: Uniform(per_positive=0), "`per_positive`.*greater than 0. Received: 0"),
        (lambda: Explicit(), "`column` is missing"),
        (lambda: Hard(), "either `hardest`.* Received: hardest=None, ranks=None"),
        (lambda: Hard(3, ranks=(1, 2)), "Received: hardest=3"),
        (
            lambda: Hard(3, release="saved"),
            r"`release` of hard negatives needs `ranks`.* Received: hardest=3, release='saved'",
        ),
        (lambda: Hard(ranks=(1, 2), release=""), "`release`.*at least 1 character"),
        (lambda: Hard(ranks=(5, 2)), r"first and the last rank.*Received: \[5, 2\]"),
        (lambda: Hard(ranks=(0, 2)), r"at least 1.*Received: \[0, 2\]"),
    ],
)
def test_settings_that_make_no_sense_are_refused(construct, message):
    with pytest.raises(ConfigError, match=message):
        construct()


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("{type='pointwise', negatives='unifrom'}", 'task.negatives: .*"unifrom".*"uniform"'),
        (
            "{type='bpr', negatives={type='popularity', alpha=3}}",
            "task.negatives.alpha: .*Received: 3.0",
        ),
        (
            "{type='bpr', negatives={type='in_batch', alpha=3}}",
            "task.negatives.alpha: .*Valid here: type",
        ),
        ("{type='pointwise', gamma=0}", "task.gamma: .*greater than 0. Received: 0"),
        ("{type='dssm_softmax', gamma=-1}", "task.gamma: .*Received: -1"),
        ("{type='triplet', margin=-0.5}", "task.margin: .*greater than or equal to 0. Received: -0.5"),
        ("{type='triplet'}", "set `model.normalize = true`"),
        (
            "{type='in_batch', negatives='uniform'}",
            "task.negatives: .*Choose from: in_batch, mixed, cross_batch, hard",
        ),
        ("{type='in_batch', negatives={type='hard', ranks=[1, 2]}}", "take `hardest`"),
        ("{type='in_batch', negatives=['mixed', 'mixed']}", "each source once. Received: mixed, mixed"),
        ("{type='in_batch', memory_size=-3}", "`memory_size`: .*greater than 0. Received: -3"),
        ("{type='sampled_softmax', sampler='zipf'}", "one of uniform, log_uniform, unigram. .*'zipf'"),
        ("{type='pointwise', negatives='log_uniform'}", 'does not support .*"log_uniform"'),
        ("{type='in_batch', negatives='mixed', memory_size=3}", "Received both: leave one out"),
        ("{type='sampled_softmax', negatives='uniform'}", "Set `exclude_known = false`"),
        ("{type='sampled_softmax', negatives='hard'}", "Hard negatives need either"),
        ("{type='sampled_softmax', negatives='in_batch'}", "Choose from: uniform, popularity"),
        ("{type='full_softmax', negatives='uniform'}", "task.negatives: there is no such setting"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused(task, message):
    with pytest.raises(ConfigError, match=message):
        load_config("two_tower_ml100k", [f"task={task}"])


@pytest.mark.parametrize(
    ("task", "settings"),
    [
        ("{type='in_batch', negatives='in_batch'}", {"num_hard_negatives": None, "memory_size": 0}),
        ("{type='in_batch', negatives={type='mixed', num_uniform=9}}", {"num_uniform_negatives": 9}),
        ("{type='in_batch', negatives={type='cross_batch', memory_size=9}}", {"memory_size": 9}),
        ("{type='in_batch', negatives={type='hard', hardest=9}}", {"num_hard_negatives": 9}),
        (
            "{type='in_batch', negatives=[{type='mixed', num_uniform=8}, {type='hard', hardest=9}]}",
            {"num_uniform_negatives": 8, "memory_size": 0, "num_hard_negatives": 9},
        ),
        (
            "{type='sampled_softmax', negatives={type='log_uniform', per_positive=9}}",
            {"num_sampled": 9, "sampler": "log_uniform"},
        ),
        (
            "{type='sampled_softmax', negatives={type='uniform', per_positive=9, exclude_known=false}}",
            {"num_sampled": 9, "sampler": "uniform"},
        ),
        (
            "{type='sampled_softmax', negatives="
            "{type='popularity', per_positive=9, alpha=1, exclude_known=false}}",
            {"num_sampled": 9, "sampler": "unigram", "alpha": 1.0},
        ),
    ],
)
def test_older_tasks_take_the_same_words(task, settings):
    made = make_model(load_config("two_tower_ml100k", [f"task={task}"])).task
    assert {name: getattr(made, name) for name in settings} == settings


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (
            "{type='in_batch', memory_size=7, num_uniform_negatives=8, num_hard_negatives=9}",
            "{type='in_batch', negatives=[{type='mixed', num_uniform=8}, "
            "{type='cross_batch', memory_size=7}, {type='hard', hardest=9}]}",
        ),
        ("{type='in_batch', memory_size=0, num_uniform_negatives=0}", "{type='in_batch'}"),
        (
            "{type='sampled_softmax', num_sampled=7, alpha=0.5}",
            "{type='sampled_softmax', negatives="
            "{type='popularity', per_positive=7, alpha=0.5, exclude_known=false}}",
        ),
        (
            "{type='sampled_softmax', num_sampled=7, sampler='uniform'}",
            "{type='sampled_softmax', negatives={type='uniform', per_positive=7, exclude_known=false}}",
        ),
        (
            "{type='sampled_softmax', sampler='log_uniform'}",
            "{type='sampled_softmax', negatives='log_uniform'}",
        ),
        ("{type='sampled_softmax', sampler='unigram'}", "{type='sampled_softmax'}"),
    ],
)
def test_settings_before_the_one_word_are_read_as_it(old, new):
    """Config, plain form and the layer of both are equal."""
    first, second = (load_config("two_tower_ml100k", [f"task={task}"]) for task in (old, new))
    assert first == second
    assert config_from_dict(first.to_dict()) == first
    layers = [make_model(config).task.get_config() for config in (first, second)]
    assert layers[0] | {"name": ""} == layers[1] | {"name": ""}


def test_settings_before_the_one_word_are_noted_once(caplog):
    for _ in range(2):
        load_config("two_tower_ml100k", ["task={type='in_batch', memory_size=12345}"])
    (record,) = [r for r in caplog.records if "12345" in r.message]
    assert record.message.endswith('negatives = { memory_size = 12345, type = "cross_batch" }')


def test_layers_take_the_same_word():
    assert InBatchSoftmax(negatives=["mixed", Hard(hardest=3)]).num_hard_negatives == 3
    assert SampledSoftmax(negatives=LogUniform(9)).num_sampled == 9
    with pytest.raises(ConfigError, match="Leave one out"):
        InBatchSoftmax(negatives="mixed", memory_size=3)


def test_a_release_can_be_named_by_its_path_and_in_a_file():
    from pathlib import Path

    assert Hard(ranks=(1, 2), release=Path("saved") / "mine").release == "saved/mine"
    override = 'task.negatives={ type = "hard", ranks = [20, 100], release = "saved/mine" }'
    task = make_model(load_config("dssm_softmax_ml1m", [override])).task
    assert task.negatives == Hard(ranks=(20, 100), release="saved/mine")
