"""Advice on a log's statistics."""

import numpy as np

from tfrecall.core.arguments import argument
from tfrecall.data.inspection.conflicts import missing_items_policy
from tfrecall.data.inspection.description import MOSTLY_EQUAL_TIMES, MOSTLY_SINGLE, Description
from tfrecall.data.repeat_consumption import MOSTLY_REPEATED

# Events under which popularity is hard to beat, and events of an item that say little about it.
FEW_ROWS = 1_000
FEW_EVENTS = 5
# A history of at least so many events, and so many times the 99th percentile or the median, is no person's.
CRAWLER_EVENTS, CRAWLER_FACTOR, CRAWLER_MEDIANS = 1_000, 20, 100
# One of at least so many users with such a share of all events is none, either.
ENOUGH_USERS, CRAWLER_SHARE, FEWEST_OF_ALL = 20, 0.2, 100
FEW_HUGE_USERS = 20


def advise(description: Description) -> list[str]:
    """Returns sentences on amount, split, seen items, filters and data quality, the most important first."""
    sentences = [
        _amount(description),
        _split(description),
        _seen(description),
        _filters(description),
        _ratings(description),
    ]
    sentences += [
        _duplicates(description),
        _times(description),
        _order(description),
        _crawlers(description),
        _counts(description),
        *_tables(description),
        _columns(description),
    ]
    return [text for text in sentences if text]


def best_split(description: Description) -> str:
    """Chooses a split.

    `leave_last_out`; for users who never come back `by_user`; if most users have one event `by_time`, or
    without times `random`, as for a file sorted by item, in which no event is a user's last.
    """
    if description.short_lived:
        return "by_user"
    if description.sorted_by_item:
        return "random"
    if description.single_event_share <= MOSTLY_SINGLE:
        return "leave_last_out"
    return "random" if description.all_times_equal else "by_time"


def percent(share: float) -> str:
    """A share in whole percents; only exact 0 and 1 read as 0% and 100%.

    >>> percent(0.004), percent(0.297), percent(0.999), percent(1)
    ('under 1%', '30%', 'over 99%', '100%')
    """
    if 0 < share < 0.01:
        return "under 1%"
    return "over 99%" if 0.99 < share < 1 else f"{share:.0%}"


def _amount(description: Description) -> str:
    size = f"{description.usable_rows:,} events of {description.users:,} users with {description.items:,} items"
    if description.users < 2 or description.items < 2:
        return f"{size}: nothing can be learned from that; at least two users and two items are needed."
    if description.usable_rows < FEW_ROWS:
        return f"{size}: very few. Popularity will be hard to beat under some thousand events."
    if description.usable_rows < FEW_EVENTS * description.items:
        mean = description.usable_rows / description.items
        return (
            f"{size}: {mean:.1f} events an item. Features of the items (--items) are what can tell most "
            "of them apart."
        )
    return f"{size}: enough to learn from."


def _split(description: Description) -> str:
    share = f"{percent(description.single_event_share)} of the users have one event"
    method = best_split(description)
    if method == "leave_last_out":
        word, single = "event", description.single_event_users
        if description.in_baskets:
            word, single = "basket", description.single_visit_users
        lone = f"; {percent(single / description.users)} of the users have one {word} and are only trained on"
        return f"Split: leave_last_out, each user's last {word} is the test{lone if single else ''}."
    if method == "by_user":
        return (
            f"Split: by_user. Nine users in ten have all their events within {_duration(description)} and do "
            "not come back, as sessions, visits or orders do. The first nine tenths of them train; of each "
            "other one the last event is predicted from those before it, without its id, as strangers will be "
            "answered."
        )
    if method == "by_time":
        return (
            f"Split: by_time. {share}, so there is no history to predict a last one from, and what is "
            "recommended rests on what is known of the user."
        )
    if description.sorted_by_item:
        return "Split: random. The file is sorted by item and has no times: no event is known to be the last."
    return f"Split: random. {share}, and times do not tell earlier from later."


def _duration(description: Description) -> str:
    hours = description.lifetimes["p90"] if description.lifetimes else 0.0
    return (
        f"{hours:.0f} hours" if hours >= 1.5 else f"{hours * 60:.0f} minutes" if hours else "one moment"
    )


def _seen(description: Description) -> str:
    share = (
        f"{percent(description.repeated_share)} of the events repeat an item that the user had before"
    )
    if description.repeated_share >= MOSTLY_REPEATED:
        return f"{share}: people come back to items, so keep seen items in the lists."
    return f"{share}: leave seen items out of the lists."


def _filters(description: Description) -> str:
    popularity = description.arrays["popularity"]
    rare = popularity < FEW_EVENTS
    if not rare.any() or description.items < 100:
        return ""
    return (
        f"{rare.mean():.0%} of the items have fewer than {FEW_EVENTS} events, "
        f"{popularity[rare].sum() / description.usable_rows:.1%} of all events. "
        f"{argument('min_item_interactions', str(FEW_EVENTS))} would leave them out of the catalogue; without, "
        "new items stay recommendable."
    )


def _ratings(description: Description) -> str:
    if not description.rating:
        return ""
    low, high = description.rating["min"], description.rating["max"]
    ratings = description.arrays["ratings"]
    if low <= 0 < high:
        least = float(ratings[ratings > 0].min())
        share = percent(float((ratings <= 0).mean()))
        return (
            f"{share} of the ratings are zero or negative: disliked or not rated items, yet all events count "
            f"as liked. {argument('min_rating', f'{least:g}')} leaves them out."
        )
    if len(description.rating["values"]) < 3:
        return ""
    middle = float(np.quantile(ratings, 0.25, method="inverted_cdf"))
    if not low < middle <= high:
        return ""
    kept = float((ratings >= middle).mean())
    return (
        f"Ratings from {low:g} to {high:g}: all events count alike. If only what was liked is to be "
        f"recommended: {argument('min_rating', f'{middle:g}')} keeps {kept:.0%} of them."
    )


