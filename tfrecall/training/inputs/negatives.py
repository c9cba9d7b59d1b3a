"""Sampled negatives of training and validation: drawn for each target, in each epoch or once."""

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from tfrecall._keras import tf
from tfrecall.core.parts import WHOLE, Part
from tfrecall.core.progress import ProgressReporter
from tfrecall.core.vocabulary import FIRST
from tfrecall.data.interactions import Interactions
from tfrecall.data.negatives import NegativeSampler, WeightedNegatives, make_sampler
from tfrecall.models.two_tower import TwoTower
from tfrecall.release import load
from tfrecall.schema.negatives import Hard, HeadTail, Popularity, Source, Uniform
from tfrecall.tasks.pairwise import PairTask
from tfrecall.training.inputs.mining import HardNegativeMiner, ReleasedItems

# Negatives that AUC is measured against: equal for all tasks and epochs, so values can be compared.
AUC_NEGATIVES = Uniform(20, seed=0)
# A stream of its own next to seed and epoch: draws must not depend on the shuffling of the rows.
_STREAM = 1

# Rows of the log to the `candidate_index` of their negatives: int32 `[n, per_positive]`, 0 for none.
Draw = Callable[[np.ndarray], np.ndarray]


class EpochNegatives:
    """Negatives of the targets of a training.

    Args:
        spec: their source.
        sampler: draws them.
        rows: int `[n]`, the targets as rows of the log.
        index: int32 `[n_items + 1]`, the `candidate_index` of each item row, 0 at the end.

    Attributes:
        count: number of negatives a target.
        notes: messages on targets without negatives.

    Raises:
        DataError: if a target has nothing to draw.
    """

    def __init__(
        self,
        spec: Source,
        sampler: NegativeSampler | HardNegativeMiner,
        rows: np.ndarray,
        index: np.ndarray,
    ) -> None:
        self.count = spec.per_positive  # type: ignore[union-attr]
        self._seed = spec.seed  # type: ignore[union-attr]
        self.notes: tuple[str, ...] = getattr(sampler, "notes", ())
        self._sampler = sampler
        self._index = index
        self._fixed: np.ndarray | None = None
        if isinstance(sampler, HardNegativeMiner):
            return
        sampler.check(rows)
        if not getattr(spec, "resample", True):
            drawn = sampler.draw(rows, self._random(0))
            # Indexed by rows of the log; rows that are no targets keep -1.
            self._fixed = np.full((int(rows.max(initial=-1)) + 1, self.count), -1, np.int32)
            self._fixed[rows] = drawn

    def epoch(self, number: int, part: Part = WHOLE) -> Draw:
        """Draws of an epoch, called batch by batch; they follow from the seed and the epoch's number.

        Each part of the batches has draws of its own.
        """
        random = self._random(number, part)
        if isinstance(self._sampler, HardNegativeMiner):
            mined = self._sampler.mine(random)
            return lambda rows: self._index[mined[rows]]
        if (fixed := self._fixed) is not None:
            return lambda rows: self._index[fixed[rows]]
        sampler = self._sampler
        return lambda rows: self._index[sampler.draw(rows, random)]

    def _random(self, epoch: int, part: Part = WHOLE) -> np.random.Generator:
        own = () if part.count == 1 else (part.index,)
        return np.random.default_rng((self._seed, epoch, _STREAM, *own))


