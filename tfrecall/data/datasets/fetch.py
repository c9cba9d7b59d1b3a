"""Download of MovieLens into the cache, from the first source that can be reached."""

import hashlib
import http.client
import tempfile
import threading
import time
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tfrecall.core.progress import LogProgress, ProgressReporter
from tfrecall.data.datasets import cache, recbole, tfds
from tfrecall.data.datasets.grouplens import read_folder
from tfrecall.data.interactions import Interactions
from tfrecall.errors import ConfigError, DataError, FetchError, nearest

NAMES = {"movielens-100k": "100k", "movielens-1m": "1m"}

URL = "https://files.grouplens.org/datasets/movielens/ml-{size}.zip"
# MD5, because GroupLens publishes these sums with the files.
ZIP_MD5 = {
    "100k": "0e33842e24a9c977be4e0107933c0723",
    "1m": "c4d9eecfca2ab87c1945afe126590906",
}

# A zip file of 6 MB needs longer than one answer: at 50 kB/s two minutes.
TIMEOUTS_PER_DOWNLOAD = 12
CHUNK_BYTES = 1 << 16

# A source takes the size and the seconds to wait for an answer.
Source = Callable[[str, float], Interactions]


def fetch(
    name: str = "movielens-100k",
    cache_dir: str | Path | None = None,
    timeout_seconds: float = 10,
    progress: ProgressReporter | None = None,
) -> Path:
    """Brings a data set into the cache, if it is not there yet.

    The sources are, in this order: the cache, a data set prepared by TFDS, GroupLens, and for 100k the RecBole
    wheel from the configured package index. Downloads are checked against known checksums. An interrupted
    fetch leaves nothing in the cache.

    Args:
        name: "movielens-100k" or "movielens-1m".
        cache_dir: the cache folder; None for the environment variable `TFRECALL_CACHE`, or else the
            platform's cache folder.
        timeout_seconds: longest wait for an answer of each source.
        progress: receives a sentence a step; without it the logger "tfrecall" does.

    Returns:
        The folder with log.parquet, users.parquet, items.parquet and source.json.

    Raises:
        ConfigError: if the name is unknown.
        FetchError: if no source has the data set; with the message of each source.
    """
    if name not in NAMES:
        raise ConfigError(
            f'There is no data set "{name}" to fetch.{nearest(name, NAMES)} '
            f"Choose from {', '.join(NAMES)}."
        )
    progress = progress or LogProgress()
    folder = cache.cache_root(cache_dir) / name
    if folder.exists() and _is_whole(folder, progress):
        progress.note(f"{name} is in the cache: {folder}")
        return folder
    _make_root(folder.parent)
    data, source, tried = _first(name, timeout_seconds, progress)
    cache.store(folder, data, source, tried)
    progress.note(f"{name} came from {source} and is kept in {folder}")
    return folder


def sources(size: str) -> dict[str, Source]:
    """Sources of a size other than the cache, in their order."""
    readers: dict[str, Source] = {
        "a data set prepared by TFDS": from_prepared_tfds,
        f"GroupLens ({URL.format(size=size)})": from_grouplens,
    }
    if size == "100k":
        readers[f"the package index (wheel {recbole.REQUIREMENT})"] = from_package_index
    return readers


def _first(
    name: str, timeout_seconds: float, progress: ProgressReporter
) -> tuple[Interactions, str, list[str]]:
    """The data of the first source that has it, the name of the source, and the messages of those before."""
    tried: list[str] = []
    for source, read in sources(NAMES[name]).items():
        progress.note(f"Asking {source} for {name}")
        try:
            return read(NAMES[name], timeout_seconds), source, tried
        except (FetchError, DataError, OSError) as error:
            tried.append(f"{source}: {error}")
            progress.note(f"Not from {source}: {error}")
    messages = "".join(f"\n- {message}" for message in tried)
    raise FetchError(
        f"{name} could not be fetched from any source:{messages}\nUnpack GroupLens' "
        f"ml-{NAMES[name]}.zip by hand and give its folder: `--data PATH`, or `path=` in Python."
    )


def _is_whole(folder: Path, progress: ProgressReporter) -> bool:
    try:
        cache.load(folder)
    except DataError as error:
        progress.note(f"The cache is damaged and is fetched again: {error}")
        return False
    return True


def _make_root(root: Path) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
        # Writing tells: permission bits mislead for root and on read-only mounts.
        with tempfile.TemporaryFile(dir=root):
            pass
    except OSError as error:
        raise FetchError(
            f"The cache folder {root} cannot be written: {error}. "
            "Choose another with `cache_dir=` or the environment variable TFRECALL_CACHE."
        ) from error


def from_prepared_tfds(size: str, timeout_seconds: float) -> Interactions:
    """Reads a data set that TFDS has prepared on this machine, without a network."""
    if tfds.prepared_folder(size) is None:
        raise FetchError("nothing is prepared on this machine")
    try:
        return tfds.from_tfds(size)
    except Exception as error:  # TFDS and TensorFlow raise anything; there are other sources
        raise FetchError(f"it cannot be read: {error}") from error


def from_grouplens(size: str, timeout_seconds: float) -> Interactions:
    """Downloads GroupLens' zip file and reads it."""
    content = download(URL.format(size=size), timeout_seconds)
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if md5 != ZIP_MD5[size]:
        raise FetchError(f"the zip file has the MD5 {md5} instead of {ZIP_MD5[size]}")
    with tempfile.TemporaryDirectory() as scratch:
        archive = Path(scratch) / "movielens.zip"
        archive.write_bytes(content)
        with zipfile.ZipFile(archive) as members:
            members.extractall(scratch)
        return read_folder(scratch, size)


def from_package_index(size: str, timeout_seconds: float) -> Interactions:
    """Downloads the RecBole wheel and rebuilds MovieLens 100K from it."""
    with tempfile.TemporaryDirectory() as scratch:
        return recbole.read_wheel(recbole.download(Path(scratch), timeout_seconds))


def download(url: str, timeout_seconds: float) -> bytes:
    """The content of a URL.

    Raises:
        FetchError: if nothing answers in time, or the download takes many times as long.
    """
    # In a thread, because the lookup of a host name has no timeout of its own.
    answer: list[Any] = []
    thread = threading.Thread(target=_open, args=(url, timeout_seconds, answer), daemon=True)
    thread.start()
    thread.join(timeout_seconds)
    if not answer:
        raise FetchError(f"no answer within {timeout_seconds:g} seconds")
    if isinstance(answer[0], Exception):
        raise FetchError(str(answer[0])) from answer[0]
    end = time.monotonic() + timeout_seconds * TIMEOUTS_PER_DOWNLOAD
    content = bytearray()
    try:
        with answer[0] as response:
            while chunk := response.read(CHUNK_BYTES):
                content += chunk
                if time.monotonic() > end:
                    raise FetchError(f"only {len(content):,} bytes arrived in time")
    except http.client.HTTPException as error:
        raise FetchError(f"the connection broke: {error!r}") from error
    return bytes(content)


def _open(url: str, timeout_seconds: float, answer: list[Any]) -> None:
    try:
        answer.append(urllib.request.urlopen(url, timeout=timeout_seconds))
    except Exception as error:
        answer.append(error)
