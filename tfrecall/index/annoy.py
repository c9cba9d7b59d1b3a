"""Approximate search with Annoy: trees propose candidates, one forest or several over parts of the catalogue.

Annoy compares angles, as `approximate.py` says; its own metric `dot` is defective in 1.17.3.

Annoy is compiled for the machine it is installed on (`-march=native`). A wheel, container image or
virtual environment moved to another CPU can stop the process with SIGILL, which no Python code
can catch. Install it where it runs, or compile for what all machines have:
`ANNOY_COMPILER_ARGS=-O3,-march=x86-64-v2,-std=c++14,-DANNOYLIB_MULTITHREADED_BUILD,-fpermissive`
(it replaces all of Annoy's own flags). The file of an index is not affected; it loads on any
little-endian machine. The same seed gives the same trees on the same kind of CPU only.
"""

import platform
import shutil
import tempfile
import weakref
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from annoy import AnnoyIndex as Forest

from tfrecall.errors import ConfigError, ExportError, ReleaseError
from tfrecall.index.approximate import (
    LARGEST,
    Approximate,
    ApproximateIndex,
    is_augmented,
    points_of,
)
from tfrecall.index.exact import ExactIndex
from tfrecall.index.threads import in_threads
from tfrecall.index.tuning import TuningTable

FOREST = "index.ann"
CPU_NOTE = (
    "The file loads on any little-endian machine. The annoy package itself is compiled for the CPU "
    "it is installed on (-march=native); moved to another it can stop with SIGILL. "
    "Compile it there, or set ANNOY_COMPILER_ARGS."
)
# Vectors converted to Python lists at a time.
CHUNK = 4096
# Neighbours that a new forest must return to count as sound.
CHECKED = 100


