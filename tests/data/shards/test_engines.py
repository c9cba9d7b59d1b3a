"""Shards do not depend on where they are made, nor on how many tasks run at a time.

Engines with processes of their own beside the local one run a job of shards in `tests.engines.test_contract`.
"""

import pytest

from tests.data.shards.test_contract import as_csv
from tests.engines.test_contract import ENGINES, MARKS
from tfrecall.core.progress import ProgressReporter
from tfrecall.data import Interactions, prepare
from tfrecall.data.shards.manifest import MANIFEST, is_shards
from tfrecall.engines import Local, engine_of
from tfrecall.errors import EngineError

ROWS = [
    (
        f"u{n * n % 31}",
        f"i{(n * 7 + n // 5) % 17}",
        str(60 * (n // 3)),
        str(1 + n % 5),
        "x" if n == 50 else str(n),
    )
    for n in range(120)
]
# 16 users with 120 events of 17 items; the minima leave 102 of them.
MINIMA = {"min_user_interactions": 3, "min_item_interactions": 7}


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    file = tmp_path_factory.mktemp("log") / "log.csv"
    file.write_text(as_csv(ROWS))
    return file


def prepared(log, out, engine):
    return prepare(
        log,
        out,
        partitions=3,
        engine=engine,
        filtering=MINIMA,
        piece_bytes=900,
        progress=ProgressReporter(),
    )


@pytest.fixture(scope="module")
def expected(log, tmp_path_factory):
    out = tmp_path_factory.mktemp("local") / "shards"
    prepared(log, out, Local())
    return {file.name: file.read_bytes() for file in out.iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=MARKS.get(name, [])) for name in ("local 2", "beam", "prism")],
)
def test_shards_are_equal_to_the_last_byte_on_every_engine(log, expected, tmp_path, name):
    prepared(log, tmp_path / "shards", engine_of(*ENGINES[name]))
    found = {file.name: file.read_bytes() for file in (tmp_path / "shards").iterdir()}
    assert found == expected


class Dying(Local):
    """An engine whose workers die in one of its jobs, when some tasks are done."""

    def __init__(self, job):
        super().__init__()
        self.left = job

    def map(self, function, tasks, **options):
        self.left -= 1
        if self.left:
            return super().map(function, tasks, **options)
        super().map(function, tasks[:1], **options)
        raise EngineError("a worker died")


@pytest.mark.slow
def test_a_worker_that_dies_in_any_pass_leaves_nothing_that_looks_whole(log, tmp_path):
    prepared(log, tmp_path / "before", Local())
    assert len(Interactions.from_shards(tmp_path / "before")) == 102
    whole = (tmp_path / "before" / MANIFEST).read_text()
    # Types, survey, scatter, gather, numbers, write.
    for job in range(1, 7):
        for out in (tmp_path / "new", tmp_path / "before"):
            with pytest.raises(EngineError, match="a worker died"):
                prepared(log, out, Dying(job))
        assert [path.name for path in tmp_path.iterdir()] == ["before"]
    assert is_shards(tmp_path / "before")
    assert (tmp_path / "before" / MANIFEST).read_text() == whole


@pytest.mark.slow
def test_more_partitions_than_users_leave_empty_ones(log, tmp_path):
    manifest = prepare(log, tmp_path / "shards", partitions=40, progress=ProgressReporter())
    empty = [one.name for one in manifest.partitions if not one.rows]
    assert len(empty) >= 40 - 16
    number = [one.name for one in manifest.partitions].index(empty[0])
    assert len(Interactions.from_shards(tmp_path / "shards", [number])) == 0
    assert len(Interactions.from_shards(tmp_path / "shards")) == 120
