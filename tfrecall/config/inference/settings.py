"""Model, loss and training settings for a log of given statistics."""

from dataclasses import dataclass, replace
from typing import Any

from tfrecall.data.inspection.advice import best_split
from tfrecall.data.inspection.description import Description
from tfrecall.data.repeat_consumption import MOSTLY_REPEATED

# Mean events of a user below which an id of its own is learned by heart beside the items before.
FEW_EVENTS = 20


@dataclass(frozen=True)
class Facts:
    """Statistics that the settings depend on.

    Attributes:
        rows, users, items: size of the log; items without events count.
        repeated_share: share of events whose user had the same item before.
        single_event_share: share of users with one event.
        has_validation: whether the split leaves validation rows.
        split: method of the split.
        in_baskets: whether most events are items of a basket.
        mean_events: mean events of a user.
        follows_order: whether the items before tell of the next one, of users who come back.
    """

    rows: int
    users: int
    items: int
    repeated_share: float
    single_event_share: float
    has_validation: bool
    split: str
    in_baskets: bool = False
    mean_events: float = 0.0
    follows_order: bool = False

    @property
    def is_short_and_ordered(self) -> bool:
        """Whether users have few events, whose order tells of the next item."""
        return self.follows_order and self.mean_events < FEW_EVENTS


@dataclass(frozen=True)
class Choice:
    """Sections of a configuration.

    Attributes:
        embedding_dim: length of the embeddings of ids and other categories.
        model, task, training: the sections.
        why: the reason for the number of epochs, in words.
    """

    embedding_dim: int
    model: dict[str, Any]
    task: dict[str, Any]
    training: dict[str, Any]
    why: str


def facts_of(description: Description, items: int, has_validation: bool) -> Facts:
    """The facts of a log; `items` counts the items of log and item table together."""
    return Facts(
        rows=description.usable_rows,
        users=description.users,
        items=items,
        repeated_share=description.repeated_share,
        single_event_share=description.single_event_share,
        has_validation=has_validation,
        split=best_split(description),
        in_baskets=description.in_baskets,
        mean_events=description.history_lengths["mean"],
        follows_order=description.has_order and not description.short_lived,
    )


def choose_training(facts: Facts) -> Choice:
    """Choose first settings for a log.

    Embeddings are summed without dense layers: on generated logs of 40,000 to 120,000 events (sparse,
    dense, sequential, repeated) two dense layers fell back to popularity where sums learned users' tastes.
    Adagrad at .1: its validation curves rose at once, where Adam's stayed at popularity's level for
    epochs and stopped early. With more data and features `model.layer_sizes` is worth a try.

    Where users have few events in order, twice the length and dropout: on Amazon Toys (9 events a user) sums of
    64 numbers stay below counted transitions, which 128 with dropout of the queries pass.
    """
    # Larger logs get larger batches: more in-batch negatives, and epochs of some hundred steps. Small logs
    # would have too few steps an epoch.
    batch_size = _first_at_least(facts.rows, {50_000: 256, 200_000: 1024, 2_000_000: 2048}, 4096)
    training: dict[str, Any] = {
        "optimizer": "adagrad",
        # Baskets repeat: what is left to learn, items new to a user, is learned by heart after one epoch
        # of larger steps, and less popular items come first.
        "learning_rate": 0.03 if facts.in_baskets else 0.1,
        "batch_size": batch_size,
        "epochs": 30 if facts.has_validation else 10,
        "monitor": _monitor(facts),
        "patience": 4,
        "refit": facts.has_validation,
    }
    why = "The number of epochs is found on the validation rows; then all known rows are learned from."
    if not facts.has_validation:
        why = "There are too few events of a user for validation rows: a few epochs, without stopping."
    # Of queries alone: dropped values of candidates cost as much as they give.
    short = facts.is_short_and_ordered
    regularization = {"dropout": 0.5, "candidate_dropout": 0.0} if short else {}
    return Choice(
        embedding_dim=128 if short else 64,
        model={
            "layer_sizes": [],
            "combine": "sum",
            **regularization,
            "repeats": facts.repeated_share >= MOSTLY_REPEATED and facts.has_validation,
        },
        task={"type": "in_batch"},
        training=training,
        why=why,
    )


def choose_attention(facts: Facts) -> Choice:
    """Choose first settings of attention over histories: full softmax with Adam, as its published forms train.

    In-batch softmax with Adagrad, which serves sums, hardly moves the blocks.
    """
    plain = choose_training(replace(facts, follows_order=False))
    settings = {"optimizer": "adam", "learning_rate": 0.002, "batch_size": 2048}
    return replace(
        plain,
        # Keras' own initial embeddings are so short that the first epoch learns popularity alone.
        model={**plain.model, "embedding_stddev": 0.08},
        task={"type": "full_softmax"},
        training={**plain.training, **settings, "monitor": _monitor(facts)},
    )


def _monitor(facts: Facts) -> str:
    """Hits of a long list, or where the next item is to stand first of a short one."""
    k = monitored_k(facts.items)
    # On Amazon Toys hits among a hundred are most after epoch 6, NDCG of ten after epoch 9, at .004 fewer hits.
    return "ndcg@10" if facts.is_short_and_ordered and k >= 10 else f"hit_rate@{k}"


def monitored_k(items: int) -> int:
    """Choose a list length at which hits are neither certain nor rare.

    >>> monitored_k(50_000), monitored_k(300), monitored_k(8)
    (100, 10, 1)
    """
    return next((k for k in (100, 50, 10, 5) if items >= 10 * k), 1)


def _first_at_least(value: int, steps: dict[int, int], last: int) -> int:
    return next((result for limit, result in steps.items() if value < limit), last)
