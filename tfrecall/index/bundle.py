"""Index bundles on disk: vectors, ids, trees, and a manifest with sizes and checksums.

    vectors.npy    float32, C order, one row per candidate
    ids.parquet    column `item_id`, in row order
    manifest.json  format, sizes and SHA-256 of the files, metric, tuning table, model fingerprint
    index.ann      Annoy's trees, index-0.ann, index-1.ann, ... of several forests; or
    index.faiss    faiss' graph or lists; or
    scann_*        and other files of ScaNN; or none of these
    bfloat16.npy   or int8.npy, a smaller copy of the vectors for the first pass of exact search; none with
                   storage float32
    errors.npy     scales and errors of the rows of that copy

The manifest carries a checksum of itself. A bundle appears whole or not at all.

Vectors of 200,000 x 64 take 51 MB here, and again in other places that cannot share the file: `index.ann`
holds them in Annoy's own layout, scaled by the longest and with one more number, from which float32 cannot
restore them to the bit; the SavedModel `retrieval`, and that of a pipeline, have them in a variable,
because TF Serving reads no file but those of one directory; the SavedModel `candidate` has the tables that
vectors are computed from. In memory there is one copy: all indexes of a bundle map `vectors.npy`.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import polars as pl

from tfrecall.core.manifests import check_file, restore
from tfrecall.core.storage import staged_directory
from tfrecall.errors import ConfigError, ExportError, ReleaseError, nearest
from tfrecall.index.annoy import Annoy, AnnoyIndex
from tfrecall.index.approximate import Approximate, ApproximateIndex
from tfrecall.index.exact import Exact, ExactIndex
from tfrecall.index.faiss import Faiss, FaissIndex
from tfrecall.index.manifest import MANIFEST, read_manifest, write_manifest
from tfrecall.index.reduced import Storage, open_reduced, reduced_files
from tfrecall.index.scann import Scann, ScannIndex
from tfrecall.index.search import Hits, ItemScore
from tfrecall.index.tuning import TuningTable

VECTORS, IDS = "vectors.npy", "ids.parquet"
ID_COLUMN = "item_id"
# Below, the matrix product beats the trees at recall .95; above, it depends on the vectors.
EXACT_BELOW = 50_000
# An index to build: an approximate one beside exact search, or exact search alone.
IndexSettings = Approximate | Exact
# Settings that earlier versions did not have and did not write: their defaults are what these versions did.
LATER = {"shards"}
# Approximate indexes: settings, and the index that opens their files.
KINDS: dict[str, tuple[type[Approximate], Any]] = {
    Annoy.name: (Annoy, AnnoyIndex),
    Faiss.name: (Faiss, FaissIndex),
    Scann.name: (Scann, ScannIndex),
}


@dataclass(frozen=True)
class Bundle:
    """The indexes over one catalogue.

    Attributes:
        exact: exact search.
        approximate: approximate search; None if the bundle was written without.
        manifest: contents of `manifest.json`.
    """

    exact: ExactIndex
    approximate: ApproximateIndex[Any] | None
    manifest: dict[str, Any]

    @property
    def annoy(self) -> AnnoyIndex | None:
        """The approximate index, if it is one of Annoy."""
        return self.approximate if isinstance(self.approximate, AnnoyIndex) else None

    @property
    def names(self) -> list[str]:
        """Names of the indexes there are, `exact` first."""
        return ["exact", *([] if self.approximate is None else [self.approximate.settings.name])]

    @property
    def default(self) -> str:
        """The approximate index from 50,000 items on if it was measured to be faster, else `exact`."""
        index = self.approximate
        if index is None or index.table is None or len(self.exact) < EXACT_BELOW:
            return "exact"
        return self.names[-1] if index.table.chosen.p50_us < index.table.exact_p50_us else "exact"

    def index(self, name: str | None = None) -> ExactIndex | ApproximateIndex[Any]:
        """The index called `exact`, or by its name the approximate one; None for the default.

        Raises:
            ConfigError: if the bundle has no index of that name.
        """
        indexes = (self.exact, self.approximate)
        present = {
            key: index for key, index in zip(self.names, indexes, strict=False) if index is not None
        }
        name = self.default if name is None else name
        if name not in present:
            raise ConfigError(
                f'This bundle has no index "{name}".{nearest(name, present)} '
                f"Choose one of: {', '.join(present)}."
            )
        return present[name]

    @cached_property
    def directions(self) -> ExactIndex:
        """The catalogue by vectors of length one; a zero vector stays one. In memory from the first use on."""
        if self.exact.normalized:
            return self.exact
        vectors = np.asarray(self.exact.vectors, np.float64)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit = np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)
        return ExactIndex(unit.astype(np.float32), self.exact.ids, 1.0, normalized=False)

    def similar(self, row: int, k: int, score: ItemScore = "cosine", index: str | None = None) -> Hits:
        """Finds the items most similar to one, without itself.

        By inner product an item of a long vector, a popular one, is near everything. By cosine length does
        not count. Trees are planted for inner products: where lengths differ, cosines are compared exactly,
        whichever index is asked.

        Args:
            row: row of the item.
            k: from 1 to the size of the catalogue.
            score: `cosine`, or `inner` for the inner product.
            index: `exact`, or the name of the approximate index; None for the default.

        Raises:
            ConfigError: if there is no such score or index, or `k` is impossible.
        """
        if score not in get_args(ItemScore):
            raise ConfigError(
                f'Items are compared by "cosine" or by "inner", the inner product. Received: {score!r}.'
                f"{nearest(str(score), get_args(ItemScore))}"
            )
        search, exact = self.index(index), self.exact
        if score == "cosine" and not self.exact.normalized:
            search = exact = self.directions
        return search.search(np.asarray(exact.vectors[row : row + 1]), k, exclude=[np.array([row])])

    @property
    def tuning(self) -> dict[str, Any]:
        """Tuning table of the approximate index, in plain types; empty without one."""
        table = self.approximate.table if self.approximate is not None else None
        return table.to_dict() if table is not None else {}

    def summary(self) -> dict[str, dict[str, float]]:
        """Recall, effort and latency of the approximate index, as in `metrics.json`; empty without one."""
        index = self.approximate
        if index is None or index.table is None:
            return {}
        chosen, k = index.table.chosen, index.table.k
        unseen = chosen.recall_excluding
        return {
            index.settings.name: {
                f"recall@{k}": chosen.recall,
                **({} if unseen is None else {f"recall@{k}_excluding": unseen}),
                "search_k": chosen.search_k,
                **index.settings.summary(),
                "p50_us": chosen.p50_us,
            }
        }


def write_bundle(
    directory: str | Path,
    vectors: np.ndarray,
    ids: Sequence[str] | np.ndarray | pl.Series,
    annoy: IndexSettings | None = Annoy(),  # noqa: B008 - frozen, so one default serves all calls
    tuning_queries: np.ndarray | None = None,
    model: str | None = None,
    interests: int = 1,
    tuning_exclude: Sequence[np.ndarray] | None = None,
    storage: Storage = "float32",
) -> Bundle:
    """Builds the indexes, writes them, and opens the written files.

    Args:
        directory: must not exist yet, so that a bundle in use is never changed.
        vectors: number `[n, d]`.
        ids: `n` distinct strings.
        annoy: configuration of an approximate index in addition to the exact one: `Annoy`, `Faiss` or `Scann`.
            None for none; neither is any with `Exact`, whose storage then counts.
        tuning_queries: query vectors to tune the approximate index with; None for a sample of the catalogue.
        model: fingerprint of the model that made the vectors; `load_bundle` can ask for it.
        interests: number of vectors that a query of that model has.
        tuning_exclude: for each of the tuning queries the rows that its lists will leave out, as for
            `Annoy.build`.
        storage: numbers of the copy that exact search reads, as for `Exact`.

    Raises:
        ConfigError: if the directory exists, or a library is not installed.
        DataError: if the catalogue is empty, a number is not finite, or an id is null, empty or repeated.
        ExportError: if it cannot be written, on a full disk for example. Nothing is left behind.
    """
    directory = Path(directory)
    if directory.exists():
        raise ConfigError(
            f"{directory} exists already, and an index bundle is never changed in place. "
            "Write the next version into a new directory, or remove this one first."
        )
    exact, index = build_indexes(annoy, vectors, ids, storage, tuning_queries, tuning_exclude)
    facts = {**_facts(exact, index, model), "interests": interests}
    try:
        with staged_directory(directory) as staged:
            _write_files(staged, exact, index, facts)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ExportError(
            f"The index bundle {directory} could not be written: {error}. "
            "Check the permissions and the free space there."
        ) from error
    # Without verification: the checksums were computed from these files a moment ago.
    return load_bundle(directory, verify=False, model=model)


def build_indexes(
    settings: IndexSettings | None,
    vectors: np.ndarray,
    ids: Sequence[str] | np.ndarray | pl.Series,
    storage: Storage = "float32",
    tuning_queries: np.ndarray | None = None,
    tuning_exclude: Sequence[np.ndarray] | None = None,
) -> tuple[ExactIndex, ApproximateIndex[Any] | None]:
    """Builds the exact index of a catalogue, and the approximate one if there is to be one.

    Arguments and errors are those of `write_bundle`.
    """
    if isinstance(settings, Exact):
        return settings.build(vectors, ids), None
    exact = Exact(storage).build(vectors, ids)
    if settings is None:
        return exact, None
    return exact, settings.build_over(exact, tuning_queries, tuning_exclude)


def _write_files(
    directory: Path, exact: ExactIndex, index: ApproximateIndex[Any] | None, facts: dict[str, Any]
) -> None:
    np.save(directory / VECTORS, exact.vectors)
    ids = pl.Series(exact.ids.tolist(), dtype=pl.String)
    pl.DataFrame({ID_COLUMN: ids}).write_parquet(directory / IDS)
    files = [VECTORS, IDS]
    if exact.reduced is not None:
        files += exact.reduced.save(directory)
    if index is not None:
        files += index.save(directory)
    write_manifest(directory, facts, files)


def load_bundle(
    directory: str | Path, verify: bool = True, mmap: bool = True, model: str | None = None
) -> Bundle:
    """Opens a bundle.

    Args:
        directory: a bundle, as `write_bundle` writes it.
        verify: whether to compare the checksum of every file, which reads all of them. Without,
            only their sizes are compared: Annoy takes any file of the right size and then answers
            nonsense or crashes, so leave it on for files that came over a network.
        mmap: whether to map the vectors into memory instead of reading them, so that processes on
            one machine share them.
        model: the fingerprint that the bundle must have been written with; None to accept any.

    Raises:
        ReleaseError: naming the file that is missing, truncated, altered, of another model or of a
            format this version does not know.
    """
    directory = Path(directory)
    manifest = read_manifest(directory, model)
    files = manifest["files"]
    storage: Storage = manifest.get("storage", "float32")
    kind = next((name for name in KINDS if manifest.get(name)), None)
    for name in [VECTORS, IDS, *reduced_files(storage)]:
        _check_listed(directory, files, name)
    for name, facts in files.items():
        check_file(directory / name, facts, contents=verify)
    exact = _open_exact(directory, manifest, mmap)
    return Bundle(exact, None if kind is None else _open(directory, kind, manifest, exact), manifest)


def _check_listed(directory: Path, files: dict[str, Any], name: str) -> None:
    if name not in files:
        raise ReleaseError(
            f"{directory / MANIFEST} is damaged or foreign at files: {name} is not listed. Export again."
        )


def _facts(exact: ExactIndex, index: ApproximateIndex[Any] | None, model: str | None) -> dict[str, Any]:
    return {
        "metric": "inner_product",
        "dimension": exact.dimension,
        "count": len(exact),
        "normalized": exact.normalized,
        "max_norm": exact.max_norm,
        "storage": exact.storage,
        "model": model,
        "annoy": None,
        **({} if index is None else {index.settings.name: _describe(index)}),
    }


def _describe(index: ApproximateIndex[Any]) -> dict[str, Any]:
    """Facts to open the index again, and its measured recall and latency."""
    if index.table is None:
        raise ConfigError("Only a tuned index can be written. Make it with `build`.")
    return {
        **asdict(index.settings),
        "recall": index.table.chosen.recall,
        "p50_us": index.table.chosen.p50_us,
        "tuning": index.table.to_dict(),
        **index.facts(),
    }


def _open_exact(directory: Path, manifest: dict[str, Any], mmap: bool) -> ExactIndex:
    expected = (manifest["count"], manifest["dimension"])
    try:
        vectors = np.load(directory / VECTORS, mmap_mode="r" if mmap else None, allow_pickle=False)
        ids = pl.read_parquet(directory / IDS)[ID_COLUMN]
    except (EOFError, OSError, ValueError, pl.exceptions.PolarsError) as error:
        raise ReleaseError(
            f"{VECTORS} or {IDS} in {directory} cannot be read: {error}. Export again."
        ) from error
    if vectors.shape != expected or vectors.dtype != np.float32:
        raise ReleaseError(
            f"{directory / VECTORS} is foreign: it holds {vectors.dtype} {vectors.shape}, "
            f"{MANIFEST} says float32 {expected}. Export again."
        )
    if len(ids) != expected[0]:
        raise ReleaseError(
            f"{directory / IDS} is foreign: it holds {len(ids)} ids, {MANIFEST} says "
            f"{expected[0]}. Export again."
        )
    names = np.array(ids.to_list(), dtype=object)
    reduced = open_reduced(directory, manifest.get("storage", "float32"), expected, mmap)
    return ExactIndex(vectors, names, manifest["max_norm"], manifest["normalized"], reduced)


def _open(
    directory: Path, kind: str, manifest: dict[str, Any], exact: ExactIndex
) -> ApproximateIndex[Any]:
    facts, (settings_of, index_of) = manifest[kind], KINDS[kind]
    place = f"{directory / MANIFEST}, {kind}"
    # The classes check the values themselves; `restore` turns their errors into one about the file.
    given = {field.name for field in fields(cast(Any, settings_of))} - (LATER - facts.keys())
    settings = restore(place, lambda: settings_of(**{name: facts[name] for name in given}))
    table = restore(f"{place}.tuning", lambda: TuningTable.from_dict(facts["tuning"]))
    for name in settings.files(len(exact)):
        _check_listed(directory, manifest["files"], name)
    return index_of.open(directory, facts, exact, settings, table)
