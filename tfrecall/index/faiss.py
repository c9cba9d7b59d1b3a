"""Approximate search with faiss: a graph (HNSW), or lists of nearest centroids (IVF) with vectors or codes.

Vectors are compared as `approximate.py` says. The library is the extra `ann`, imported where an index is built
or opened. Builds are repeatable on one kind of CPU: seeds are fixed, and a graph is built by one thread.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from tfrecall.errors import ConfigError, ReleaseError, nearest
from tfrecall.index.approximate import (
    Approximate,
    ApproximateIndex,
    is_augmented,
    oversampled,
    points_of,
)
from tfrecall.index.exact import ExactIndex
from tfrecall.index.tuning import TuningTable, doubling

Method = Literal["hnsw", "ivf_flat", "ivf_pq"]
FILE = "index.faiss"
# Points converted at a time.
CHUNK = 2**16
# Points that k-means takes for each centroid; faiss' own limit is 256, with four times the time.
POINTS_A_LIST = 64
# A code of a piece of a vector is one byte: one of 256 centroids.
CODES = 256


@dataclass(frozen=True)
class Faiss(Approximate):
    """Configuration of a faiss index.

    Args:
        method: `ivf_flat`, lists around centroids: for vectors of trained models, which lie in clusters, the
            fastest to build and to search. `ivf_pq`, the same lists with codes in place of vectors: about an
            eighth of the memory. `hnsw`, a graph: for vectors without clusters; it takes several times as
            long to build.
        links: links of an item in the graph, twice as many on its ground floor.
        build_effort: candidates looked at for the links of an item.
        lists: number of lists; None for `4 * sqrt(n)`, at most an item in 39.
        code_bytes: bytes of an item's code; None for one for two numbers.
        oversampling: of `ivf_pq`, candidates by codes for each that is wanted; all are scored exactly. None to
            tune it with the effort, from 2 to 32.
        target_recall: share of the true best `tune_k` to find, in (0, 1].
        tune_k: the `k` that the effort is tuned for; larger ones get proportionally more.
        search_k: the effort: candidates kept by the search of a graph (`efSearch`), or lists looked through
            (`nprobe`); None to tune it.
        seed: seed of centroids and of the sample of queries.
    """

    name: ClassVar[str] = "faiss"

    method: Method = "ivf_flat"
    links: int = 16
    build_effort: int = 100
    lists: int | None = None
    code_bytes: int | None = None
    oversampling: int | None = None
    target_recall: float = 0.95
    tune_k: int = 100
    search_k: int | None = None
    seed: int = 42

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise ConfigError(
                f"Faiss' `method` is one of {', '.join(get_args(Method))}. Received method={self.method!r}."
                f"{nearest(str(self.method), get_args(Method))}"
            )
        super().__post_init__()

    def whole_numbers(self) -> dict[str, int]:
        own = {"links": 2, "build_effort": 1, "lists": 1, "code_bytes": 1, "oversampling": 1}
        return {**own, **super().whole_numbers()}

    def variants(self) -> list[Approximate]:
        return oversampled(self) if self.method == "ivf_pq" else [self]

    def summary(self) -> dict[str, Any]:
        codes = {"oversampling": self.oversampling} if self.method == "ivf_pq" else {}
        return {"method": self.method, **codes}

    def files(self, count: int) -> list[str]:
        return [FILE]

    def structure(self, exact: ExactIndex) -> "FaissIndex":
        faiss = library()
        augmented = is_augmented(exact)
        shape = Shape.of(self, len(exact), exact.dimension + augmented)
        built = self._empty(faiss, shape)
        with _threads(faiss, 1 if self.method == "hnsw" else None):
            if self.method != "hnsw":
                built.train(_training_points(exact, augmented, shape, self.seed))
            for start in range(0, len(exact), CHUNK):
                built.add(shape.padded(points_of(exact, augmented, slice(start, start + CHUNK))))
        return FaissIndex(exact, built, augmented, self)

    def _empty(self, faiss: ModuleType, shape: "Shape") -> Any:
        metric = faiss.METRIC_INNER_PRODUCT
        if self.method == "hnsw":
            graph = faiss.IndexHNSWFlat(shape.width, self.links, metric)
            graph.hnsw.efConstruction = self.build_effort
            return graph
        centroids = faiss.IndexFlatIP(shape.width)
        if self.method == "ivf_flat":
            index = faiss.IndexIVFFlat(centroids, shape.width, shape.lists, metric)
        else:
            index = faiss.IndexIVFPQ(centroids, shape.width, shape.lists, shape.code_bytes, 8, metric)
            index.pq.cp.seed = self.seed
            index.pq.cp.min_points_per_centroid = 1
        index.cp.seed = self.seed
        index.cp.min_points_per_centroid = 1  # small catalogues are no reason for a warning
        return index


@dataclass(frozen=True)
class Shape:
    """Sizes of a structure, all of which follow from the settings and the catalogue.

    Attributes:
        width: numbers of a point; those of an `ivf_pq` are filled up with zeros to whole pieces.
        lists: number of lists.
        code_bytes: bytes of a code.
    """

    width: int
    lists: int
    code_bytes: int

    @classmethod
    def of(cls, settings: Faiss, count: int, width: int) -> "Shape":
        """The sizes for `count` points of `width` numbers."""
        lists = settings.lists or min(round(4 * math.sqrt(count)), count // 39)
        code_bytes = min(settings.code_bytes or -(-width // 2), width)
        if settings.method == "ivf_pq":
            width = -(-width // code_bytes) * code_bytes
        return cls(width, min(max(1, lists), count), code_bytes)

    def padded(self, points: np.ndarray) -> np.ndarray:
        """Points as float32, of the width of the structure."""
        missing = self.width - points.shape[1]
        return np.pad(points, ((0, 0), (0, missing))).astype(np.float32)


class FaissIndex(ApproximateIndex[Faiss]):
    """Finds most of the candidates with the largest inner product, by a graph or by lists of centroids.

    Made by `Faiss.build` or `load_bundle`.
    The structure is faiss' index.
    """

    @property
    def exhaustive(self) -> int:
        """The `search_k` from which every candidate is looked at: all lists, or as many steps as items."""
        return len(self) if self.settings.method == "hnsw" else self.structure.nlist

    def efforts(self, k: int) -> Iterator[int]:
        return super().efforts(k) if self.settings.method == "hnsw" else doubling(1, self.exhaustive)

    def looks(self, effort: float) -> float:
        if self.settings.method == "hnsw":
            # Each step of a search looks at the links of one candidate, of which about half are new.
            return effort * self.settings.links
        return effort * len(self) / self.structure.nlist

    def nearest(self, query: np.ndarray, n: int, effort: int) -> np.ndarray:
        faiss = library()
        point = np.zeros((1, self.structure.d), np.float32)
        point[0, : len(query)] = query
        if self.settings.method == "hnsw":
            params = faiss.SearchParametersHNSW(efSearch=max(effort, n))
        else:
            params = faiss.SearchParametersIVF(nprobe=effort)
        if self.settings.method == "ivf_pq":
            n = min(n * (self.settings.oversampling or 1), len(self))
        _, rows = self.structure.search(point, n, params=params)
        return rows[0][rows[0] >= 0].astype(np.int64)

    def save(self, directory: Path) -> list[str]:
        (directory / FILE).write_bytes(library().serialize_index(self.structure).tobytes())
        return [FILE]

    def facts(self) -> dict[str, Any]:
        return {"augmented": self.augmented, "faiss_version": library().__version__}

    @classmethod
    def open(
        cls,
        directory: Path,
        facts: dict[str, Any],
        exact: ExactIndex,
        settings: Faiss,
        table: TuningTable,
    ) -> "FaissIndex":
        """Opens the file of `save`.

        Raises:
            ConfigError: if faiss is not installed.
            ReleaseError: if it holds another kind of index or another catalogue.
        """
        faiss, path = library(), directory / FILE
        shape = Shape.of(settings, len(exact), exact.dimension + facts["augmented"])
        try:
            # Mapped where the version of faiss can: processes of a service share it.
            structure = faiss.read_index(str(path), getattr(faiss, "IO_FLAG_MMAP_IFC", 0))
        except (RuntimeError, MemoryError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ReleaseError(f"{path} cannot be opened: {reason}. Export again.") from error
        difference = _difference(structure, settings, shape, len(exact))
        if difference:
            raise ReleaseError(f"{path} is foreign: {difference}. Export again.")
        return cls(exact, structure, facts["augmented"], settings, table)


def library() -> ModuleType:
    """The library.

    Raises:
        ConfigError: if it is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise ConfigError(
            "An index of faiss needs the package faiss-cpu. Install it: pip install 'tfrecall[ann]'. Or take "
            "another index (exact, annoy): `tfrecall index RELEASE --index exact` makes a version without."
        ) from error
    return faiss