def training_negatives(
    model: TwoTower,
    data: Interactions,
    rows: np.ndarray,
    embed: Callable[[np.ndarray], np.ndarray],
    progress: ProgressReporter | None = None,
) -> EpochNegatives | None:
    """Sampler of the negatives that a model's task needs with its batches; None if it needs none.

    Args:
        model: an adapted model.
        data: the training log.
        rows: int `[n]`, the targets as rows of the log.
        embed: the vectors of the queries of some of the targets, given by their places in `rows`.
        progress: receives the progress of mining a release's lists.

    Raises:
        ConfigError, DataError: if the source cannot draw from this log.
        ReleaseError: if they come from a release that cannot be opened.
    """
    task = model.task
    if not isinstance(task, PairTask) or not task.is_drawn:
        return None
    spec = task.negatives
    sampler: NegativeSampler | HardNegativeMiner
    if isinstance(spec, Hard) and spec.release is not None:
        sampler = ReleasedItems(data, spec, rows, load(spec.release), progress)
    elif isinstance(spec, Hard):
        sampler = _miner(model, data, rows, embed, spec)
    else:
        sampler = make_sampler(data, spec)  # type: ignore[arg-type]
    return EpochNegatives(spec, sampler, rows, _index(model, data))


def _miner(
    model: TwoTower,
    data: Interactions,
    rows: np.ndarray,
    embed: Callable[[np.ndarray], np.ndarray],
    spec: Hard,
) -> HardNegativeMiner:
    # Rows of the model's catalogue, in the order of the log's item table, whose rows the miner gives. An item
    # that the model does not know has none, and no vector: it is never found.
    places = _index(model, data)[:-1] - FIRST
    known = places >= 0

    def vectors() -> np.ndarray:
        found = model.embed_candidates()[np.maximum(places, 0)]
        found[~known] = np.nan
        return found

    # Context or a history makes the vectors of a user's targets differ.
    per_user = set(model.query_tower.forms) <= set(data.users.columns)
    return HardNegativeMiner(data, spec, rows, embed, vectors, per_user)


def validation_negatives(
    model: TwoTower, rows: Interactions, seen: Interactions
) -> dict[str, np.ndarray]:
    """Negatives of validation rows, the same in each epoch: int32 `[n, count]`, 0 for none.

    Items of the user, before or in these rows, are never among them.

    Returns:
        `auc_negatives`, uniform, for AUC; and `negatives`, for the loss, by the source of the task where
        that needs neither a column nor a search, else uniform. Nothing for a task without pairs.
    """
    task = model.task
    if not isinstance(task, PairTask):
        return {}
    wanted: dict[str, Any] = {"auc_negatives": AUC_NEGATIVES}
    if task.is_drawn:
        spec = task.negatives
        weighted = isinstance(spec, Uniform | Popularity | HeadTail)
        wanted["negatives"] = spec if weighted else Uniform(spec.per_positive)  # type: ignore[union-attr]
    both = _together(seen, rows)
    # Validation rows come last in the joint log, which makes the items of both known to the sampler.
    targets, index = np.arange(len(seen), len(both)), _index(model, both)
    return {name: index[_drawn(both, spec, targets)] for name, spec in wanted.items()}


def _drawn(log: Interactions, spec: Any, rows: np.ndarray) -> np.ndarray:
    """Item rows, -1 for rows whose user has everything."""
    sampler = WeightedNegatives(log, spec)
    drawn = np.full((len(rows), spec.per_positive), -1, np.int32)
    can = sampler.can_draw(rows)
    drawn[can] = sampler.draw(rows[can], np.random.default_rng((spec.seed, 0, _STREAM)))
    return drawn


def _together(seen: Interactions, rows: Interactions) -> Interactions:
    columns = ["user_id", "item_id", "timestamp"]
    log = pl.concat([seen.log.select(columns), rows.log.select(columns)])
    if rows.users is seen.users and rows.items is seen.items:
        return seen.with_log(log)
    return Interactions.from_frame(log, users=seen.users, items=seen.items, missing_items="add")


def _index(model: TwoTower, data: Interactions) -> np.ndarray:
    """The `candidate_index` of each item row, and 0 for the row -1."""
    # Candidate index by row of the log's item table: row + 2 where the model was adapted to this
    # table, 1 for items it does not know. NumPy reads row -1 as the last, which is 0: no negative.
    found = model.catalogue.index(tf.constant(data.item_vocabulary.ids.tolist())).numpy()
    return np.append(found, 0).astype(np.int32)
