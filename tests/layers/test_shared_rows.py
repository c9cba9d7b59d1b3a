"""Rows of their own and shared ones: SipHash by hand, admission, evicted values, vectors as sums of rows."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties import examples
from tfrecall._keras import keras, tf
from tfrecall.errors import ConfigError, DataError
from tfrecall.layers.features import CategoricalFeature
from tfrecall.layers.shared_rows import (
    _KEY,
    Counted,
    EventReader,
    Events,
    admitted,
    continued,
    is_free,
    renewed,
    shared_rows,
)
from tfrecall.schema.features import Categorical

DAY = 86_400
MASK = 2**64 - 1
VALUES = ["a", "b", "a", "", "c", "a", "b", "[UNK]", "d"]


def siphash(text: bytes, key: tuple[int, int]) -> int:
    """SipHash-2-4 as in the paper of Aumasson and Bernstein."""

    def rotated(x, bits):
        return ((x << bits) | (x >> (64 - bits))) & MASK

    names = b"somepseudorandomlygeneratedbytes"
    words = [int.from_bytes(names[i : i + 8], "big") for i in range(0, 32, 8)]
    v = [words[0] ^ key[0], words[1] ^ key[1], words[2] ^ key[0], words[3] ^ key[1]]

    def mix(rounds):
        for _ in range(rounds):
            v[0] = (v[0] + v[1]) & MASK
            v[2] = (v[2] + v[3]) & MASK
            v[1], v[3] = rotated(v[1], 13) ^ v[0], rotated(v[3], 16) ^ v[2]
            v[0] = rotated(v[0], 32)
            v[2] = (v[2] + v[1]) & MASK
            v[0] = (v[0] + v[3]) & MASK
            v[1], v[3] = rotated(v[1], 17) ^ v[2], rotated(v[3], 21) ^ v[0]
            v[2] = rotated(v[2], 32)

    padded = text + bytes(7 - len(text) % 8) + bytes([len(text) % 256])
    for i in range(0, len(padded), 8):
        word = int.from_bytes(padded[i : i + 8], "little")
        v[3] ^= word
        mix(2)
        v[0] ^= word
    v[2] ^= 0xFF
    mix(4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def test_shared_rows_are_those_of_siphash():
    # The published test vector: key 00 01 ... 0f, text 00 01 ... 0e.
    key = (0x0706050403020100, 0x0F0E0D0C0B0A0908)
    assert siphash(bytes(range(15)), key) == 0xA129CA6149BE45E5
    texts = ["u1", "", "élan vital", "x" * 100, "12345678"]
    found = shared_rows(tf.constant(texts), 1000, 3).numpy()
    expected = [
        [siphash(text.encode(), (_KEY[0] + i, _KEY[1])) % 1000 for i in range(3)] for text in texts
    ]
    assert found.tolist() == expected


def test_many_values_spread_evenly_and_hardly_two_share_all_their_rows():
    rows = shared_rows(tf.constant([f"id {i}" for i in range(20_000)]), 2_000, 2).numpy()
    counts = np.bincount(rows.ravel(), minlength=2_000)
    # 40,000 draws over 2,000 rows: 20 each, standard deviation 4.5.
    assert counts.min() > 0
    assert counts.max() < 20 + 6 * 4.5
    # 20,000^2 / 2 pairs over 4 million places: some 50 pairs of values alike in order.
    assert len(np.unique(rows, axis=0)) > 19_850


def layer_of(values=VALUES, last=None, **settings):
    layer = CategoricalFeature(Categorical("c", 3, **{"unknown_rate": 0.0, **settings}))
    data = tf.data.Dataset.from_tensor_slices(values).batch(4)
    layer.adapt_to(EventReader(lambda column, form: data, Events(last=last)))
    return layer


def test_frequent_values_have_rows_and_the_others_sums_of_shared_ones():
    layer = layer_of(min_count=2, hash_rows=5, hashes=3)
    assert layer.state == ("a", "b")
    assert layer.table_rows == {"a": 7, "b": 8}
    texts = ["b", "c", "never seen", "", "[UNK]", "a"]
    encoded = layer.preprocess(tf.constant(texts)).numpy()
    of_hashes = 2 + shared_rows(tf.constant(["c", "never seen"]), 5, 3).numpy()
    assert encoded.tolist() == [[8, 0, 0], *of_hashes.tolist(), [1, 0, 0], [1, 0, 0], [7, 0, 0]]
    vectors, table = layer(encoded).numpy(), layer.table.numpy()
    assert table.shape == (2 + 5 + 2, 3)
    by_hand = [table[8], *(table[rows].sum(axis=0) for rows in of_hashes), table[1], table[1], table[7]]
    np.testing.assert_allclose(vectors, by_hand, rtol=1e-6, atol=1e-7)


def test_without_shared_rows_the_others_are_unknown():
    layer = layer_of(min_count=2)
    assert layer.state == ("a", "b")
    assert layer.preprocess(tf.constant(["a", "b", "c", ""])).numpy().tolist() == [2, 3, 1, 1]


def test_two_hashes_are_the_rule_and_whole_numbers_their_digits():
    layer = layer_of([7, 7, 8], min_count=2, hash_rows=5)
    assert layer.preprocess(tf.constant([7, 8])).shape == (2, 2)
    texts = layer.preprocess(tf.constant(["7", "8"]))
    assert layer.preprocess(tf.constant([7, 8])).numpy().tolist() == texts.numpy().tolist()


def test_a_share_of_whole_values_is_replaced_in_training():
    keras.utils.set_random_seed(1)
    layer = layer_of(min_count=2, hash_rows=50, unknown_rate=0.5)
    inputs = layer.preprocess(tf.constant(["a", "c"] * 500))
    plain, drawn = layer(inputs, training=False).numpy(), layer(inputs, training=True).numpy()
    unknown = layer.table.numpy()[1]
    replaced = (drawn == unknown).all(axis=1)
    assert 400 < replaced.sum() < 600
    np.testing.assert_array_equal(drawn[~replaced], plain[~replaced])


def test_gradients_reach_the_rows_used_and_no_others():
    layer = layer_of(min_count=2, hash_rows=50)
    inputs = layer.preprocess(tf.constant(["a", "c"]))
    layer(inputs)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(inputs))
    gradient = tf.convert_to_tensor(tape.gradient(loss, layer.table)).numpy()
    used = Counter(inputs.numpy().ravel().tolist())
    assert {row: int(gradient[row, 0]) for row in np.flatnonzero(gradient[:, 0])} == {
        row: count for row, count in used.items() if row
    }


@examples(30)
@given(
    st.lists(st.tuples(st.sampled_from(["", "a", "b", "é", "[UNK]", "zz"]), st.integers(1, 5))),
    st.integers(1, 6),
    st.one_of(st.none(), st.integers(1, 3)),
)
def test_values_are_admitted_by_the_events_of_their_rows(rows, min_count, most):
    counts: Counter = Counter()
    for text, count in rows:
        counts[text.encode()] += count
    ordered = sorted(counts, key=lambda text: (counts[text], text), reverse=True)
    kept = [t.decode() for t in ordered if t not in (b"", b"[UNK]") and counts[t] >= min_count][:most]
    texts = np.array([text.encode() for text, _ in rows], dtype=object)
    found = Counted.of(texts, Events(np.array([count for _, count in rows], np.int64)))
    spec = Categorical("c", min_count=min_count, max_tokens=most)
    if not kept:
        with pytest.raises(DataError, match='No value of "c" gets a row of its own'):
            admitted(found, spec)
        return
    assert admitted(found, spec) == (kept, None)


def test_values_without_recent_events_share_rows():
    times = np.array([0, 1, 2, 3, 4, 5, 6, 7, 10], float) * DAY
    # The end is day 10: "b" was last seen on day 6, "a" on day 5, "c" on day 4, "d" on day 10.
    layer = layer_of(last=times, max_age_days=4.0, hash_rows=5)
    assert layer.state == ("b", "d")
    layer = layer_of(last=times, max_age_days=5.0, min_count=2, hash_rows=5)
    assert layer.state == ("a", "b")
    with pytest.raises(DataError, match='`max_age_days` of "c" needs the times of events'):
        layer_of(max_age_days=4.0)


def test_old_values_give_their_rows_to_new_ones():
    grown = continued(["a", "b", "c"], ["d", "a"], {"a", "d"}, None)
    assert grown == ["a", "d", "[FREE 2]"]
    assert renewed(["a", "b", "c"], grown) == [1, 2]
    # Later the free row is taken, too; a value that comes back is a new one.
    assert continued(grown, ["a", "d", "b", "e"], {"a", "d", "b", "e"}, None) == ["a", "d", "b", "e"]


@given(
    st.lists(st.sampled_from("abcdef"), unique=True),
    st.lists(st.sampled_from("abcdefghi"), unique=True),
    st.one_of(st.none(), st.sets(st.sampled_from("abcdefghi"))),
    st.one_of(st.none(), st.integers(1, 9)),
)
def test_no_value_moves_none_is_twice_and_no_row_is_lost(earlier, learned, recent, most):
    learned = learned if recent is None else [v for v in learned if v in recent]
    grown = continued(earlier, learned, recent, most)
    assert len(set(grown)) == len(grown) >= len(earlier)
    assert most is None or len(grown) <= max(most, len(earlier))
    for row, value in enumerate(earlier):
        stays = recent is None or value in recent
        assert (grown[row] == value) == stays
    assert {v for v in grown if not is_free(v)} <= set(learned) | set(earlier)
    if most is None:
        assert set(learned) <= set(grown)
    # Free rows are left only where nothing new waits.
    if any(map(is_free, grown)):
        assert set(learned) <= set(grown)


def test_renewed_rows_begin_with_the_vector_that_the_value_had():
    layer = layer_of(min_count=2, hash_rows=5)
    layer(layer.preprocess(tf.constant(["a"])))
    table = layer.table.numpy()
    later = CategoricalFeature(layer.spec)
    later.continue_from(["b", "a", "gone"])
    later._set_state(["b", "a", "c", "d", "[FREE 4]"])
    variable = tf.Variable(np.concatenate([table[:9], np.full([3, 3], 7.0)]).astype(np.float32))
    assert later.renew(variable).tolist() == [9, 10, 11]
    shared = 2 + shared_rows(tf.constant(["c", "d"]), 5, 2).numpy()
    np.testing.assert_allclose(variable[9:11], table[shared].sum(axis=1), rtol=1e-6)
    np.testing.assert_array_equal(variable[11], table[1])
    np.testing.assert_array_equal(variable[:9], table[:9])


def test_hashes_without_shared_rows_are_refused():
    with pytest.raises(ConfigError, match="give it with `hash_rows`"):
        Categorical("c", hashes=2)
    with pytest.raises(ConfigError, match="hash_rows"):
        Categorical("c", hash_rows=0)
