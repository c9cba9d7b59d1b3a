"""MovieLens from GroupLens' files, and from what TFDS makes of them."""

import shutil
from pathlib import Path

import pytest

from tests.data.datasets.grouplens_files import small_1m, small_100k
from tfrecall.data import movielens
from tfrecall.data.datasets.tfds import from_tfds, prepared_folder
from tfrecall.errors import ConfigError, DataError, FetchError


def test_100k_has_the_columns_and_order_of_the_files(tmp_path):
    data = movielens("100k", small_100k(tmp_path / "ml-100k"))
    assert data.name == "movielens-100k"
    assert data.log.rows() == [
        ("2", "1", 881250949.0, 3.0),
        ("1", "3", 881250949.0, 5.0),
        ("1", "1", 881250950.0, 4.0),
    ]
    assert data.users.to_dicts()[1] == {
        "user_id": "2",
        "raw_user_age": 53.0,
        "user_gender": "F",
        "user_occupation_text": "other",
        "user_zip_code": "T8H1N",
    }
    assert data.items.to_dicts() == [
        {
            "item_id": "1",
            "movie_title": "Éva et moi (1990)",
            "movie_genres": ["Children's", "Drama"],
            "release_year": 1990,
            "release_date": "01-Jan-1991",
            "imdb_url": "http://example.org/1",
        },
        {
            "item_id": "2",
            "movie_title": "unknown",
            "movie_genres": ["unknown"],
            "release_year": None,
            "release_date": None,
            "imdb_url": None,
        },
        {
            "item_id": "3",
            "movie_title": "Twice (1980) (1995) (V)",
            "movie_genres": ["Action"],
            "release_year": 1995,
            "release_date": "01-Jan-1995",
            "imdb_url": None,
        },
    ]


def test_1m_has_the_published_occupations(tmp_path):
    data = movielens("1m", small_1m(tmp_path / "ml-1m"))
    assert data.users["user_occupation_text"].to_list() == ["other/not specified", "K-12 student"]
    assert data.users["raw_user_age"].to_list() == [18.0, 56.0]
    assert data.items.rows()[0] == ("1", "Éva et moi (1990)", ["Children's", "Drama"], 1990)
    assert data.items["movie_title"][1] == "Twice: Or Not (1995)"


def test_the_folder_above_will_do(tmp_path):
    small_100k(tmp_path / "ml-100k")
    assert (
        movielens("100k", tmp_path).fingerprint == movielens("100k", tmp_path / "ml-100k").fingerprint
    )


def test_a_folder_without_the_files_is_refused(tmp_path):
    small_1m(tmp_path / "ml-1m")
    with pytest.raises(DataError, match=r"not a folder with MovieLens 100k.*u\.data"):
        movielens("100k", tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("u.data", b"1\t1\tgood\t881250949\n"),
        ("u.data", b"1,1,5,881250949\n"),
        ("u.item", b"1|Title\n"),
        ("u.user", b""),
    ],
    ids=["a word", "commas", "columns", "empty"],
)
def test_files_of_another_format_are_refused(tmp_path, name, content):
    folder = small_100k(tmp_path / "ml-100k")
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match="does not hold MovieLens 100k as GroupLens ships it"):
        movielens("100k", folder)


def test_another_size_is_refused():
    with pytest.raises(ConfigError, match='Received: "10m"'):
        movielens("10m")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "rows", "users", "items"),
    [("100k", 100_000, 943, 1_682), ("1m", 1_000_209, 6_040, 3_883)],
)
def test_the_real_files_are_complete(movielens_folder, size, rows, users, items):
    if not (movielens_folder / f"ml-{size}").exists():
        pytest.skip(f"MovieLens {size} is not here.")
    data = movielens(size, movielens_folder)
    assert (len(data), data.users.height, data.items.height) == (rows, users, items)
    assert data.users.null_count().sum_horizontal().item() == 0
    assert data.items["movie_genres"].list.len().min() >= 1
    assert data.items["release_year"].null_count() == (1 if size == "100k" else 0)
    assert data.items["release_year"].drop_nulls().is_between(1900, 2000).all()
    assert set(data.log["rating"]) == {1.0, 2.0, 3.0, 4.0, 5.0}


def test_100k_has_fewer_titles_than_movies(movielens_folder):
    assert movielens("100k", movielens_folder).items["movie_title"].n_unique() == 1_664


def test_nothing_prepared_by_tfds_is_said_without_a_wait(tmp_path):
    assert prepared_folder("100k", tmp_path) is None
    with pytest.raises(FetchError, match="no prepared movielens/100k-ratings"):
        from_tfds("100k", tmp_path)


def test_the_tfds_directory_is_taken_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    for part in ("ratings", "movies"):
        folder = tmp_path / "movielens" / f"1m-{part}" / "0.1.1"
        folder.mkdir(parents=True)
        (folder / "dataset_info.json").write_text("{}")
    assert prepared_folder("1m") == tmp_path
    assert prepared_folder("100k") is None


def prepare(size, source, data_dir, monkeypatch):
    """Lets TFDS' own builder prepare a folder that is already here."""
    tfds = pytest.importorskip("tensorflow_datasets")
    manager = tfds.download.DownloadManager
    monkeypatch.setattr(manager, "download_and_extract", lambda self, url: str(source))
    for part in ("ratings", "movies"):
        builder = tfds.builder(f"movielens/{size}-{part}", data_dir=str(data_dir))
        builder.download_and_prepare()


def assert_same(from_tfds_, from_files):
    """The same but for the order of the log and the columns that TFDS leaves out."""
    assert from_tfds_.items.equals(from_files.items.select(from_tfds_.items.columns))
    assert from_tfds_.users.equals(from_files.users)
    order = from_files.log.columns
    assert from_tfds_.log.sort(order).equals(from_files.log.sort(order))
    assert from_tfds_.name == from_files.name


@pytest.mark.slow
def test_tfds_and_the_files_agree_on_small_data(tmp_path, monkeypatch):
    one_m = small_1m(tmp_path / "ml-1m")
    prepare("1m", tmp_path, tmp_path / "tfds", monkeypatch)
    assert_same(from_tfds("1m", tmp_path / "tfds"), movielens("1m", one_m))


@pytest.mark.slow
def test_tfds_and_the_files_agree_on_real_data(movielens_folder, tmp_path, monkeypatch):
    """On all movies and users, and a rating of each user and each tenth: TFDS writes them one by one."""
    folder = Path(shutil.copytree(movielens_folder / "ml-100k", tmp_path / "files" / "ml-100k"))
    lines = (folder / "u.data").read_text().splitlines(keepends=True)
    kept = {line.split("\t")[0]: line for line in lines}
    (folder / "u.data").write_text("".join(dict.fromkeys([*kept.values(), *lines[::10]])))
    prepare("100k", folder.parent, tmp_path / "tfds", monkeypatch)
    assert_same(from_tfds("100k", tmp_path / "tfds"), movielens("100k", folder))
