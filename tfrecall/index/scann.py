"""Approximate search with ScaNN: leaves of a tree, and codes whose errors matter least for inner products.

Vectors are compared as `approximate.py` says. The package `scann` is the extra `scann`, loaded where an index
is built or opened. Only its NumPy part is: `import scann` loads its operations for TensorFlow, too, wherever
TensorFlow is installed, and they fit one version of it (2.20 for ScaNN 1.4). ScaNN takes no seed: two builds
are alike in quality, not in their bytes.

Reference:
    Guo et al., "Accelerating Large-Scale Inference with Anisotropic Vector Quantization", ICML 2020.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from tfrecall.errors import ConfigError, ReleaseError
from tfrecall.index.approximate import (
    Approximate,
    ApproximateIndex,
    is_augmented,
    oversampled,
    points_of,
)
from tfrecall.index.exact import ExactIndex
from tfrecall.index.threads import thread_count
from tfrecall.index.tuning import TuningTable, doubling

# Below, the leaves hold vectors: codes have to be trained, and save nothing.
CODES_FROM = 1000
ASSETS = "scann_assets.pbtxt"
TREE = [ASSETS, "scann_config.pb", "serialized_partitioner.pb", "datapoint_to_token.npy"]
# Weight of the error along a vector against that across it, as its authors advise for unit vectors.
ANISOTROPIC = 0.2


@dataclass(frozen=True)
class Scann(Approximate):
    """Configuration of a ScaNN index.

    Args:
        leaves: number of leaves; None for `2 * sqrt(n)`.
        oversampling: candidates by codes for each that is wanted; all are scored exactly. None to tune it with
            the effort, from 2 to 32.
        target_recall: share of the true best `tune_k` to find, in (0, 1].
        tune_k: the `k` that the effort is tuned for; larger ones get proportionally more.
        search_k: the effort: leaves looked through; None to tune it.
        seed: seed of the sample of queries. ScaNN itself takes none.
    """

    name: ClassVar[str] = "scann"

    leaves: int | None = None
    oversampling: int | None = None
    target_recall: float = 0.95
    tune_k: int = 100
    search_k: int | None = None
    seed: int = 42

    def whole_numbers(self) -> dict[str, int]:
        return {"leaves": 1, "oversampling": 1, **super().whole_numbers()}

    def variants(self) -> list[Approximate]:
        return oversampled(self)

    def summary(self) -> dict[str, Any]:
        return {"oversampling": self.oversampling}

    def files(self, count: int) -> list[str]:
        codes = ["hashed_dataset.npy", "ah_codebook.pb"]
        return [*TREE, *(codes if count >= CODES_FROM else ["dataset.npy"])]

    def leaves_of(self, count: int) -> int:
        """Number of leaves over `count` items."""
        return min(self.leaves or round(2 * math.sqrt(count)), count)

    def structure(self, exact: ExactIndex) -> "ScannIndex":
        augmented, count = is_augmented(exact), len(exact)
        points = points_of(exact, augmented, slice(0, count)).astype(np.float32)
        builder = _module("scann_builder", "py/scann_builder.py").ScannBuilder(points, 1, "dot_product")
        builder = builder.tree(
            num_leaves=self.leaves_of(count),
            num_leaves_to_search=1,
            training_sample_size=min(count, 250_000),
            min_partition_size=1,
        )
        if count >= CODES_FROM:
            builder = builder.score_ah(2, anisotropic_quantization_threshold=ANISOTROPIC)
        else:
            builder = builder.score_brute_force(quantize=False)
        searcher = _library().ScannNumpy(points, builder.create_config(), thread_count())
        return ScannIndex(exact, searcher, augmented, self)


class ScannIndex(ApproximateIndex[Scann]):
    """Finds most of the candidates with the largest inner product, by leaves of a tree and codes.

    Made by `Scann.build` or `load_bundle`.
    The structure is ScaNN's searcher.
    """

    @property
    def leaves(self) -> int:
        """Number of leaves of the tree."""
        return self.settings.leaves_of(len(self))

    @property
    def exhaustive(self) -> int:
        """The `search_k` from which every candidate is looked at: all leaves."""
        return self.leaves

    def efforts(self, k: int) -> Iterator[int]:
        return doubling(1, self.exhaustive)

    def looks(self, effort: float) -> float:
        return effort * len(self) / self.leaves

    def nearest(self, query: np.ndarray, n: int, effort: int) -> np.ndarray:
        wanted = min(n * (self.settings.oversampling or 1), len(self))
        rows, _ = self.structure.search(query.astype(np.float32), wanted, wanted, effort)
        return np.asarray(rows).astype(np.int64)

    def save(self, directory: Path) -> list[str]:
        self.structure.serialize(str(directory), True)
        return self.settings.files(len(self))

    def facts(self) -> dict[str, Any]:
        return {"augmented": self.augmented, "scann_version": _version()}

    @classmethod
    def open(
        cls,
        directory: Path,
        facts: dict[str, Any],
        exact: ExactIndex,
        settings: Scann,
        table: TuningTable,
    ) -> "ScannIndex":
        """Opens the files of `save`.

        Raises:
            ConfigError: if ScaNN is not installed.
            ReleaseError: if they lead to other files, cannot be read, or hold another catalogue.
        """
        names, assets = sorted(settings.files(len(exact))), _assets(directory)
        # Another path would be read as well, wherever it leads.
        if sorted(re.findall(r'asset_path: "(.*)"', assets)) != [
            name for name in names if name not in (ASSETS, "scann_config.pb")
        ]:
            raise ReleaseError(f"{directory / ASSETS} is foreign: it names other files. Export again.")
        searcher = _opened(directory, assets, exact.dimension + facts["augmented"])
        if searcher.size() != len(exact):
            raise ReleaseError(
                f"The files of ScaNN in {directory} are foreign: they hold {searcher.size()} items, the "
                f"manifest says {len(exact)}. Export again."
            )
        return cls(exact, searcher, facts["augmented"], settings, table)


def _assets(directory: Path) -> str:
    """The file that names the others."""
    try:
        return (directory / ASSETS).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ReleaseError(f"{directory / ASSETS} cannot be read: {error}. Export again.") from error


def _opened(directory: Path, assets: str, width: int) -> Any:
    """The searcher of some files, asked once: a structure of another dimension says so then."""
    library = _library()
    try:
        searcher = library.ScannNumpy(str(directory), assets)
        searcher.search(np.zeros(width, np.float32), 1, 1, 1)
    except (RuntimeError, ValueError, OSError) as error:
        raise ReleaseError(
            f"The files of ScaNN in {directory} cannot be opened: {error}. Export again."
        ) from error
    return searcher


def _library() -> ModuleType:
    """The extension that holds the index."""
    return _module("scann_pybind", "cc/python/scann_pybind.so")


@lru_cache
def _module(name: str, path: str) -> ModuleType:
    """A module of the package, loaded by its file.

    Raises:
        ConfigError: if it is not installed, or does not fit this machine.
    """
    package = find_spec("scann")
    try:
        if package is None or not package.submodule_search_locations:
            raise ImportError("no package scann")
        file = Path(package.submodule_search_locations[0]) / "scann_ops" / path
        spec = spec_from_file_location(name, file)
        if spec is None or spec.loader is None:
            raise ImportError(f"no module at {file}")
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
    except (ImportError, OSError) as error:
        raise ConfigError(
            "An index of ScaNN needs the package scann, which there is for Linux "
            f"({error}). Install it: pip install 'tfrecall[scann]'. Or take another index: "
            "`tfrecall index RELEASE --index exact` makes a version without."
        ) from error
    return module


def _version() -> str:
    try:
        return version("scann")
    except PackageNotFoundError:
        return "unknown"
