"""Fingerprints of tables: equal content has an equal fingerprint on every machine."""

import hashlib

import numpy as np
import polars as pl

# Rows hashed at a time, to bound the memory. Part of the definition: each slice hashes its lengths before its
# text.
SLICE_ROWS = 1_000_000


def fingerprint(*tables: pl.DataFrame) -> str:
    """SHA-256 over the tables' column names, types and values in hexadecimal.

    The order of rows and columns counts; Polars' chunks, the process and the machine's byte order do not.
    """
    digest = hashlib.sha256()
    for table in tables:
        digest.update(f"table {table.height} {table.width}\n".encode())
        for column in table.get_columns():
            digest.update(f"column {column.name!r} {column.dtype}\n".encode())
            for start in range(0, len(column), SLICE_ROWS):
                _update(digest, column.slice(start, SLICE_ROWS))
    return digest.hexdigest()


def _update(digest: "hashlib._Hash", values: pl.Series) -> None:
    """Hashes one slice: the mask of nulls, then the values."""
    null = values.is_null()
    digest.update(b"nulls" if null.any() else b"whole")
    if null.any():
        digest.update(np.packbits(null.to_numpy()).tobytes())
        values = values.drop_nulls()
    if isinstance(values.dtype, pl.List | pl.Array):
        lists = values.cast(pl.List(values.dtype.inner))
        # Lengths first: without them [[1], [2, 3]] and [[1, 2], [3]] would be equal.
        _update_numbers(digest, lists.list.len())
        # Empty lists are left out, because `explode` would make a null of each.
        _update(digest, lists.filter(lists.list.len() > 0).explode())
    elif isinstance(values.dtype, pl.Struct):
        for field in values.struct.fields:
            _update(digest, values.struct.field(field))
    # NumPy has no integers of 128 bits: like decimals they are hashed as text.
    elif values.dtype.is_numeric() and not values.dtype.is_decimal() and values.dtype != pl.Int128:
        _update_numbers(digest, values)
    elif values.dtype.is_temporal():
        _update_numbers(digest, values.to_physical())
    else:
        text = values.bin.encode("hex") if values.dtype == pl.Binary else values.cast(pl.String)
        # Lengths first: without them "ab", "c" and "a", "bc" would be equal.
        _update_numbers(digest, text.str.len_bytes())
        digest.update((text.str.join("").item() if len(text) else "").encode())


def _update_numbers(digest: "hashlib._Hash", values: pl.Series) -> None:
    array = values.to_numpy()
    digest.update(np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"))).tobytes())
