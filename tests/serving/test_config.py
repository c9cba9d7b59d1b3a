"""Settings of the service are checked when they are made."""

import pytest

from tfrecall.errors import ConfigError
from tfrecall.serving.config import ServingConfig


@pytest.mark.parametrize(
    "wrong",
    [
        {"releases": {}},
        {"releases": {"a/b": "x"}},
        {"releases": {"": "x"}},
        {"pins": {"b": 1}},
        {"shares": {"b": 0.1}},
        {"shares": {"a": 1.1}},
        {"shares": {"a": -0.1}},
        {"shares": {"a": float("nan")}},
        {"releases": {"a": "x", "b": "y"}, "shares": {"a": 0.6, "b": 0.6}},
        {"max_batch": 0},
        {"max_waiting": 0},
        {"timeout_ms": 0},
        {"max_body": 0},
        {"threads": 0},
        {"drain_seconds": -1},
        {"reload_seconds": float("nan")},
        {"body_seconds": 0},
        {"header_seconds": 0},
        {"max_connections": 0},
        {"stuck_seconds": float("inf")},
        {"log_level": "loud"},
        {"log_format": "xml"},
        {"unknown_users": "all"},
    ],
)
def test_impossible_value_is_refused(wrong):
    with pytest.raises(ConfigError):
        ServingConfig(**{"releases": {"a": "x"}, **wrong})


def test_shares_that_make_a_whole_are_taken():
    # In floats .7 + .2 + .1 = .9999..., and .1 + .7 + .2 = 1.0; .6 + .3 + .1 and others round up.
    for shares in ((0.7, 0.2, 0.1), (0.1, 0.7, 0.2), (0.3, 0.3, 0.4), (1.0,)):
        names = [f"r{i}" for i in range(len(shares))]
        ServingConfig(dict.fromkeys(names, "x"), shares=dict(zip(names, shares, strict=True)))
