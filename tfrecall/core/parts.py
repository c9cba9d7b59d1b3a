"""Parts of a batch: the rows of one of several replicas."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Part:
    """One of several consecutive parts of some rows, which differ by one row at most.

    Attributes:
        index: number of the part, from 0.
        count: number of parts.

    >>> [Part(i, 3).of([4, 5, 6, 7, 8]) for i in range(3)], Part(0, 2).of([4])
    ([[4], [5, 6], [7, 8]], [])
    """

    index: int = 0
    count: int = 1

    def of(self, rows: Any) -> Any:
        """The part of a sequence or an array; it is empty where there are fewer rows than parts."""
        first, end = self.bounds(len(rows))
        return rows[first:end]

    def bounds(self, length: Any) -> tuple[Any, Any]:
        """First row, and end, of a length that may be a tensor."""
        return length * self.index // self.count, length * (self.index + 1) // self.count


WHOLE = Part()
