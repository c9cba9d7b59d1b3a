"""Data sets come from the first source that has them, or the error tells what each said."""

import hashlib
import io
import json
import subprocess
import zipfile

import polars as pl
import pytest

from tests.data.datasets.grouplens_files import small_100k
from tests.progress import RecordedProgress
from tfrecall.data import movielens, synthetic
from tfrecall.data.datasets import cache, recbole
from tfrecall.data.datasets import fetch as fetching
from tfrecall.data.datasets.fetch import fetch
from tfrecall.errors import ConfigError, DataError, FetchError

DATA = synthetic(n_users=5, n_items=5, n_rows=20)


def refuse(reason):
    def source(size, timeout_seconds):
        raise FetchError(reason)

    return source


def give(size, timeout_seconds):
    return DATA.with_log(DATA.log, f"size {size}")


@pytest.fixture
def sources(monkeypatch):
    """The sources that are asked; a test fills it."""
    known = {}
    monkeypatch.setattr(fetching, "sources", lambda size: known)
    return known


def test_the_first_source_that_has_it_is_used_and_the_others_are_reported(tmp_path, sources):
    sources.update({"one": refuse("not here"), "two": give, "three": refuse("never asked")})
    progress = RecordedProgress()
    folder = fetch(cache_dir=tmp_path, progress=progress)
    assert folder == tmp_path / "movielens-100k"
    assert "Not from one: not here" in progress.notes
    assert any(line.startswith("movielens-100k came from two") for line in progress.notes)
    assert not any("three" in line for line in progress.notes)
    about = json.loads((folder / "source.json").read_text())
    assert (about["source"], about["tried"]) == ("two", ["one: not here"])


def test_what_is_kept_is_what_was_fetched(tmp_path, sources):
    sources["one"] = give
    kept = movielens("100k", cache=tmp_path)
    assert kept.fingerprint == DATA.fingerprint
    assert kept.notes[-1] == "size 100k"
    assert sorted(file.name for file in (tmp_path / "movielens-100k").iterdir()) == [
        "items.parquet",
        "log.parquet",
        "source.json",
        "users.parquet",
    ]


def test_the_cache_is_asked_first(tmp_path, sources):
    sources["one"] = give
    fetch(cache_dir=tmp_path)
    sources["one"] = refuse("offline")
    progress = RecordedProgress()
    assert fetch(cache_dir=tmp_path, progress=progress).is_dir()
    assert progress.notes == [f"movielens-100k is in the cache: {tmp_path / 'movielens-100k'}"]


@pytest.mark.parametrize("name", ["log.parquet", "source.json"])
def test_a_damaged_cache_is_fetched_again(tmp_path, sources, name):
    sources["one"] = give
    file = fetch(cache_dir=tmp_path) / name
    file.write_bytes(file.read_bytes()[:-5])
    progress = RecordedProgress()
    folder = fetch(cache_dir=tmp_path, progress=progress)
    assert "The cache is damaged" in progress.notes[0]
    assert cache.load(folder).fingerprint == DATA.fingerprint


def test_a_damaged_cache_is_kept_apart_from_good_data(tmp_path, sources):
    sources["one"] = give
    folder = fetch(cache_dir=tmp_path)
    (folder / "users.parquet").unlink()
    with pytest.raises(DataError, match=r"users\.parquet"):
        cache.load(folder)


def test_an_interrupted_fetch_leaves_nothing(tmp_path, sources, monkeypatch):
    sources["one"] = give

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cache, "file_sha256", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch(cache_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_if_no_source_has_it_the_error_lists_what_each_said(tmp_path, sources):
    sources.update({"one": refuse("no route"), "two": refuse("wrong checksum")})
    with pytest.raises(FetchError) as caught:
        fetch("movielens-1m", cache_dir=tmp_path)
    message = str(caught.value)
    assert "- one: no route" in message
    assert "- two: wrong checksum" in message
    assert "--data PATH" in message
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match='Did you mean "movielens-100k"'):
        fetch("movielens-100")


def test_a_cache_that_cannot_be_written_is_refused_before_any_download(tmp_path, sources):
    sources["one"] = refuse("never asked")
    (tmp_path / "file").touch()
    with pytest.raises(FetchError, match=r"cannot be written.*TFRECALL_CACHE"):
        fetch(cache_dir=tmp_path / "file" / "cache")


def test_the_place_of_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TFRECALL_CACHE", str(tmp_path / "set"))
    assert cache.cache_root() == tmp_path / "set"
    assert cache.cache_root(tmp_path / "given") == tmp_path / "given"
    monkeypatch.delenv("TFRECALL_CACHE")
    assert "tfrecall" in str(cache.cache_root())


def test_only_100k_can_come_from_the_package_index():
    assert [len(fetching.sources(size)) for size in ("100k", "1m")] == [3, 2]


def test_without_a_prepared_data_set_tfds_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(FetchError, match="nothing is prepared"):
        fetching.from_prepared_tfds("100k", 1)


def zipped_100k(tmp_path):
    folder = small_100k(tmp_path / "made" / "ml-100k")
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for file in folder.iterdir():
            archive.write(file, f"ml-100k/{file.name}")
    return content.getvalue(), folder


def test_the_zip_file_of_grouplens_is_read_if_its_checksum_is_right(tmp_path, monkeypatch):
    content, folder = zipped_100k(tmp_path)
    monkeypatch.setattr(fetching, "download", lambda url, timeout_seconds: content)
    with pytest.raises(FetchError, match="has the MD5"):
        fetching.from_grouplens("100k", 1)
    monkeypatch.setitem(fetching.ZIP_MD5, "100k", hashlib.md5(content).hexdigest())
    data = fetching.from_grouplens("100k", 1)
    assert data.fingerprint == movielens("100k", folder).fingerprint