def _training_points(exact: ExactIndex, augmented: bool, shape: Shape, seed: int) -> np.ndarray:
    wanted = max(POINTS_A_LIST * max(shape.lists, CODES), CODES)
    rows = np.arange(len(exact))
    if len(rows) > wanted:
        rows = np.sort(np.random.default_rng(seed).choice(rows, wanted, replace=False))
    points = points_of(exact, augmented, rows)
    # Codes need as many points as they can have values: those of a small catalogue are repeated.
    return shape.padded(np.resize(points, (max(len(points), CODES), points.shape[1])))


@contextmanager
def _threads(faiss: ModuleType, count: int | None) -> Iterator[None]:
    """Sets the number of threads of faiss for a while; None leaves it."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count or before)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _difference(structure: Any, settings: Faiss, shape: Shape, count: int) -> str:
    """What a file that came from elsewhere holds unlike its manifest; empty for nothing."""
    faiss = library()
    kinds: dict[str, Any] = {
        "hnsw": faiss.IndexHNSWFlat,
        "ivf_flat": faiss.IndexIVFFlat,
        "ivf_pq": faiss.IndexIVFPQ,
    }
    if type(structure) is not kinds[settings.method]:
        return f"it holds a {type(structure).__name__}, the manifest says {settings.method}"
    if (structure.ntotal, structure.d) != (count, shape.width):
        return (
            f"it holds {structure.ntotal} points of {structure.d} numbers, the manifest says {count} of "
            f"{shape.width}"
        )
    if structure.metric_type != faiss.METRIC_INNER_PRODUCT:
        return "it compares by another metric than the inner product"
    if settings.method == "hnsw":
        whole = _is_whole_graph(faiss, structure, count)
        return "" if whole else "its links lead to items that are not there"
    if structure.nlist != shape.lists:
        return f"it has {structure.nlist} lists, the manifest says {shape.lists}"
    rows = _listed(faiss, structure)
    return (
        ""
        if np.array_equal(np.sort(rows), np.arange(count))
        else "its lists do not hold each item once"
    )


def _is_whole_graph(faiss: ModuleType, structure: Any, count: int) -> bool:
    """Whether each link leads to an item, and each item has as many places for links as its floors need."""
    graph = structure.hnsw
    links, levels = faiss.vector_to_array(graph.neighbors), faiss.vector_to_array(graph.levels)
    offsets = faiss.vector_to_array(graph.offsets).astype(np.int64)
    places = faiss.vector_to_array(graph.cum_nneighbor_per_level)
    if len(levels) != count or len(offsets) != count + 1 or structure.storage.ntotal != count:
        return False
    if levels.min() < 1 or levels.max() >= len(places) or offsets[0] != 0 or offsets[-1] != len(links):
        return False
    sound = (
        np.array_equal(np.diff(offsets), places[levels])
        and links.min(initial=-1) >= -1
        and links.max(initial=-1) < count
        and 0 <= graph.entry_point < count
        and levels[graph.entry_point] == graph.max_level + 1 == levels.max()
    )
    return sound and all(
        _stays_on_its_floor(links, levels, offsets, places[floor : floor + 2], floor)
        for floor in range(1, levels.max())
    )


def _stays_on_its_floor(
    links: np.ndarray, levels: np.ndarray, offsets: np.ndarray, places: np.ndarray, floor: int
) -> bool:
    """Whether links of a floor above the ground lead to items of that floor: others have no places there."""
    starts = offsets[:-1][levels > floor]
    found = links[starts[:, np.newaxis] + np.arange(*places)]
    return bool((levels[found[found >= 0]] > floor).all())


def _listed(faiss: ModuleType, structure: Any) -> np.ndarray:
    """Rows of the catalogue in all lists, one list after another: int64."""
    lists = structure.invlists
    parts = [
        faiss.rev_swig_ptr(lists.get_ids(place), lists.list_size(place)).copy()
        for place in range(lists.nlist)
        if lists.list_size(place)
    ]
    return np.concatenate(parts) if parts else np.empty(0, np.int64)
