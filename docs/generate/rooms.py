"""The picture and the table of the rooms, from the package's own imports.

A room is a folder or module directly under `tfrecall`. Its floor is its layer in the import contract of
`setup.cfg`, which `make imports` holds the code to; its arrows are the imports found in the files.
"""

import ast
import configparser
from collections import defaultdict
from functools import cache
from html import escape
from pathlib import Path
from textwrap import wrap

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "tfrecall"
CONTRACTS = ("layers", "wings")

BOX_WIDTH, BOX_HEIGHT, GAP, FLOOR_HEIGHT, MARGIN = 174, 76, 14, 108, 12
# Drawn once, read in both colour schemes: the picture has a background of its own.
PAPER, INK, QUIET, LINE = "#ffffff", "#1c2430", "#5b6573", "#9aa4b2"
BUILDING, ANSWERING, SHARED = "#e4e9fb", "#d9f2e4", "#f1f1ee"

# Sizes are left out: the page would be behind the code after every commit.
ROOMS = """# Rooms

Every room of the package with its floor and its imports, read from the code. A room imports lower floors
only; `make imports` fails otherwise. The page [Architecture](../architecture.md) has the picture.

| floor | room | purpose | imports |
| --- | --- | --- | --- |
"""


@cache
def rooms() -> dict[str, list[Path]]:
    """Map each room to its files; the package's own `__init__` is the face, not a room."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        place = path.relative_to(PACKAGE).parts
        if place != ("__init__.py",):
            found[place[0].removesuffix(".py")].append(path)
    return dict(found)


@cache
def imports() -> dict[str, set[str]]:
    """Map each room to the rooms that any of its files imports, inside functions too."""
    return {
        room: {target for path in files for target in _targets(path)} - {room}
        for room, files in rooms().items()
    }


def floors() -> list[list[str]]:
    """List the layers of the import contract, the highest first."""
    lines = _contract("layers")["layers"].split("\n")
    return [
        [name.strip().removeprefix("tfrecall.") for name in line.split("|")] for line in lines if line
    ]


def answering() -> set[str]:
    """Name the rooms that load no training code, by the import contract."""
    lines = _contract("wings")["source_modules"].split()
    return {name.removeprefix("tfrecall.") for name in lines}


def purpose(room: str) -> str:
    """Read the first sentence of a room's docstring."""
    files = rooms()[room]
    first = next(
        (path for path in files if path.parent.name == room and path.stem == "__init__"), files[0]
    )
    doc = ast.get_docstring(ast.parse(first.read_text("utf-8"))) or ""
    return doc.split("\n\n")[0].replace("\n", " ")


def needed() -> dict[str, set[str]]:
    """Map each room to the imports that no other import implies: the arrows worth drawing."""
    direct = imports()

    def reach(room: str, seen: set[str]) -> set[str]:
        for target in direct[room] - seen:
            seen.add(target)
            reach(target, seen)
        return seen

    return {
        room: {
            target
            for target in targets
            if not any(target in reach(other, set()) for other in targets - {target})
        }
        for room, targets in direct.items()
    }


def drawing() -> str:
    """Draw the floors as an SVG: one box a room, one arrow for each import that no other implies."""
    corners = _corners(floors())
    width = max(x for x, _ in corners.values()) + BOX_WIDTH + MARGIN
    height = max(y for _, y in corners.values()) + BOX_HEIGHT + MARGIN + 34
    arrows = [
        _arrow(corners[room], corners[target])
        for room, targets in sorted(needed().items())
        for target in sorted(targets)
        if corners[room][1] < corners[target][1]
    ]
    boxes = [_box(room, *corner) for room, corner in corners.items()]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'font-family="system-ui, sans-serif" role="img" aria-label="The rooms of tfrecall by floor">\n'
        f'<rect width="100%" height="100%" fill="{PAPER}"/>\n'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        f'orient="auto"><path d="M0 0 8 4 0 8z" fill="{LINE}"/></marker></defs>\n'
        + "\n".join([*arrows, *boxes, _legend(height)])
        + "\n</svg>"
    )


