"""Specifications of encoders: plain forms, refusals."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrecall.errors import ConfigError
from tfrecall.schema.encoders import (
    GRU,
    Attention,
    Decay,
    Gated,
    Interests,
    Mean,
    RootSum,
    Sum,
    Windows,
    encoder_from_dict,
    encoder_to_dict,
)

counts = st.integers(1, 1000)
rates = st.floats(0, 0.9)
ENCODERS = st.one_of(
    st.builds(Mean),
    st.builds(Sum),
    st.builds(RootSum),
    st.builds(Windows, st.lists(counts, min_size=1, unique=True), last=st.integers(0, 9)),
    st.builds(Decay, st.floats(0.01, 0.99)),
    st.builds(GRU, counts, layers=counts, dropout=rates),
    st.builds(Gated, counts, heads=counts, dropout=rates, time=st.booleans(), products=st.booleans()),
    st.builds(Attention, counts, heads=counts, dropout=rates, max_length=st.none() | counts),
    st.builds(Interests, counts, units=counts),
)


@given(ENCODERS)
def test_an_encoder_survives_its_plain_form(encoder):
    assert encoder_from_dict(encoder_to_dict(encoder)) == encoder
    assert encoder_from_dict(encoder) is encoder


@pytest.mark.parametrize(
    ("construct", "message"),
    [
        (lambda: Windows([]), r"one or more distinct lengths.*Received: \[\]"),
        (lambda: Windows([5, 1, 5]), r"one or more distinct lengths.*Received: \[5, 1, 5\]"),
        (lambda: Windows([5, 0]), r"Windows: `0?.*greater than 0. Received: 0"),
        (lambda: Windows([5], last=-1), "`last`: .*greater than or equal to 0. Received: -1"),
        (lambda: Decay(1), "less than 1. Received: 1"),
        (lambda: Decay(0.0), "greater than 0. Received: 0"),
        (lambda: GRU(0), "greater than 0. Received: 0"),
        (lambda: GRU(droput=0.1), 'GRU has no setting "droput". Did you mean "dropout"'),
        (
            lambda: Gated(products=False, positions=False),
            "attention needs inner products, positions or times",
        ),
        (lambda: Gated(hidden_requests=0.5), "`time = true` asks for. Received: hidden_requests=0.5"),
        (lambda: Attention(dropout=1), "Attention: `dropout`.*less than 1. Received: 1"),
        (lambda: Attention(activation="tanh"), "'relu' or 'gelu'. Received: 'tanh'"),
        (lambda: Interests(num_interests=0), "Interests: `num_interests`.*greater than 0. Received: 0"),
        (lambda: encoder_from_dict({"type": "decay", "rate": 2}), "Decay: `rate`.*Received: 2"),
        (lambda: encoder_from_dict({"type": "mean", "rate": 2}), 'Mean has no setting "rate"'),
        (
            lambda: encoder_from_dict({"type": "lstm"}),
            "encoder: .*'lstm'.* 'attention', 'gated', 'interests'",
        ),
        (lambda: encoder_from_dict({}), "encoder: .*discriminator"),
        (lambda: encoder_from_dict("mean"), "encoder: .*Received: 'mean'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(construct, message):
    with pytest.raises(ConfigError, match=message):
        construct()
