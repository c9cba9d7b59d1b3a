"""Encoded batches of training and validation: rows of a log with histories and negatives."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from tfrecall._keras import tf, without_autograph
from tfrecall.core.parts import WHOLE, Part
from tfrecall.core.progress import ProgressReporter
from tfrecall.data.batches import all_rows, gathered, parts_of, row_batches, untuned
from tfrecall.data.interactions import Interactions
from tfrecall.data.sequences import Batch, Events, Sequences
from tfrecall.data.targets import choose_targets
from tfrecall.errors import ConfigError
from tfrecall.models.point_in_time import encoded_rows, with_unordered
from tfrecall.models.ranker import Ranker
from tfrecall.models.two_tower import TwoTower
from tfrecall.models.unordered import UnorderedHistories
from tfrecall.schema.targets import HistoriesConfig
from tfrecall.training.inputs.lists import ListwiseBatches
from tfrecall.training.inputs.negatives import training_negatives, validation_negatives

# A ranker learns from every row, also from those of users without a history.
_EVERY_ROW = HistoriesConfig(form="windows", minimum_history=0)


class TrainingExamples:
    """Training batches of a log: encoded, shuffled anew in each epoch.

    All rows are encoded once. For tasks with negatives of each target, these are drawn here (`negatives`
    of a batch). The history of each target is taken from the log itself. A ranker learns from every row,
    with a history or without; for a task that orders lists, a batch holds whole lists.

    Args:
        model: an adapted model.
        data: the training log.
        batch_size: number of targets a batch, approximate with whole sequences or lists.
        histories: rules by which events become targets, and the form they come in.
        new: bool `[n_rows]`, the events that may be targets, of a warm start; None for all. For retrievers.
        seed: seed of the shuffling. The order of an epoch follows from the seed and the epoch's number.
        progress: receives the progress of mining a release's lists.

    Attributes:
        notes: messages on rows that are left out.

    Raises:
        DataError: if there is no target, or a target has nothing to draw negatives from.
        ConfigError: if the negatives cannot be drawn from this log.

    Example:

    >>> import tfrecall as tr
    >>> log = tr.data.synthetic(n_users=6, n_items=5, n_rows=40, seed=1)
    >>> schema = tr.Schema(query=[tr.Categorical("user_id", 4)], candidate=[tr.Categorical("item_id", 4)])
    >>> model = tr.TwoTower(schema, layer_sizes=[])
    >>> model.adapt(log)
    >>> examples = tr.TrainingExamples(model, log, batch_size=16)
    >>> [len(batch["candidate_index"]) for batch in examples.batches()]
    [16, 16, 8]
    """

    def __init__(
        self,
        model: TwoTower | Ranker,
        data: Interactions,
        batch_size: int = 2048,
        *,
        histories: HistoriesConfig = HistoriesConfig(),  # noqa: B008 - frozen
        new: np.ndarray | None = None,
        seed: int = 42,
        progress: ProgressReporter | None = None,
    ) -> None:
        self.model = model
        self.batch_size = batch_size
        self.seed = seed
        self.notes: tuple[str, ...] = ()
        # Rows of the log that are targets, where no rule on histories chooses them.
        self._rows = np.arange(len(data)) if new is None else np.flatnonzero(new)
        self._has_all = new is None
        if isinstance(model, Ranker):
            histories = _EVERY_ROW
        self._whole = histories.form == "sequences"
        self._sequences: Sequences | None = None
        if model.schema.past:
            self._sequences = self._with_targets(data, histories, new)
        self._unordered = UnorderedHistories(model, data, data) if model.schema.bags else None
        self._lists = ListwiseBatches.of(model, data)
        self._columns = all_rows(data, model.encode_training_rows, model.log_forms)
        rows = self._rows if self._sequences is None else self._sequences.rows
        self._negatives = training_negatives(model, data, rows, self._query_vectors, progress)
        if self._negatives is not None:
            self.notes += self._negatives.notes

    def __len__(self) -> int:
        """Targets of an epoch."""
        return len(self._rows) if self._sequences is None else len(self._sequences)

    @property
    def candidates(self) -> np.ndarray:
        """The `candidate_index` of each target: int32 `[n]`."""
        rows = self._rows if self._sequences is None else self._sequences.rows
        return self._columns["candidate_index"].numpy()[rows]

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        if self._lists is not None:
            return self._lists.steps(self.batch_size)
        return -(-len(self) // self.batch_size)

    def batches(self, first_epoch: int = 0, part: Part = WHOLE) -> tf.data.Dataset:
        """Dataset of one epoch; each reading gives the next one, from `first_epoch` on.

        Args:
            first_epoch: number of the epoch that is read first.
            part: the part of each batch that a replica learns from, of a retriever. Parts of whole sequences
                have about as many sequences. A batch with fewer rows than parts leaves some of them empty.
        """
        parts = (self._sequences, self._negatives, self._unordered, self._lists)
        if all(part is None for part in parts):
            columns = self._columns if self._has_all else gathered(self._columns, self._rows)
            return row_batches(columns, len(self), self.batch_size, (self.seed, first_epoch), part)
        batches = self._made_batches(first_epoch, part).map(self._joined)
        # A generator has no length; the schedule and Keras' progress bar need one.
        sized = batches.apply(tf.data.experimental.assert_cardinality(self.steps))
        return sized.prefetch(2).with_options(untuned())

    def _with_targets(
        self, data: Interactions, histories: HistoriesConfig, new: np.ndarray | None
    ) -> Sequences:
        specs, index = self.model.schema.past, self.model.history_index(data)
        targets = choose_targets(data, **histories.rules, seed=self.seed, new=new)
        self.notes = targets.notes
        per_row, context = self._row_of_sequence(data, histories)
        codes = self.model.history_codes(data)
        lists = {
            name: (Events.build(data, spec, index, codes), spec.history_length)
            for name, spec in specs.items()
        }
        return Sequences(
            data, targets.rows, lists, context, per_row, histories.baskets, histories.by_length
        )

    def _row_of_sequence(self, data: Interactions, histories: HistoriesConfig) -> tuple[int, int]:
        """Targets of one sequence, and events before the first of them.

        As the settings say, unless an encoder with learned positions (attention) has fewer than a sequence of
        this log would have events.
        """
        # A sequence with more targets than a batch could be in no batch.
        per_row = min(histories.targets_per_row, self.batch_size)
        context = histories.context or max(s.history_length for s in self.model.schema.past.values())
        layers = self.model.query_tower.histories
        positions = min(
            (getattr(layer.encoder, "max_length", np.inf) for layer in layers), default=np.inf
        )
        # The last event of a user is nobody's context.
        longest = int(np.diff(data.histories.offsets).max(initial=1)) - 1
        if not self._whole or min(longest, context + per_row - 1) <= positions:
            return per_row, context
        if histories.context is None:
            per_row = min(per_row, int(positions))
            context = int(positions) - per_row + 1
        elif context > positions:
            raise ConfigError(
                f"Sequences with {context} events before their first target need more positions than the "
                f"{positions} of the encoder. Lower `histories.context`, to 1 with attention, or raise "
                "`max_length` of `Attention` or the `history_length` of the feature."
            )
        per_row = min(per_row, int(positions) - context + 1)
        self.notes += (
            f"Self-attention has {positions} positions, and users have up to {longest + 1:,} events: sequences "
            f"are cut to {per_row} targets, with {context} events before the first.",
        )
        return per_row, context

    @without_autograph
    def _joined(self, batch: dict[str, Any]) -> dict[str, Any]:
        encoded = gathered(self._columns, batch["rows"])
        if self._sequences is not None:
            encoded = self.model.with_histories(encoded, batch["lists"])
        if self._unordered is not None:
            encoded = self._unordered.attach(encoded, batch["rows"])
        if self._negatives is not None:
            encoded["negatives"] = batch["negatives"]
        return encoded

    def _made_batches(self, first_epoch: int, part: Part) -> tf.data.Dataset:
        """Rows of the log with the histories and the negatives of each batch."""
        # Keras reads the dataset once an epoch, and each reading takes the next number, with its own
        # draws. So a training resumed after epoch n has the batches that it would have had.
        epochs = itertools.count(first_epoch)

        def batches() -> Iterator[dict[str, Any]]:
            epoch = next(epochs)
            draw = self._negatives.epoch(epoch, part) if self._negatives else None
            for batch in self._targets(np.random.default_rng((self.seed, epoch)), part):
                negatives = {"negatives": draw(batch["rows"])} if draw else {}
                yield {**batch, **negatives}

        return tf.data.Dataset.from_generator(batches, output_signature=self._signature())

    def _targets(self, generator: np.random.Generator, part: Part) -> Iterator[dict[str, Any]]:
        """Rows of the log of each batch of an epoch, with their histories."""
        if self._lists is not None:
            yield from map(self._of_rows, self._lists.epoch(self.batch_size, generator))
            return
        if self._sequences is not None:
            sequences = self._sequences.epoch(self.batch_size, generator, self._whole, part)
            yield from map(_tensors, sequences)
            return
        order = generator.permutation(self._rows)
        for start in range(0, len(order), self.batch_size):
            yield {"rows": part.of(order[start : start + self.batch_size])}

    def _of_rows(self, rows: np.ndarray) -> dict[str, Any]:
        """Adds histories to rows of the log of a ranker, for which every row is a target."""
        if self._sequences is None:
            return {"rows": rows}
        # From rows of the log to places among the targets; every row is one, so all cells get filled.
        places = np.empty(len(self._sequences), np.int64)
        places[self._sequences.rows] = np.arange(len(places))
        return _tensors(self._sequences.windows_of(places[rows]))

    def _signature(self) -> dict[str, Any]:
        signature: dict[str, Any] = {"rows": tf.TensorSpec([None], tf.int64)}
        if self._sequences is not None:
            lists = self._sequences.lists.items()
            signature["lists"] = {name: self._list_signature(events) for name, (events, _) in lists}
        if self._negatives is not None:
            signature["negatives"] = tf.TensorSpec([None, self._negatives.count], tf.int32)
        return signature

    def _query_vectors(self, places: np.ndarray) -> np.ndarray:
        """Vectors of the queries of some targets, by the present weights of the model."""
        if self._sequences is None:
            encoded = gathered(self._columns, self._rows[places])
        else:
            lists = _tensors(self._sequences.windows_of(places))["lists"]
            encoded = gathered(self._columns, self._sequences.rows[places])
            encoded = self.model.with_histories(encoded, lists)
        if self._unordered is not None:
            rows = (self._rows if self._sequences is None else self._sequences.rows)[places]
            encoded = self._unordered.attach(encoded, tf.constant(rows))
        return self.model.query_tower(encoded["query"], training=False).numpy()

    def _list_signature(self, events: Events) -> dict[str, Any]:
        cells = tf.TensorSpec([None, None], tf.int32)
        signature: dict[str, Any] = {"items": cells}
        if events.context:
            signature["context"] = {name: cells for name in events.context}
        if events.asked is not None:
            signature["asked"] = tf.TensorSpec([None], tf.int32)
        if self._whole:
            signature["positions"] = tf.TensorSpec([None], tf.int64)
        return signature


def validation_examples(
    model: TwoTower | Ranker,
    rows: Interactions,
    seen: Interactions,
    batch_size: int = 4096,
    part: Part = WHOLE,
) -> tf.data.Dataset:
    """Validation batches: encoded rows in their order, each query as it is served.

    Args:
        model: an adapted model. For a ranker whose task orders lists, batches hold whole lists instead.
        rows: the validation rows.
        seen: the log before them, from which histories are taken; none of the rows may be in it.
        batch_size: rows a batch.
        part: the part of each batch that a replica measures.

    Raises:
        DataError: if the model has histories and a row is in `seen`.

    Example:

    >>> import tfrecall as tr
    >>> train, validation = tr.data.split_random(tr.data.synthetic(6, 5, 40, seed=1), 0.25, seed=1)
    >>> schema = tr.Schema(query=[tr.Categorical("user_id", 4)], candidate=[tr.Categorical("item_id", 4)])
    >>> model = tr.TwoTower(schema, layer_sizes=[])
    >>> model.adapt(train)
    >>> [len(b["candidate_index"]) for b in tr.validation_examples(model, validation, train, batch_size=6)]
    [6, 4]
    """
    columns = encoded_rows(model, rows, seen, model.log_forms)
    columns.update(validation_negatives(model, rows, seen))
    lists = ListwiseBatches.of(model, rows)
    if lists is None:
        batches = row_batches(columns, len(rows), batch_size, None)
    else:
        batches = lists.batches(columns, batch_size)
    return parts_of(with_unordered(model, batches, rows, seen), part)


def _tensors(batch: Batch) -> dict[str, Any]:
    lists: dict[str, Any] = {name: {"items": items} for name, items in batch.items.items()}
    for name, positions in batch.positions.items():
        lists[name]["positions"] = positions
    for name, context in batch.context.items():
        lists[name]["context"] = context
    for name, asked in batch.asked.items():
        lists[name]["asked"] = asked
    return {"rows": batch.rows, "lists": lists}