def page() -> str:
    """Generate the table of the rooms."""
    rows = [
        f"| {len(floors()) - place} | `{room}` | {purpose(room)} | {_listed(imports()[room])} |"
        for place, floor in enumerate(floors())
        for room in floor
    ]
    return ROOMS + "\n".join(rows)


def _listed(names: set[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names)) or "nothing"


def _corners(plan: list[list[str]]) -> dict[str, tuple[float, float]]:
    """Place the answering wing in columns of its own on the right, the other rooms from the left."""
    right, step = answering(), BOX_WIDTH + GAP
    widest = max(len(set(floor) - right) for floor in plan)
    corners: dict[str, tuple[float, float]] = {}
    for number, floor in enumerate(plan):
        y = MARGIN + number * FLOOR_HEIGHT
        answers = [room for room in floor if room in right]
        others = [room for room in floor if room not in right]
        corners |= {
            room: (MARGIN + step * (widest + place) + GAP, y) for place, room in enumerate(answers)
        }
        corners |= {room: (MARGIN + step * place, y) for place, room in enumerate(others)}
    return corners


def _contract(name: str) -> configparser.SectionProxy:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", "utf-8")
    return parser[f"importlinter:contract:{name}"]


def _targets(path: Path) -> set[str]:
    """Name the rooms that a file imports."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "tfrecall":
            names += [f"tfrecall.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.append(node.module)
    parts = [name.split(".") for name in names]
    return {part[1] for part in parts if part[0] == "tfrecall" and len(part) > 1 and part[1] in rooms()}


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    x1, y1 = start[0] + BOX_WIDTH / 2, start[1] + BOX_HEIGHT
    x2, y2 = end[0] + BOX_WIDTH / 2, end[1] - 2
    bend = (y2 - y1) / 2
    return (
        f'<path d="M{x1:g} {y1:g}C{x1:g} {y1 + bend:g} {x2:g} {y2 - bend:g} {x2:g} {y2:g}" fill="none" '
        f'stroke="{LINE}" stroke-width="1.2" marker-end="url(#tip)"/>'
    )


def _box(room: str, x: float, y: float) -> str:
    colour = ANSWERING if room in answering() else SHARED if room in ("core", "errors") else BUILDING
    # The first sentence, without the marks of code.
    sentence = purpose(room).split(". ")[0].rstrip(".").replace("`", "")
    lines = wrap(sentence, 27, max_lines=3, placeholder=" …")
    words = "".join(
        f'<text x="{x + 12:g}" y="{y + 38 + 14 * i:g}" font-size="11" fill="{QUIET}">{escape(line)}</text>'
        for i, line in enumerate(lines)
    )
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="7" fill="{colour}" '
        f'stroke="{LINE}"/><text x="{x + 12:g}" y="{y + 21:g}" font-size="15" font-weight="600" '
        f'fill="{INK}">{room}</text>{words}'
    )


def _legend(height: float) -> str:
    y = height - 26
    parts = [
        (BUILDING, "building: data, models, training"),
        (ANSWERING, "answering: no training code"),
        (SHARED, "below both"),
    ]
    x, drawn = float(MARGIN), ""
    for colour, words in parts:
        drawn += (
            f'<rect x="{x:g}" y="{y:g}" width="14" height="14" rx="3" fill="{colour}" stroke="{LINE}"/>'
            f'<text x="{x + 21:g}" y="{y + 11.5:g}" font-size="12" fill="{QUIET}">{words}</text>'
        )
        x += 44 + 6.4 * len(words)
    return drawn + (
        f'<text x="{x:g}" y="{y + 11.5:g}" font-size="12" fill="{QUIET}">'
        "An arrow is an import; arrows that others imply are left out.</text>"
    )