def _duplicates(description: Description) -> str:
    kept = description.exact_duplicates - description.dropped_duplicates
    if not kept:
        return ""
    return (
        f"{kept:,} rows ({kept / description.rows:.1%}) repeat another row in every column, and no times tell "
        "whether these are events logged twice. If they are, keep one event of each pair: "
        f"{argument('duplicates', 'first')}."
    )


def _times(description: Description) -> str:
    if description.sorted_by_item:
        return ""
    if description.time is None:
        return "There are no times: the order of the file is taken for the order of the events."
    if description.all_times_equal:
        return "All times are equal: the order of the file is taken for the order of the events."
    if (description.equal_times or 0) <= MOSTLY_EQUAL_TIMES:
        return ""
    share = (
        f"{description.equal_times:.0%} of the events are at the same time as another of the same user"
    )
    if not description.in_baskets:
        return (
            f"{share} (days or baskets): among these the order of the file decides which is the last."
        )
    return (
        f"{share}: baskets, {description.basket_items:.1f} items each on average. The split keeps each of them "
        "whole (split.baskets): all items of a user's last basket are test rows, none of them is trained on."
    )


def _order(description: Description) -> str:
    if description.in_baskets:
        return ""
    lost = _lost(description)
    if description.short_lived:
        return f"Order: {lost}" if lost else ""
    if description.sorted_by_item:
        return "Order: the file is sorted by item, so nothing is known of the order of events."
    lift = f"{description.order_lift:.1f} times as often as any pairs"
    where = " in the order of the file" if description.all_times_equal else ""
    often = f"users share pairs of successive items{where} {lift}"
    if description.has_order:
        return f"Order: {often}: the items before are a feature (a history). {lost}".rstrip()
    little = "it says little beyond what a user likes, so no history is taken in order"
    return f"Order: {often}: {little}. {lost}".rstrip()


def _lost(description: Description) -> str:
    loss = description.order_loss
    if loss is None:
        return ""
    takes = f"takes {loss['loss']:.0%} of" if loss["loss"] >= 0.005 else "takes nothing of"
    return (
        f"A shuffle of the histories {takes} the NDCG@10 of item transitions for the last events of "
        f"{loss['users']:,.0f} users ({loss['ordered']:.3f} as they are, {loss['shuffled']:.3f} shuffled)."
    )


def _crawlers(description: Description) -> str:
    lengths = np.sort(description.arrays["history_lengths"])[::-1]
    count = int((lengths >= _huge(description)).sum())
    # Hundreds of such users are no exception, and without the others there would be no log.
    if not count or count == len(lengths) or count > FEW_HUGE_USERS:
        return ""
    largest = description.largest_user
    others = f" and {count - 1} more are" if count > 1 else " is"
    return (
        f'User "{largest["id"]}" has {largest["events"]:,} events ({percent(largest["share"])} of all), the '
        f"median user {description.history_lengths['median']:,.0f}: look whether it{others} a program, a till "
        f"or an account of many. {argument('max_user_interactions', str(lengths[count]))} leaves "
        f"{'it' if count == 1 else 'them'} out."
    )


def _huge(description: Description) -> float:
    """Number of events from which a user is no person."""
    lengths = description.history_lengths
    by_others = min(CRAWLER_FACTOR * lengths["p99"], CRAWLER_MEDIANS * lengths["median"])
    huge = max(CRAWLER_EVENTS, by_others)
    if description.users >= ENOUGH_USERS:
        return min(huge, max(FEWEST_OF_ALL, CRAWLER_SHARE * description.usable_rows))
    return huge


def _counts(description: Description) -> str:
    if not description.count_columns or description.columns.weight:
        return ""
    name = description.count_columns[0]
    return (
        f'The column "{name}" counts: an event with {name} 12 is learned from like one with 1. '
        f"{argument('weight', name)} weighs events by it."
    )


def _tables(description: Description) -> list[str]:
    sentences = []
    if (lost := description.missing.get("items", {})).get("ids"):
        share = lost["events"] / description.usable_rows
        sentences.append(
            f"{lost['ids']:,} items of the log ({share:.1%} of the events) are not in the item table. "
            f"{_missing_items(missing_items_policy(share))}"
        )
    if (lost := description.missing.get("users", {})).get("ids"):
        sentences.append(
            f"{lost['ids']:,} users of the log are not in the user table: no features for them."
        )
    if unseen := description.never_seen.get("items"):
        sentences.append(
            f"{unseen:,} items of the table have no event: they are recommended by their features only."
        )
    return sentences


def _missing_items(policy: str) -> str:
    if policy == "drop":
        other = f"{argument('missing_items', 'add')} keeps the items without features"
        return f"An inferred run drops these events; {other}."
    other = f"{argument('missing_items', 'drop')} leaves their events out"
    return f"An inferred run keeps them without features; {other}."


def _columns(description: Description) -> str:
    useless = [
        f"{column.table}.{column.name} ({'empty' if column.is_empty else 'constant'})"
        for column in description.profiles
        if column.rows and (column.is_empty or column.is_constant)
    ]
    return f"Columns that tell nothing: {', '.join(useless)}." if useless else ""