@dataclass(frozen=True)
class Annoy(Approximate):
    """Configuration of an Annoy index.

    Args:
        n_trees: more trees find more with the same effort, and take more disk and memory.
        target_recall: share of the true best `tune_k` to find, in (0, 1].
        tune_k: the `k` that the effort is tuned for; larger ones get proportionally more.
        search_k: the effort, in candidates looked at over all trees; None to tune it.
        seed: seed of the trees and of the sample of queries.
        shards: forests over consecutive parts of the catalogue, at most one for each item. They are planted on
            disk and searched at the same time, by as many threads as the machine has cores.

    >>> vectors = np.random.default_rng(0).normal(size=(300, 8))
    >>> index = Annoy(n_trees=10, tune_k=10).build(vectors, [str(i) for i in range(300)])
    >>> index.table.chosen.recall >= 0.95
    True
    """

    name: ClassVar[str] = "annoy"

    n_trees: int = 50
    target_recall: float = 0.95
    tune_k: int = 100
    search_k: int | None = None
    seed: int = 42
    shards: int = 1

    def whole_numbers(self) -> dict[str, int]:
        return {"n_trees": 1, "shards": 1, **super().whole_numbers()}

    def summary(self) -> dict[str, Any]:
        return {"n_trees": self.n_trees, **({} if self.shards == 1 else {"shards": self.shards})}

    def files(self, count: int) -> list[str]:
        parts = min(self.shards, count)
        return [FOREST] if self.shards == 1 else [f"index-{part}.ann" for part in range(parts)]

    def structure(self, exact: ExactIndex) -> "AnnoyIndex":
        augmented = is_augmented(exact)
        largest = -(-len(exact) // self.shards)
        # A forest has its items as nodes, and in each tree about one inner node for each two of them.
        if largest * (1 + self.n_trees / 2) > LARGEST:
            raise ConfigError(
                f"A forest of Annoy has at most {LARGEST:,} nodes, and {self.n_trees} trees over {largest:,} "
                "items may have more. Take more `shards`, or fewer `n_trees`."
            )
        if self.shards == 1:
            return AnnoyIndex(exact, [_plant(exact, augmented, self, 0, len(exact))], augmented, self)
        _check_space(forest_bytes(len(exact), self.n_trees, exact.dimension + augmented))
        folder = Path(tempfile.mkdtemp(prefix="tfrecall-annoy-"))
        bounds = shard_bounds(len(exact), self.shards)

        def plant(part: int) -> Forest:
            return _plant(exact, augmented, self, bounds[part], bounds[part + 1], folder / str(part))

        try:
            forests = in_threads(plant, range(len(bounds) - 1))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        index = AnnoyIndex(exact, forests, augmented, self)
        index.folder = folder
        # Files of the forests go with the index that has mapped them.
        weakref.finalize(index, shutil.rmtree, folder, ignore_errors=True)
        return index


def shard_bounds(count: int, shards: int) -> np.ndarray:
    """Bounds of the parts of a catalogue, of sizes that differ by one at most: int64 `[n_parts + 1]`.

    >>> shard_bounds(7, 3).tolist(), shard_bounds(2, 3).tolist()
    ([0, 2, 4, 7], [0, 1, 2])
    """
    parts = min(shards, count)
    return np.arange(parts + 1) * count // parts


def forest_bytes(count: int, n_trees: int, width: int) -> int:
    """Room for the files of forests over points of `width` numbers, up to 1.5 times what they take.

    >>> forest_bytes(20_000, 10, 64)
    9420606
    """
    # A node holds a point and three numbers of 4 bytes, or as many links as fit into their place. A tree
    # has 2.6 to 3.1 nodes for each full node of links over random points, 4.7 where lengths differ much.
    node, links = 12 + 4 * width, width + 2
    return int(node * (count + 5 * n_trees * count / links))


def _check_space(wanted: int) -> None:
    """Refuses to plant on a disk that is too full: a mapped page without room ends the process by a signal."""
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise ExportError(
            f"Forests in shards are planted in {folder}, where they take about {wanted / 1e6:,.0f} MB, and the "
            f"free space there is {free / 1e6:,.0f} MB. Make room, set TMPDIR to a folder on another disk, or "
            "leave `shards` at 1, which plants in memory."
        )


class AnnoyIndex(ApproximateIndex[Annoy]):
    """Finds most of the candidates with the largest inner product, by trees.

    Each of several forests gets its share of the effort; their proposals are merged by angle before the best
    are scored exactly. Made by `Annoy.build` or `load_bundle`.

    The structure is a list of Annoy's indexes, over consecutive parts of the catalogue.
    """

    # All trees hold all items: their answers are those of exact search by themselves.
    exact_if_exhaustive = False
    folder: Path | None = None

    @property
    def forests(self) -> list[Forest]:
        """Annoy's indexes, each with its part of the catalogue."""
        return self.structure

    @property
    def has_threads(self) -> bool:
        return len(self.forests) > 1

    @property
    def bounds(self) -> np.ndarray:
        """Bounds of the parts of the catalogue: int64 `[n_parts + 1]`."""
        return shard_bounds(len(self), self.settings.shards)

    @property
    def exhaustive(self) -> int:
        """The `search_k` from which every candidate is looked at in every tree."""
        return min(len(self) * self.settings.n_trees, LARGEST)

    def nearest(self, query: np.ndarray, n: int, effort: int) -> np.ndarray:
        if len(self.forests) == 1:
            return np.array(self.forests[0].get_nns_by_vector(query, n, effort), dtype=np.int64)
        point, bounds = query.tolist(), self.bounds
        each = LARGEST if effort == self.exhaustive else -(-effort // len(self.forests))

        def ask(part: int) -> tuple[np.ndarray, np.ndarray]:
            rows, angles = self.forests[part].get_nns_by_vector(point, n, each, include_distances=True)
            return np.array(rows, np.int64) + bounds[part], np.array(angles)

        rows, angles = map(np.concatenate, zip(*in_threads(ask, range(len(self.forests))), strict=True))
        return rows if len(rows) <= n else rows[np.argpartition(angles, n - 1)[:n]]

    def save(self, directory: Path) -> list[str]:
        names = self.settings.files(len(self))
        if self.folder is None:
            self.forests[0].save(str(directory / names[0]))
        else:
            for part, name in enumerate(names):
                shutil.copyfile(self.folder / str(part), directory / name)
        for forest in self.forests:
            forest.unload()  # `save` maps the file, and a mapped file pins its directory
        return names

    def facts(self) -> dict[str, Any]:
        return {
            "metric": "augmented_angular" if self.augmented else "angular",
            "annoy_version": version("annoy"),
            "cpu": {"machine": platform.machine(), "note": CPU_NOTE},
        }

    @classmethod
    def open(
        cls,
        directory: Path,
        facts: dict[str, Any],
        exact: ExactIndex,
        settings: Annoy,
        table: TuningTable,
    ) -> "AnnoyIndex":
        """Opens the files of `save`, whose sizes and checksums were compared: Annoy takes any file.

        Raises:
            ReleaseError: if a forest holds another number of items.
        """
        augmented = facts["metric"] == "augmented_angular"
        bounds = shard_bounds(len(exact), settings.shards)
        forests = []
        for name, size in zip(settings.files(len(exact)), np.diff(bounds), strict=True):
            forest = Forest(exact.dimension + augmented, "angular")
            try:
                # Pages are read when a query needs them: a replica is up at once, and slow at first.
                forest.load(str(directory / name), prefault=False)
            except OSError as error:
                raise ReleaseError(f"{directory / name} cannot be opened: {error}.") from error
            if forest.get_n_items() != size:
                raise ReleaseError(
                    f"{directory / name} is foreign: it holds {forest.get_n_items()} items, the manifest says "
                    f"{size}. Export again."
                )
            forests.append(forest)
        return cls(exact, forests, augmented, settings, table)


def _plant(
    exact: ExactIndex, augmented: bool, settings: Annoy, start: int, stop: int, path: Path | None = None
) -> Forest:
    """Builds the trees over some rows, on one thread: more would not give the same trees twice."""
    forest = Forest(exact.dimension + augmented, "angular")
    forest.set_seed(settings.seed)
    if path is not None:
        forest.on_disk_build(str(path))  # pages of the file are written back where memory is short
    for first in range(start, stop, CHUNK):
        points = points_of(exact, augmented, slice(first, min(first + CHUNK, stop)))
        for row, point in enumerate(points.tolist(), first - start):
            forest.add_item(row, point)
    forest.build(settings.n_trees, n_jobs=1)
    _check_forest(forest, settings.n_trees)
    return forest


def _check_forest(forest: Forest, n_trees: int) -> None:
    """Refuses a forest whose trees do not hold every item.

    Annoy compiled by some compilers plants trees that return one neighbour and no more
    (github.com/spotify/annoy/issues/679). Tuning would not notice: it would find that no effort is enough
    and take the largest. Each tree holds each item once, so the first `n * n_trees` items that are met
    hold `n` different ones in any sound forest.
    """
    n = min(CHECKED, forest.get_n_items())
    returned = len(forest.get_nns_by_item(0, n, n * n_trees))
    if returned < n:
        raise ConfigError(
            f"The Annoy index that was built is broken: of {n} neighbours that every tree holds it returned "
            f"{returned}. Some compilers build Annoy so: install it anew with "
            "ANNOY_COMPILER_ARGS=-O2,-march=x86-64-v2,-std=c++14,-DANNOYLIB_MULTITHREADED_BUILD,-fpermissive, "
            "or use exact search (`tfrecall.index.Exact`; in a recipe leave `index` out)."
        )