def test_a_server_that_does_not_answer_is_left_after_the_timeout(monkeypatch):
    import threading

    forever = threading.Event()
    monkeypatch.setattr(fetching.urllib.request, "urlopen", lambda url, timeout: forever.wait())
    with pytest.raises(FetchError, match=r"no answer within 0\.05 seconds"):
        fetching.download("https://example.org", 0.05)
    forever.set()


def test_a_server_that_trickles_is_left(monkeypatch):
    class Trickle(io.BytesIO):
        def read(self, size=-1):
            return b"x"

    monkeypatch.setattr(fetching.urllib.request, "urlopen", lambda url, timeout: Trickle())
    monkeypatch.setattr(fetching, "TIMEOUTS_PER_DOWNLOAD", 0.001)
    with pytest.raises(FetchError, match="bytes arrived in time"):
        fetching.download("https://example.org", 5)


def test_what_a_server_refuses_is_passed_on(monkeypatch):
    def fail(url, timeout):
        raise OSError("name or service not known")

    monkeypatch.setattr(fetching.urllib.request, "urlopen", fail)
    with pytest.raises(FetchError, match="name or service not known"):
        fetching.download("https://example.org", 5)


def test_a_whole_answer_is_returned(monkeypatch):
    content = bytes(range(256)) * 1000
    monkeypatch.setattr(fetching.urllib.request, "urlopen", lambda url, timeout: io.BytesIO(content))
    assert fetching.download("https://example.org", 5) == content


# Made up, in RecBole's format: the title and the year apart, genres with blanks between.
INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n2\t1\t3\t10\n1\t2\t5\t20\n"
ITEM = """item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq
1\tÉva et moi\t1990\tChildren's Drama
2\tunkonwn\tunkonwn\tunknown
3\tVideo (1995)\tV\tAction
"""
USER = """user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token
1\t24\tM\ttechnician\t85711
2\t53\tF\tother\t94043
"""


def wheel(folder, monkeypatch):
    file = folder / "recbole-1.2.1-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        for suffix, text in (("inter", INTER), ("item", ITEM), ("user", USER)):
            archive.writestr(f"{recbole.INSIDE}ml-100k.{suffix}", text)
            expected = hashlib.sha256(text.encode()).hexdigest()
            monkeypatch.setitem(recbole.FILES_SHA256, f"ml-100k.{suffix}", expected)
    monkeypatch.setattr(recbole, "WHEEL_SHA256", hashlib.sha256(file.read_bytes()).hexdigest())
    return file


def test_the_wheel_gives_titles_with_years_and_says_what_differs(tmp_path, monkeypatch):
    data = recbole.read_wheel(wheel(tmp_path, monkeypatch))
    assert data.items.rows() == [
        ("1", "Éva et moi (1990)", ["Children's", "Drama"], 1990),
        ("2", "unkonwn", ["unknown"], None),
        ("3", "Video (1995) (V)", ["Action"], 1995),
    ]
    assert data.log.rows() == [("2", "1", 10.0, 3.0), ("1", "2", 20.0, 5.0)]
    assert data.users["raw_user_age"].to_list() == [24.0, 53.0]
    assert data.users.schema["user_zip_code"] == pl.String
    assert any("1,678 of 1,682" in note for note in data.notes)


def test_altered_files_in_the_wheel_are_refused(tmp_path, monkeypatch):
    file = wheel(tmp_path, monkeypatch)
    monkeypatch.setitem(recbole.FILES_SHA256, "ml-100k.user", "0" * 64)
    with pytest.raises(FetchError, match=r"ml-100k\.user has the SHA-256"):
        recbole.read_wheel(file)


def pip(monkeypatch, outcome):
    """Puts `outcome(command)` in the place of running pip."""
    monkeypatch.setattr(subprocess, "run", lambda command, **options: outcome(command))


def test_the_wheel_is_downloaded_without_dependencies_and_checked(tmp_path, monkeypatch):
    commands = []

    def run(command):
        commands.append(command)
        wheel(tmp_path, monkeypatch)
        return subprocess.CompletedProcess(command, 0, "", "")

    pip(monkeypatch, run)
    assert recbole.download(tmp_path, 10).name == "recbole-1.2.1-py3-none-any.whl"
    assert "--no-deps" in commands[0]
    assert commands[0][-1] == "recbole==1.2.1"


def test_another_wheel_is_refused(tmp_path, monkeypatch):
    def run(command):
        wheel(tmp_path, monkeypatch)
        monkeypatch.setattr(recbole, "WHEEL_SHA256", "0" * 64)
        return subprocess.CompletedProcess(command, 0, "", "")

    pip(monkeypatch, run)
    with pytest.raises(FetchError, match="has the SHA-256"):
        recbole.download(tmp_path, 10)


def test_what_pip_says_last_is_passed_on(tmp_path, monkeypatch):
    errors = "WARNING: retrying\nERROR: No matching distribution found"
    pip(monkeypatch, lambda command: subprocess.CompletedProcess(command, 1, "", errors))
    with pytest.raises(FetchError, match=r"pip download recbole==1\.2\.1: ERROR: No matching"):
        recbole.download(tmp_path, 10)


def test_a_pip_that_hangs_is_left(tmp_path, monkeypatch):
    def run(command):
        raise subprocess.TimeoutExpired(command, 60)

    pip(monkeypatch, run)
    with pytest.raises(FetchError, match="timed out"):
        recbole.download(tmp_path, 10)
