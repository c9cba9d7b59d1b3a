"""Tables on narrow terminals: fewer columns at a time, or a block of lines for each row."""

from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Column, Table

# Words of this length at most keep a line of their own; longer ones, such as ids, may be folded in a table.
LONGEST_WORD = 12
# The same of the names of rows where a table is divided: own_most_frequent.
LONGEST_NAME = 20
# A column's border and the blanks around its text; one more border ends the table.
AROUND_COLUMN = 3


def fitted(table: Table, width: int) -> RenderableType:
    """The table itself if its columns fit, else several tables of numbers, or a block for each row.

    Where its texts are wider than the terminal, they are broken between words, only longer ones within.
    Columns before the first one of numbers name the row, such as model and rule. Where numbers alone
    follow, each of the tables has as many as fit; a block has a line for each further column.

    Args:
        table: a table whose cells are text.
        width: columns of the terminal.
    """
    if _needed(table.columns) <= width:
        _share(table.columns, width)
        return table
    kinds = [column.justify for column in table.columns]
    first = max(1, kinds.index("right")) if "right" in kinds else 1
    above = [] if table.title is None else [_line(str(table.title), "table.title")]
    below = [] if table.caption is None else [_line(str(table.caption), "table.caption")]
    parts = _tables if set(kinds[first:]) == {"right"} else _blocks
    return Group(*above, *parts(table, first, width), *below)


def _tables(table: Table, first: int, width: int) -> Iterator[Table]:
    """Tables of the same rows, each with some of the numbers."""
    named = Table.grid()
    named.add_column(str(table.columns[0].header))
    for cells in _rows(table):
        named.add_row(", ".join(filter(None, cells[:first])))
    numbers = table.columns[first:]
    while numbers:
        fit = [
            n
            for n in range(1, len(numbers) + 1)
            if _needed(named.columns, LONGEST_NAME) + _needed(numbers[:n]) - 1 <= width
        ]
        shown, numbers = numbers[: max(fit, default=1)], numbers[max(fit, default=1) :]
        part = Table(
            *[Column(c.header, justify=c.justify, overflow="fold") for c in [*named.columns, *shown]]
        )
        for row, *cells in zip(table.rows, *(c.cells for c in [*named.columns, *shown]), strict=True):
            part.add_row(*cells, style=row.style, end_section=row.end_section)
        yield part


def _blocks(table: Table, first: int, width: int) -> Iterator[RenderableType]:
    """Each row as its name and a line for each further cell."""
    names = [str(column.header).replace("\n", "") for column in table.columns]
    for cells in _rows(table):
        name = ", ".join(filter(None, cells[:first]))
        # A number alone says nothing: search_k 100.
        yield _line(f"{names[0]} {name}" if name[:1].isdigit() and first == 1 else name, "bold")
        block = Table.grid(padding=(0, 2, 0, 0))
        block.add_column(no_wrap=max(map(cell_len, names[first:]), default=0) <= width // 2)
        block.add_column(overflow="fold")
        for name, cell in zip(names[first:], cells[first:], strict=True):
            if cell:
                block.add_row(name, cell)
        yield Padding(block, (0, 0, 0, 2))


def _share(columns: Sequence[Column], width: int) -> None:
    """Give each column the room of its words, and of its texts as far as there is more.

    Rich would break words of a wide column while another has room to spare.
    """
    words, room = _words(columns), width - AROUND_COLUMN * len(columns) - 1
    texts = [max(map(cell_len, _lines(column)), default=0) for column in columns]
    if sum(texts) <= room:
        return
    shared = words
    for most in range(max(texts)):
        wider = [max(word, min(text, most)) for word, text in zip(words, texts, strict=True)]
        if sum(wider) > room:
            break
        shared = wider
    for column, given in zip(columns, shared, strict=True):
        column.width = given


def _lines(column: Column) -> Iterator[str]:
    for text in (column.header, *column.cells):
        yield from str(text).splitlines()


def _needed(columns: Sequence[Column], longest: int = LONGEST_WORD) -> int:
    """Width of a table if only long words are folded; numbers stay whole."""
    return sum(_words(columns, longest)) + AROUND_COLUMN * len(columns) + 1


def _words(columns: Sequence[Column], longest: int = LONGEST_WORD) -> list[int]:
    """Width of the longest word of each column, of long ones a part."""
    return [
        max(
            (
                cell_len(word) if column.justify == "right" else min(cell_len(word), longest)
                for text in (column.header, *column.cells)
                for word in str(text).split()
            ),
            default=0,
        )
        for column in columns
    ]


def _rows(table: Table) -> Iterator[list[str]]:
    return (list(map(str, cells)) for cells in zip(*(c.cells for c in table.columns), strict=True))


def _line(text: str, style: str) -> Table:
    """Text as a table of one cell: the console escapes the cells of tables."""
    line = Table.grid()
    line.add_column(overflow="fold", style=style)
    line.add_row(text)
    return line
