"""What the figures of a log mean for whoever wants to learn from it, in words."""

from typing import TYPE_CHECKING

import numpy as np

from tfrecall.data.repeat_consumption import MOSTLY_REPEATED

if TYPE_CHECKING:
    from tfrecall.data.inspection.describe import Description

# Share of users with one event from which the last event of each is no test any more.
MOSTLY_SINGLE = 0.9
# Events under which popularity is hard to beat, and events of an item that say little about it.
FEW_ROWS = 1_000
FEW_EVENTS = 5


def advise(found: "Description") -> list[str]:
    """Advice on split, filters, what was seen, and whether the data suffice; most important first."""
    said = [_amount(found), _split(found), _seen(found), _filters(found), _ratings(found)]
    said += [_duplicates(found), _times(found), _crawlers(found), *_tables(found), _columns(found)]
    return [text for text in said if text]


def best_split(found: "Description") -> str:
    """The split that judges as the model will be used: `leave_last_out`, else `by_time`, else `random`."""
    if found.single_event_share <= MOSTLY_SINGLE:
        return "leave_last_out"
    return "random" if found.all_times_equal else "by_time"


def percent(share: float) -> str:
    """A share in whole percents, none of them rounded to nothing or to all.

    >>> percent(0.004), percent(0.297), percent(0.999), percent(1)
    ('under 1%', '30%', 'over 99%', '100%')
    """
    if 0 < share < 0.01:
        return "under 1%"
    return "over 99%" if 0.99 < share < 1 else f"{share:.0%}"


def _amount(found: "Description") -> str:
    size = f"{found.usable_rows:,} events of {found.users:,} users with {found.items:,} items"
    if found.users < 2 or found.items < 2:
        return f"{size}: nothing can be learned from that; at least two users and two items are needed."
    if found.usable_rows < FEW_ROWS:
        return f"{size}: very few. Popularity will be hard to beat under some thousand events."
    if found.usable_rows < FEW_EVENTS * found.items:
        mean = found.usable_rows / found.items
        return (
            f"{size}: {mean:.1f} events an item. Features of the items (--items) are what can tell most "
            "of them apart."
        )
    return f"{size}: enough to learn from."


def _split(found: "Description") -> str:
    share = f"{percent(found.single_event_share)} of the users have one event"
    method = best_split(found)
    if method == "leave_last_out":
        single = f"; {share} and are only trained on" if found.single_event_users else ""
        return f"Split: leave_last_out, each user's last event is the test{single}."
    if method == "by_time":
        return (
            f"Split: by_time. {share}, so there is no history to predict a last one from, and what is "
            "recommended rests on what is known of the user."
        )
    return f"Split: random. {share}, and times do not tell earlier from later."


def _seen(found: "Description") -> str:
    share = f"{percent(found.repeated_share)} of the events repeat an item that the user had before"
    if found.repeated_share >= MOSTLY_REPEATED:
        return f"{share}: people come back to items, so keep seen items in the lists."
    return f"{share}: leave seen items out of the lists."


def _filters(found: "Description") -> str:
    popularity = found.arrays["popularity"]
    rare = popularity < FEW_EVENTS
    if not rare.any() or found.items < 100:
        return ""
    return (
        f"{rare.mean():.0%} of the items have fewer than {FEW_EVENTS} events, "
        f"{popularity[rare].sum() / found.usable_rows:.1%} of all events. min_item_interactions="
        f"{FEW_EVENTS} would leave them out of the catalogue; without, new items stay recommendable."
    )


def _ratings(found: "Description") -> str:
    if not found.rating or len(found.rating["values"]) < 3:
        return ""
    low, high = found.rating["min"], found.rating["max"]
    ratings = found.arrays["ratings"]
    middle = float(np.quantile(ratings, 0.25, method="inverted_cdf"))
    if not low < middle <= high:
        return ""
    kept = float((ratings >= middle).mean())
    return (
        f"Ratings from {low:g} to {high:g}: all events count alike. If only what was liked is to be "
        f"recommended: min_rating={middle:g} keeps {kept:.0%} of them."
    )


def _duplicates(found: "Description") -> str:
    if not found.exact_duplicates:
        return ""
    share = found.exact_duplicates / found.rows
    return (
        f"{found.exact_duplicates:,} rows ({share:.1%}) repeat another row in every column. If that is "
        'an accident of logging, drop them, or keep one event of each pair: duplicates="first".'
    )


def _times(found: "Description") -> str:
    if found.time is None:
        return "There are no times: the order of the file is taken for the order of the events."
    if found.all_times_equal:
        return "All times are equal: the order of the file is taken for the order of the events."
    if (found.equal_times or 0) > 0.5:
        return (
            f"{found.equal_times:.0%} of the events are at the same time as another of the same user "
            "(days or baskets): among these the order of the file decides which is the last."
        )
    return ""


def _crawlers(found: "Description") -> str:
    longest, usual = found.history_lengths["max"], found.history_lengths["p99"]
    if longest < 1_000 or longest < 20 * usual:
        return ""
    return (
        f"One user has {longest:,.0f} events, 99 % have {usual:,.0f} or fewer: look whether it is a "
        "program or a till, and leave it out."
    )


def _tables(found: "Description") -> list[str]:
    said = []
    if (lost := found.missing.get("items", {})).get("ids"):
        share = lost["events"] / found.usable_rows
        said.append(
            f"{lost['ids']:,} items of the log ({share:.1%} of the events) are not in the item table: "
            'missing_items="add" keeps them without features, "drop" leaves their events out.'
        )
    if (lost := found.missing.get("users", {})).get("ids"):
        said.append(
            f"{lost['ids']:,} users of the log are not in the user table: no features for them."
        )
    if unseen := found.never_seen.get("items"):
        said.append(
            f"{unseen:,} items of the table have no event: they are recommended by their features only."
        )
    return said


def _columns(found: "Description") -> str:
    useless = [
        f"{one.table}.{one.name} ({'empty' if one.is_empty else 'constant'})"
        for one in found.profiles
        if one.rows and (one.is_empty or one.is_constant)
    ]
    return f"Columns that tell nothing: {', '.join(useless)}." if useless else ""
