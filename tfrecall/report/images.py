"""Pictures of items on a page: those that a table holds itself, or that lie beside the page."""

import re

import polars as pl

_SUFFIX = r"\.(?:png|jpe?g|gif|webp|avif|svg)"
# Relative to the page and without a scheme, a host or a backslash: browsers read //host, \\host and /\host as
# addresses of another origin, and drop spaces before an address. The name of a file needs no question mark.
_RELATIVE = re.compile(rf"(?!//| )[A-Za-z0-9_./~+,()@=% -]+{_SUFFIX}", re.IGNORECASE)
_DATA = re.compile(r"data:image/(?:png|jpeg|gif|webp|avif|svg\+xml);base64,[A-Za-z0-9+/]+={0,2}")
# Larger ones are photographs, not pictures of a list.
_LARGEST = 50_000
# Characters of all addresses on a page.
_BUDGET = 400_000


def is_image(address: str) -> bool:
    """Whether an address is a picture that a page shows without a request to another origin.

    >>> is_image("images/7.png"), is_image("https://example.org/7.png"), is_image("//example.org/7.png")
    (True, False, False)
    """
    pattern = _DATA if address.startswith("data:") else _RELATIVE
    return len(address) <= _LARGEST and pattern.fullmatch(address) is not None


class ItemImages:
    """The picture of each item, until the page holds as much as it may.

    Args:
        items: the item table. The text column with most pictures is taken; without one no item has any.
        budget: characters of all addresses together.
    """

    def __init__(self, items: pl.DataFrame, budget: int = _BUDGET) -> None:
        self._addresses: list[str | None] = []
        self._left = budget
        for name in items.columns:
            if items.schema[name] == pl.String and name != "item_id":
                found = [a if a is not None and is_image(a) else None for a in items[name].to_list()]
                if sum(map(bool, found)) > sum(map(bool, self._addresses)):
                    self._addresses = found

    def take(self, row: int) -> str | None:
        """The address of an item's picture, to be written once; None without one or beyond the budget."""
        address = self._addresses[row] if self._addresses else None
        if address is None or len(address) > self._left:
            return None
        self._left -= len(address)
        return address
