"""Entrants of a tournament for a log: configurations that what is known of the log invites, and why."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tfrecall.config.inference.proposal import Proposal
from tfrecall.config.recipes import config_from_dict
from tfrecall.config.run import RunConfig
from tfrecall.data.inspection.advice import percent
from tfrecall.data.inspection.description import Description
from tfrecall.data.repeat_consumption import MOSTLY_REPEATED
from tfrecall.errors import ConfigError

# Days of recent popularity that are tried, where the log lasts several times as long.
WINDOWS = (7, 30, 90)
SEVERAL = 3
# What EASE adds to the diagonal: little for few events, more for many.
L2 = (100.0, 1000.0)
# Operations a second of a matrix inverse on two cores, and the share of the budget that it may take.
INVERSE_A_SECOND, SHARE_OF_EASE = 2e10, 0.2
# Sections that a baseline does without.
_OF_NETWORKS = ("task", "histories", "training", "index", "tune")


@dataclass(frozen=True)
class Entrant:
    """One configuration of a tournament, or the reason for one that is not invited.

    Attributes:
        name: name in tables.
        why: why it is invited, or why not.
        config: its configuration, all that a run needs; None for one that is not invited.
    """

    name: str
    why: str
    config: RunConfig | None = None


def entrants(
    proposal: Proposal, overrides: Sequence[str] = (), budget_seconds: float = 600.0
) -> list[Entrant]:
    """Invites to a tournament: baselines, which cost seconds, then what is proposed for the log and its rivals.

    All entrants have the data, split and evaluation of the proposal.

    Args:
        proposal: what is inferred from the log.
        overrides: settings that take precedence, as for `load_config`; those of networks are no settings of
            baselines.
        budget_seconds: seconds of the whole tournament; decides about entrants whose cost is known.

    Raises:
        ConfigError: if a setting is invalid.
    """
    own = proposal.config(list(overrides))
    first = Entrant(_name(proposal.way, own), _features(proposal), own)
    if own.ranks or own.counts:
        return [first]
    rivals = [_rival(way, rival, overrides) for way, rival in proposal.rivals.items()]
    return [*_counting(proposal.description, own, budget_seconds), first, *rivals]


def _rival(way: str, rival: Proposal | str, overrides: Sequence[str]) -> Entrant:
    if isinstance(rival, str):
        return Entrant(way, rival)
    try:
        config = rival.config(list(overrides))
    except ConfigError as error:  # settings that are meant for the features of the proposal
        return Entrant(way, f"it does not take the settings given: {error}")
    return Entrant(_name(way, config), _features(rival), config)


def _name(way: str, config: RunConfig) -> str:
    return f"{way}, repeats" if config.model.repeats else way


def _features(proposal: Proposal) -> str:
    """What a network knows of a user, in words."""
    return "; ".join(one.why for one in proposal.query if one.column in ("user_id", "history"))


def of_networks(overrides: Sequence[str]) -> list[str]:
    """The settings among some that baselines do without.

    >>> of_networks(["training.epochs=3", "data.separator=;", "model.layer_sizes=[64]"])
    ['training.epochs=3', 'model.layer_sizes=[64]']
    """
    sections = {*_OF_NETWORKS, "model", "schema"}
    return [one for one in overrides if one.partition("=")[0].partition(".")[0].strip() in sections]


def of_training(overrides: Sequence[str]) -> list[str]:
    """The settings among some that only a training has a use for.

    >>> of_training(["training.epochs=3", "index.kind=annoy"])
    ['training.epochs=3']
    """
    return [one for one in of_networks(overrides) if not one.strip().startswith("index.")]


def default_budget(rows: int) -> float:
    """Seconds of a tournament by the size of a log: a second for 500 events, from half a minute to ten.

    >>> default_budget(2_000), default_budget(100_000), default_budget(5_000_000)
    (30.0, 200.0, 600.0)
    """
    return float(min(max(rows / 500, 30.0), 600.0))


def _counting(log: Description, own: RunConfig, budget: float) -> Iterator[Entrant]:
    yield _baseline(own, "popularity", "what everybody takes: the measure of all others")
    yield from _recent(log, own)
    yield from _own_items(log, own)
    yield _baseline(own, "item_cf", "items that the same users had")
    yield from _ease(log, own, budget)
    yield _transitions(log, own)


def _recent(log: Description, own: RunConfig) -> Iterator[Entrant]:
    days = 0.0 if log.all_times_equal or log.time is None else log.time["days"]
    windows = [window for window in WINDOWS if window * SEVERAL <= days]
    if not windows:
        why = (
            "the log has no times" if not days else f"the log lasts {days:,.0f} days: nothing is recent"
        )
        yield Entrant("recent_popularity", why)
    for window in windows:
        why = f"what everybody took in the last {window} of {days:,.0f} days"
        yield _baseline(own, "recent_popularity", why, f"{window} days", window_days=float(window))


def _own_items(log: Description, own: RunConfig) -> Iterator[Entrant]:
    share = f"{percent(log.repeated_share)} of the events repeat an item"
    for name in ("own_most_frequent", "own_most_recent"):
        if log.repeated_share < MOSTLY_REPEATED or own.evaluation.seen == "removed":
            yield Entrant(name, f"{share}, and seen items are left out of lists")
        else:
            yield _baseline(own, name, share)


def _ease(log: Description, own: RunConfig, budget: float) -> Iterator[Entrant]:
    seconds = len(L2) * log.items**3 / INVERSE_A_SECOND
    if seconds > SHARE_OF_EASE * budget:
        yield Entrant(
            "ease",
            f"inverses of {log.items:,} x {log.items:,} items take about {seconds:,.0f} s, and the budget is "
            f"{budget:,.0f} s",
        )
        return
    for l2 in L2:
        yield _baseline(own, "ease", f"{log.items:,} items can be inverted", f"l2 {l2:.0f}", l2=l2)


def _transitions(log: Description, own: RunConfig) -> Entrant:
    name = "item_transitions"
    if log.in_baskets:
        return Entrant(name, "most events of a user share their time: no order within a basket")
    if log.sorted_by_item:
        return Entrant(name, "the file is sorted by item: its order is none of events")
    lift = f"users share successive items {log.order_lift:.1f} times as often as any two"
    return _baseline(own, name, lift)


def _baseline(own: RunConfig, name: str, why: str, which: str = "", **settings: Any) -> Entrant:
    """A baseline on the rows of another configuration."""
    plain = {key: value for key, value in own.to_dict().items() if key not in _OF_NETWORKS}
    schema = {side: [_id(side)] for side in ("query", "candidate")}
    model = {"type": name, **({"settings": settings} if settings else {})}
    config = config_from_dict({**plain, "schema": schema, "model": model}, own.recipe)
    return Entrant(f"{name}, {which}" if which else name, why, config)


def _id(side: str) -> dict[str, Any]:
    return {"type": "categorical", "column": "user_id" if side == "query" else "item_id"}
