"""Index bundles on disk: vectors, ids, trees, and a manifest with sizes and checksums.

    index.ann      Annoy's trees (left out when the bundle has none)
    vectors.npy    float32, C order, one row per candidate
    ids.parquet    column `item_id`, in row order
    manifest.json  format, sizes and SHA-256 of the files, metric, tuning table, model fingerprint

The manifest carries a checksum of itself. A bundle appears whole or not at all.

Vectors of 200,000 x 64 take 51 MB here, and again in other places that cannot share the file: `index.ann`
holds them in Annoy's own layout, scaled by the longest and with one more number, from which float32 cannot
restore them to the bit; the SavedModel `retrieval` has them as a constant, because TF Serving reads no
file but its own directory; the SavedModel `candidate` has the tables that vectors are computed from.
In memory there is one copy: all indexes of a bundle map `vectors.npy`.
"""

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np
import polars as pl
from pydantic import Field

from tfrecall.core.manifests import (
    Facts,
    FileFacts,
    check_facts_of,
    check_file,
    describe,
    is_sealed,
    manifest_checksum,
    parse_manifest,
    restore,
)
from tfrecall.core.storage import staged_directory
from tfrecall.errors import ConfigError, ExportError, ReleaseError, nearest
from tfrecall.index.annoy import Annoy, AnnoyIndex, open_forest
from tfrecall.index.exact import Exact, ExactIndex
from tfrecall.index.search import Hits, ItemScore
from tfrecall.index.tuning import TuningTable

FORMAT = "tfrecall.index"
FORMAT_VERSION = 1
MANIFEST = "manifest.json"


class AnnoyFacts(Facts):
    """The approximate index; settings and tuning are checked by the classes made of them."""

    metric: Literal["angular", "augmented_angular"]
    tuning: dict[str, Any]


class IndexFacts(Facts):
    """The schema of an index's manifest."""

    dimension: Annotated[int, Field(ge=1)]
    count: Annotated[int, Field(ge=1)]
    normalized: bool
    max_norm: float
    model: str | None
    annoy: AnnoyFacts | None
    # Plain names: a foreign manifest must not lead to files outside its directory.
    files: dict[Annotated[str, Field(pattern=r"^[^/\\]+$")], FileFacts]


def write_manifest(directory: Path, facts: dict[str, Any], files: list[str]) -> None:
    """Writes the manifest of a finished bundle.

    Args:
        directory: where the files lie.
        facts: further keys of the manifest, of JSON types.
        files: names of the files to describe by size and checksum.
    """
    manifest = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        **facts,
        "files": {name: describe(directory / name) for name in files},
    }
    manifest["sha256"] = manifest_checksum(manifest)
    text = json.dumps(manifest, indent=2) + "\n"
    (directory / MANIFEST).write_text(text, encoding="utf-8")


def read_manifest(directory: Path, model: str | None) -> dict[str, Any]:
    """Reads and checks the manifest of a bundle.

    Args:
        directory: the bundle.
        model: the required fingerprint of the model; None to accept any.

    Raises:
        ReleaseError: if it is missing, no manifest, altered, of another format or of another model.
    """
    path = directory / MANIFEST
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ReleaseError(
            f"{path} is missing, so {directory} is no index bundle. "
            "Pass the directory that `write_bundle` wrote."
        ) from error
    except UnicodeDecodeError as error:
        raise ReleaseError(f"{path} is truncated or altered: {error}. Export again.") from error
    except OSError as error:
        raise ReleaseError(f"{path} cannot be read: {error}. Check its permissions.") from error
    manifest = parse_manifest(text, path)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ReleaseError(f'{path} is foreign: it does not say "format": "{FORMAT}".')
    if manifest.get("format_version") != FORMAT_VERSION:
        raise ReleaseError(
            f"{path} has format version {manifest.get('format_version')!r}; this version of "
            f"tfrecall reads {FORMAT_VERSION}. Export again, or use the version that wrote it."
        )
    if not is_sealed(manifest):
        raise ReleaseError(f"{path} was altered: its checksum is another one. Export again.")
    check_facts_of(path, manifest, IndexFacts)
    if model is not None and manifest["model"] != model:
        raise ReleaseError(
            f"{path} belongs to another model: it was written for {manifest['model']!r}, asked for "
            f"is {model!r}. Export model and index together."
        )
    return manifest


FOREST, VECTORS, IDS = "index.ann", "vectors.npy", "ids.parquet"
ID_COLUMN = "item_id"
# Below, the matrix product beats the trees at recall .95; above, it depends on the vectors.
EXACT_BELOW = 50_000
CPU_NOTE = (
    "The file loads on any little-endian machine. The annoy package itself is compiled for the CPU "
    "it is installed on (-march=native); moved to another it can stop with SIGILL. "
    "Compile it there, or set ANNOY_COMPILER_ARGS."
)


