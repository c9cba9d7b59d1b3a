"""Bytes of tensors: what is written is read back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrecall.errors import DataError
from tfrecall.serving.protocols.contents import DATATYPES, datatype, from_flat, from_raw, to_raw

TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=6)


@given(TEXTS)
def test_texts_come_back(texts):
    values = np.array([*texts, ""], object)[:-1]
    raw = to_raw(values)
    assert len(raw) == sum(4 + len(text.encode()) for text in texts)
    assert from_raw("it", "BYTES", values.shape, raw).tolist() == texts


@pytest.mark.parametrize("kind", [kind for kind in DATATYPES if kind != "BYTES"])
def test_numbers_come_back(kind):
    values = np.array([[0, 1], [1, 0]], DATATYPES[kind])
    assert datatype(values) == kind
    assert len(to_raw(values)) == 4 * values.itemsize
    again = from_raw("it", kind, [2, 2], to_raw(values))
    assert (again.dtype, again.tolist()) == (values.dtype, values.tolist())
    assert from_flat("it", kind, [2, 2], values.ravel().tolist()).tolist() == values.tolist()


@given(st.sampled_from([*DATATYPES, "TEXT"]), st.binary(max_size=20), st.lists(st.integers(-1, 3)))
def test_any_bytes_are_read_or_refused(kind, raw, shape):
    """Refusal is ours, and nothing is made up: the shape is the one that was told."""
    try:
        values = from_raw("it", kind, shape, raw)
    except DataError:
        return
    assert list(values.shape) == shape
    if kind == "BYTES":
        assert to_raw(values) == raw
