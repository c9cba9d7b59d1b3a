"""Directory of users in a page: a list to search, with the history and the recommendations of each."""

from typing import Any

import numpy as np
import polars as pl

from tfrecall.core.vocabulary import Vocabulary
from tfrecall.report.users import HISTORY, UserCards

# Users are added until their lists and the titles in them take this many characters.
_BUDGET = 300_000
_MAX_USERS = 2_000
_TITLE = 80


def user_directory(cards: UserCards, budget: int = _BUDGET) -> dict[str, Any]:
    """Lists of all users of the test, or of as many as fit, drawn at random.

    Args:
        cards: model, logs and names.
        budget: characters that the directory may take, about.

    Returns:
        `of`: number of users of the test. `titles`: the items that occur. `images`: place of a title ->
        address of its picture. `users`, by id: for each the id, the number of rows before the test and of
        items in it, the latest items of the history, the recommendations, and the places of those that
        were chosen; items as places in `titles`.
    """
    table = cards.lengths()
    drawn = table[np.random.default_rng(0).permutation(table.height)[:_MAX_USERS].tolist()]
    had, places = _latest(cards, drawn), _Places(cards.names)
    lists = cards.lists(drawn["user_id"].to_list())
    row_of = Vocabulary(lists.user_ids).row
    users: list[list[Any]] = []
    for user, length in drawn.iter_rows():
        row = row_of(user)
        chosen = set(lists.targets[row].tolist())
        shown = [item for item in lists.rows[row].tolist() if item >= 0]
        hits = [place for place, item in enumerate(shown) if item in chosen]
        entry = [user, length, len(chosen), places.of(had.get(user, [])), places.of(shown), hits]
        budget -= len(str(entry))
        if users and budget < places.characters:
            break
        users.append(entry)
    titles = places.titles()
    return {
        "of": table.height,
        "titles": titles,
        "images": _images(cards, places),
        "users": sorted(users, key=lambda entry: entry[0]),
    }


class _Places:
    """Numbers items in the order of their first appearance, and counts the characters of their titles."""

    def __init__(self, names: pl.Series) -> None:
        self.rows: dict[int, int] = {}
        self.characters = 0
        self._names = names

    def of(self, rows: list[int]) -> list[int]:
        for row in rows:
            if row not in self.rows:
                self.rows[row] = len(self.rows)
                self.characters += len(self._title(row)) + 3  # quotes and comma
        return [self.rows[row] for row in rows]

    def titles(self) -> list[str]:
        return [self._title(row) for row in self.rows]

    def _title(self, row: int) -> str:
        title = str(self._names[row])
        return title if len(title) <= _TITLE else f"{title[: _TITLE - 1]}…"


def _latest(cards: UserCards, users: pl.DataFrame) -> dict[str, list[int]]:
    """The latest items of each user, latest first, as rows of the item table."""
    log = cards.known.log.filter(pl.col("user_id").is_in(users["user_id"].to_list()))
    log = log.sort("timestamp", descending=True, maintain_order=True)
    latest = log.group_by("user_id", maintain_order=True).agg(pl.col("item_id").head(HISTORY))
    rows_of = cards.known.item_vocabulary.rows
    return {user: rows_of(items).tolist() for user, items in zip(*latest, strict=True)}


def _images(cards: UserCards, places: _Places) -> dict[int, str]:
    if cards.images is None:
        return {}
    found = {place: cards.images.take(row) for row, place in places.rows.items()}
    return {place: address for place, address in found.items() if address is not None}