@dataclass(frozen=True)
class Bundle:
    """The indexes over one catalogue.

    Attributes:
        exact: exact search.
        annoy: approximate search; None if the bundle was written without.
        manifest: contents of `manifest.json`.
    """

    exact: ExactIndex
    annoy: AnnoyIndex | None
    manifest: dict[str, Any]

    @property
    def default(self) -> str:
        """`annoy` from 50,000 items on if it was measured to be faster, else `exact`."""
        if self.annoy is None or self.annoy.table is None or len(self.exact) < EXACT_BELOW:
            return "exact"
        table = self.annoy.table
        return "annoy" if table.chosen.p50_us < table.exact_p50_us else "exact"

    def index(self, name: str | None = None) -> ExactIndex | AnnoyIndex:
        """The index called `exact` or `annoy`; None for the default.

        Raises:
            ConfigError: if the bundle has no index of that name.
        """
        indexes = {"exact": self.exact, "annoy": self.annoy}
        present = {key: index for key, index in indexes.items() if index is not None}
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
            index: `exact` or `annoy`; None for the default.

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
        table = self.annoy.table if self.annoy is not None else None
        return table.to_dict() if table is not None else {}

    def summary(self) -> dict[str, dict[str, float]]:
        """Recall, effort and latency of the approximate index, as in `metrics.json`; empty without one."""
        if self.annoy is None or self.annoy.table is None:
            return {}
        chosen, k = self.annoy.table.chosen, self.annoy.table.k
        unseen = chosen.recall_excluding
        return {
            "annoy": {
                f"recall@{k}": chosen.recall,
                **({} if unseen is None else {f"recall@{k}_excluding": unseen}),
                "search_k": chosen.search_k,
                "n_trees": self.annoy.settings.n_trees,
                "p50_us": chosen.p50_us,
            }
        }


def write_bundle(
    directory: str | Path,
    vectors: np.ndarray,
    ids: Sequence[str] | np.ndarray | pl.Series,
    annoy: Annoy | None = Annoy(),  # noqa: B008 - frozen, so one default serves all calls
    tuning_queries: np.ndarray | None = None,
    model: str | None = None,
    interests: int = 1,
    tuning_exclude: Sequence[np.ndarray] | None = None,
) -> Bundle:
    """Builds the indexes, writes them, and opens the written files.

    Args:
        directory: must not exist yet, so that a bundle in use is never changed.
        vectors: number `[n, d]`.
        ids: `n` distinct strings.
        annoy: configuration of an approximate index in addition to the exact one; None for none.
        tuning_queries: query vectors to tune the approximate index with; None for a sample of the catalogue.
        model: fingerprint of the model that made the vectors; `load_bundle` can ask for it.
        interests: number of vectors that a query of that model has.
        tuning_exclude: for each of the tuning queries the rows that its lists will leave out, as for
            `Annoy.build`.

    Raises:
        ConfigError: if the directory exists.
        DataError: if the catalogue is empty, a number is not finite, or an id is null, empty or repeated.
        ExportError: if it cannot be written, on a full disk for example. Nothing is left behind.
    """
    directory = Path(directory)
    if directory.exists():
        raise ConfigError(
            f"{directory} exists already, and an index bundle is never changed in place. "
            "Write the next version into a new directory, or remove this one first."
        )
    exact = Exact().build(vectors, ids)
    index = None if annoy is None else annoy.build_over(exact, tuning_queries, tuning_exclude)
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


def _write_files(
    directory: Path, exact: ExactIndex, index: AnnoyIndex | None, facts: dict[str, Any]
) -> None:
    np.save(directory / VECTORS, exact.vectors)
    ids = pl.Series(exact.ids.tolist(), dtype=pl.String)
    pl.DataFrame({ID_COLUMN: ids}).write_parquet(directory / IDS)
    if index is not None:
        index.forest.save(str(directory / FOREST))
        index.forest.unload()  # `save` maps the file, and a mapped file pins its directory
    files = [VECTORS, IDS] + ([] if index is None else [FOREST])
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
    for name in [VECTORS, IDS] + ([] if manifest["annoy"] is None else [FOREST]):
        if name not in files:
            raise ReleaseError(
                f"{directory / MANIFEST} is damaged or foreign at files: {name} is not listed. Export again."
            )
    for name, facts in files.items():
        check_file(directory / name, facts, contents=verify)
    exact = _open_exact(directory, manifest, mmap)
    annoy = None if manifest["annoy"] is None else _open_annoy(directory, manifest["annoy"], exact)
    return Bundle(exact, annoy, manifest)


def _facts(exact: ExactIndex, index: AnnoyIndex | None, model: str | None) -> dict[str, Any]:
    return {
        "metric": "inner_product",
        "dimension": exact.dimension,
        "count": len(exact),
        "normalized": exact.normalized,
        "max_norm": exact.max_norm,
        "model": model,
        "annoy": None if index is None else _describe(index),
    }


def _describe(index: AnnoyIndex) -> dict[str, Any]:
    """Facts to open the trees again, and their measured recall and latency."""
    if index.table is None:
        raise ConfigError("Only a tuned index can be written. Make it with `Annoy.build`.")
    return {
        "metric": "augmented_angular" if index.augmented else "angular",
        **asdict(index.settings),
        "recall": index.table.chosen.recall,
        "p50_us": index.table.chosen.p50_us,
        "tuning": index.table.to_dict(),
        "annoy_version": version("annoy"),
        "cpu": {"machine": platform.machine(), "note": CPU_NOTE},
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
    return ExactIndex(vectors, names, manifest["max_norm"], manifest["normalized"])


def _open_annoy(directory: Path, facts: dict[str, Any], exact: ExactIndex) -> AnnoyIndex:
    augmented = facts["metric"] == "augmented_angular"
    try:
        forest = open_forest(directory / FOREST, exact.dimension, augmented)
    except OSError as error:
        raise ReleaseError(f"{directory / FOREST} cannot be opened: {error}.") from error
    if forest.get_n_items() != len(exact):
        raise ReleaseError(
            f"{directory / FOREST} is foreign: it holds {forest.get_n_items()} items, {MANIFEST} "
            f"says {len(exact)}. Export again."
        )
    place = f"{directory / MANIFEST}, annoy"
    # The classes check the values themselves; `restore` turns their errors into one about the file.
    settings = restore(
        place, lambda: Annoy(**{field.name: facts[field.name] for field in fields(Annoy)})
    )
    table = restore(f"{place}.tuning", lambda: TuningTable.from_dict(facts["tuning"]))
    return AnnoyIndex(exact, forest, augmented, settings, table)
