"""Estimate of the memory that a run needs, before it starts."""

from dataclasses import dataclass

import polars as pl

from tfrecall.config.models import BayesianRankerConfig
from tfrecall.config.run import RunConfig
from tfrecall.core.memory import available_bytes, gigabytes
from tfrecall.core.progress import LogProgress, ProgressReporter
from tfrecall.data.interactions import Interactions
from tfrecall.errors import DataError
from tfrecall.schema.features import Categorical, Feature, History, MultiCategorical, Text

# Copies of an embedding table by optimizer: the weights and its slots (Adam: first and second moment).
SLOTS = {"adam": 3, "adagrad": 2, "sgd": 1}
# Temporary copies of an embedding table: the decayed slot of a step, the best weights, the second fit.
PASSING = 2
# Copies of the vectors of the catalogue: in the model, in evaluation, in the index.
VECTOR_COPIES = 3
# An id as a Python string, in TensorFlow's lookup tables and in the index. Calibrated with 200,000 items:
# measured 2.8 kB an item in all, estimated 2.4.
BYTES_PER_ID = 400
# Such an id has about so many bytes. Each further byte is held by all that hold ids.
SHORT_ID_BYTES, ID_COPIES = 8, 9
# Words and list values are int64. Copies: the encoded rows, and twice that while they are assembled.
BYTES_PER_TOKEN, TOKEN_COPIES = 8, 3
# Smallest need that is reported.
NOTABLE = 2 * 2**30


@dataclass(frozen=True)
class Need:
    """One part of the memory that a run takes.

    Attributes:
        what: description of the part.
        least: lower bound in bytes.
        likely: estimated peak in bytes.
        advice: settings that reduce it.
    """

    what: str
    least: int
    likely: int
    advice: str


def needs(config: RunConfig, data: Interactions) -> list[Need]:
    """Estimate the parts that grow with the data: embeddings, vectors, words and lists; largest first.

    None for a baseline, which knows its own need (`HistoryModel.check`).
    """
    if config.counts:
        return []
    parts = [] if config.ranks else [_vectors(config, data)]
    for side, table in (("query", data.users), ("candidate", data.items)):
        for feature in getattr(config.schema, side):
            if isinstance(feature, History):  # a shared table is counted at its own feature
                own = feature.of.column == "item_id" and not feature.table
                parts += _embeddings(feature.of, data, data.items["item_id"], config) if own else []
            # Only the ids: other categorical features have few values in comparison.
            elif feature.column == f"{'user' if side == 'query' else 'item'}_id":
                parts += _embeddings(feature, data, table[feature.column], config)
            elif isinstance(feature, Text | MultiCategorical):
                rows = len(data) if side == "query" else table.height
                where = table if feature.column in table.columns else data.log
                parts += _tokens(feature, where[feature.column], rows)
    return sorted(parts, key=lambda need: need.likely, reverse=True)


def check_memory(
    config: RunConfig,
    data: Interactions,
    progress: ProgressReporter | None = None,
    available: int | None = None,
) -> None:
    """Note the memory that a large run needs, and refuse a run that cannot fit.

    Args:
        config: the run.
        data: the filtered log with its users and items.
        progress: receives a note if the need is large or may not fit.
        available: free bytes; None measures this machine. Without a measurement nothing is refused.

    Raises:
        DataError: if the lower bound exceeds the free memory.
    """
    progress, parts = progress or LogProgress(), needs(config, data)
    least, likely = sum(one.least for one in parts), sum(one.likely for one in parts)
    available = available_bytes() if available is None else available
    listed = ", ".join(f"{one.what} {gigabytes(one.likely)}" for one in parts[:3])
    free = "" if available is None else f"; {gigabytes(available)} are free"
    if available is not None and least > available:
        raise DataError(
            f"This run takes at least {gigabytes(least)} of memory, and {gigabytes(available)} are free. "
            f"It would take about {gigabytes(likely)} ({listed}). {parts[0].advice}"
        )
    if available is not None and likely > available:
        progress.warning(
            f"This run may not fit: it takes about {gigabytes(likely)} of memory ({listed}){free}. "
            f"{parts[0].advice}"
        )
    elif likely > NOTABLE:
        progress.note(f"This run takes about {gigabytes(likely)} of memory ({listed}){free}.")


def _embeddings(feature: Feature, data: Interactions, ids: pl.Series, config: RunConfig) -> list[Need]:
    if not isinstance(feature, Categorical):
        return []
    kept = len(ids)
    if feature.min_count is not None:
        counts = data.log[feature.column].value_counts(name="count")["count"]
        kept = int((counts >= feature.min_count).sum())
    kept = min(kept, feature.max_tokens or kept) + (feature.hash_rows or 0)
    table = kept * feature.embedding_dim * 4  # float32
    slots = SLOTS.get(config.training.optimizer, 3)
    if isinstance(config.model, BayesianRankerConfig):
        # All draws side by side, each with its bias, and once more outside the model while it is fitted.
        table, slots = kept * (feature.embedding_dim + 1) * config.model.draws * 4, 2
    word = feature.column.removesuffix("_id")
    advice = (
        f"Leave out rare ones (filters.min_{word}_interactions), shorten their vectors (embedding_dim of "
        f"{feature.column}), or keep the most frequent (its max_tokens, hash_rows for the others)."
    )
    # Ids beyond `max_tokens` get no row, but are still strings in memory.
    lengths = ids.str.len_bytes()
    beyond = max(0, int(lengths.sum()) - SHORT_ID_BYTES * len(ids))
    names = len(ids) * BYTES_PER_ID + beyond * ID_COPIES
    what = f"embeddings of {kept:,} {word}s"
    if names > 2 * len(ids) * BYTES_PER_ID:
        what += f" with ids of up to {_largest(lengths):,} bytes"
        advice = f"Replace the ids of {word}s by shorter ones, such as numbers. {advice}"
    return [Need(what, table * slots + names // 2, table * (slots + PASSING) + names, advice)]


def _vectors(config: RunConfig, data: Interactions) -> Need:
    dims = [
        int(getattr(feature, "embedding_dim", None) or getattr(feature, "length", None) or 1)
        for feature in config.schema.candidate
    ]
    length = config.model.layer_sizes[-1] if config.model.layer_sizes else max(dims)
    size = length * 4 * data.items.height
    advice = (
        "Leave out rare items (filters.min_item_interactions), or shorten the vectors (the last of "
        "model.layer_sizes)."
    )
    what = f"vectors of {data.items.height:,} items"
    return Need(what, size, size * VECTOR_COPIES, advice)


def _tokens(feature: Text | MultiCategorical, column: pl.Series, rows: int) -> list[Need]:
    """Needs of texts and lists: each row is padded to the length of the longest."""
    values = column.drop_nulls()
    if not len(values):
        return []
    if isinstance(feature, Text):
        texts = values.cast(pl.String)
        width = _largest(texts.str.count_matches(r"\S+"))
        what = f'texts "{feature.column}" of up to {width:,} words, {_largest(texts.str.len_bytes()):,} bytes:'
    elif isinstance(column.dtype, pl.List):
        width = _largest(values.list.len())
        what = f'lists "{feature.column}" of up to {width:,} values:'
    else:
        return []
    size = rows * width * BYTES_PER_TOKEN
    advice = (
        f'Take "{feature.column}" out of the schema, or shorten it: each of {rows:,} rows takes the '
        f"{width:,} places of the longest."
    )
    return [Need(what, size, TOKEN_COPIES * size + int(column.estimated_size()), advice)]


def _largest(counts: pl.Series) -> int:
    return int(counts.to_numpy().max())
