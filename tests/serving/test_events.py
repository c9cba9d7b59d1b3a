"""The feedback log: nothing acknowledged is lost, and it counts at once."""

import asyncio
import errno
import json
import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tfrecall as tr
from tfrecall.errors import DataError, NotReadyError, UnsupportedError
from tfrecall.serving.config import ServingConfig
from tfrecall.serving.events import (
    Event,
    EventLog,
    EventsRequest,
    EventTail,
    checked_row,
    mend,
)
from tfrecall.serving.recent import RecentEvent, RecentEvents, unlogged
from tfrecall.serving.requests import RecommendRequest
from tfrecall.serving.service import Service


def row(user, item, time=0.0, **columns):
    return {"user_id": user, "item_id": item, "timestamp": time, **columns}


def lines(folder):
    """All lines of all files, the oldest file first."""
    return [
        json.loads(line) for file in sorted(folder.glob("*")) for line in file.read_text().splitlines()
    ]


def pairs(rows):
    return [(one.user_id, one.item_id) for one in rows]


@asynccontextmanager
async def served(root, folder, **options):
    service = Service(ServingConfig({"movies": root}, events=folder, **options))
    await service.start()
    try:
        yield service
    finally:
        await service.stop()


def asked(*pairs, **options):
    return EventsRequest([Event(user_id=user, item_id=item, **options) for user, item in pairs])


# Writing


def test_requests_that_wait_share_one_fsync(tmp_path, monkeypatch):
    synced = []
    fsync = os.fsync
    log = EventLog(tmp_path)
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(fsync(file)))
    assert log.write([[row("a", "x"), row("b", "y")], [], [row("c", "z", rating=3)]]) == [2, 0, 1]
    assert len(synced) == 2  # the file, and its name in the directory
    assert log.write([[row("d", "x")]]) == [1]
    assert len(synced) == 3
    assert lines(tmp_path) == [
        row("a", "x"),
        row("b", "y"),
        row("c", "z", rating=3),
        row("d", "x"),
    ]


def test_files_are_begun_anew_by_size_and_by_age(tmp_path):
    small = EventLog(tmp_path / "size", max_bytes=100)
    for number in range(10):
        small.write([[row("u", f"i{number}")]])  # 47 bytes each
    files = sorted((tmp_path / "size").glob("*"))
    # The third one stands at 141 bytes: 100 are passed after it.
    assert sorted(len(file.read_text().splitlines()) for file in files) == [1, 3, 3, 3]
    old = EventLog(tmp_path / "age", max_seconds=-1)
    for number in range(3):
        old.write([[row("u", f"i{number}")]])
    assert len(list((tmp_path / "age").glob("*"))) == 3


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_full_disk_refuses_all_of_them_and_leaves_no_torn_line(tmp_path, monkeypatch, call):
    log = EventLog(tmp_path)
    log.write([[row("a", "x")]])
    write = os.write

    def full(file, content=None):
        if content is not None:
            write(file, bytes(content)[:10])  # some of it went through
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(NotReadyError, match="No space left on device"):
        log.write([[row("b", "y")]])
    monkeypatch.undo()
    assert log.write([[row("c", "z")]]) == [1]
    assert sorted(one["user_id"] for one in lines(tmp_path)) == ["a", "c"]


@given(st.binary(max_size=200))
def test_unfinished_lines_of_killed_writers_are_cut_off(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("events")
    file = folder / "events-1.jsonl"
    file.write_bytes(content)
    mend(folder)
    assert file.read_bytes() == content[: content.rfind(b"\n") + 1]


def test_files_of_live_writers_are_left_alone(tmp_path):
    log = EventLog(tmp_path)
    log.write([[row("a", "x")]])
    (file,) = tmp_path.glob("*")
    with file.open("ab") as stream:
        stream.write(b'{"user_id": "b"')  # in the middle of a write
    EventLog(tmp_path)
    assert file.read_bytes().endswith(b'"b"')
    log.close()
    EventLog(tmp_path)
    assert file.read_bytes().endswith(b"}\n")


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (Event(user_id="", item_id="x"), "`user_id` is a text"),
        (Event(user_id="u", item_id=""), "`item_id` is a text"),
        (Event(user_id="u", item_id="x\0"), "cannot end in NUL"),
        (Event(user_id="u", item_id="\ud800"), "surrogate"),
        (Event(user_id="u", item_id="x", timestamp=1.7e12), "milliseconds"),
        (Event(user_id="u", item_id="x", timestamp=float("nan")), "seconds since 1970"),
        (Event(user_id="u", item_id="x", columns={"item_id": "y"}), "`columns` cannot hold"),
    ],
)
def test_impossible_events_are_refused(event, message):
    with pytest.raises(DataError, match=message):
        checked_row(event, 0.0)


# Reading


def test_the_tail_reads_the_newest_first_and_later_lines_once(tmp_path):
    for name, users in (("events-1.jsonl", "ab"), ("events-2.jsonl", "cd")):
        text = "".join(json.dumps(row(user, "x", ord(user))) + "\n" for user in users)
        (tmp_path / name).write_text(text)
    tail = EventTail(tmp_path)
    assert pairs(tail.new()) == [("a", "x"), ("b", "x"), ("c", "x"), ("d", "x")]
    assert tail.new() == []
    with (tmp_path / "events-1.jsonl").open("a") as stream:
        stream.write(json.dumps(row("e", "x")) + '\nno event\n{"user_id": "f", "item')
    assert pairs(tail.new()) == [("e", "x")]
    with (tmp_path / "events-1.jsonl").open("a") as stream:
        stream.write('_id": "y"}\n')
    assert pairs(tail.new()) == [("f", "y")]
    assert pairs(EventTail(tmp_path).new(without={"events-1.jsonl"})) == [("c", "x"), ("d", "x")]


@given(st.lists(st.text("ab\u00e4", max_size=5), max_size=12), st.integers(0, 400))
def test_a_tail_of_some_bytes_has_the_newest_whole_lines(tmp_path_factory, users, budget):
    folder = tmp_path_factory.mktemp("events")
    texts = [json.dumps(row(user, str(n), n)) + "\n" for n, user in enumerate(users)]
    half = len(texts) // 2
    (folder / "events-1.jsonl").write_text("".join(texts[:half]))
    (folder / "events-2.jsonl").write_text("".join(texts[half:]))
    fits = [n for n in range(len(texts)) if sum(len(text.encode()) for text in texts[n:]) <= budget]
    assert [int(one.item_id) for one in EventTail(folder, budget).new()] == fits


def test_recent_events_are_bounded():
    recent = RecentEvents(max_users=2, max_items=3)
    for number in range(1000):
        recent.add("often", f"i{number}", number)
        recent.add(f"once {number}", "x", number)
    assert len(recent) == 2
    assert recent.items("often") == ["i997", "i998", "i999"]
    assert recent.items("once 998") == []
    assert recent.items("once 999") == ["x"]
    assert [event.time for event in recent.events("often")] == [997, 998, 999]
    assert RecentEvents(max_items=1).items("u") == []


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 9)), max_size=30))
def test_recent_events_keep_repeats_and_their_items_once(events):
    recent = RecentEvents(max_items=8)
    recent.add_all([("u", item, time) for item, time in events])
    assert [(one.item_id, one.time) for one in recent.events("u")] == events[-8:]
    last = {item: place for place, (item, _) in enumerate(events)}
    assert recent.items("u") == sorted(last, key=last.get)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 5)), max_size=12),
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 5)), max_size=12),
)
def test_events_of_the_log_are_those_of_the_same_item_and_second(recent, stored):
    events = [RecentEvent(*one) for one in recent]
    items, times = [item for item, _ in stored], np.array([time for _, time in stored])
    logged = {(item, int(time)) for item, time in stored}
    expected = [one for one in events if (one.item_id, int(one.time)) not in logged]
    assert unlogged(events, items, times) == expected
    assert unlogged(events, items, None) == [one for one in events if one.item_id not in items]


# In the service


def test_events_count_at_once_and_after_a_restart(item_cf, tmp_path):
    async def session():
        folder = tmp_path / "events"
        async with served(item_cf, folder) as service:
            before = await service.recommend(RecommendRequest(user_id="u1", k=3))
            new = before.items[0].item_id
            answer = await service.add_events(asked(("u1", new), (7, "brand new")))
            assert answer.accepted == 2
            after = await service.recommend(RecommendRequest(user_id="u1", k=30))
            assert new not in [item.item_id for item in after.items]
        async with served(item_cf, folder) as service:
            again = await service.recommend(RecommendRequest(user_id="u1", k=30))
            assert [item.item_id for item in again.items] == [item.item_id for item in after.items]
            assert service.feedback.recent.items("7") == ["brand new"]

    asyncio.run(session())


def test_many_requests_at_once_are_written_in_few_steps(item_cf, tmp_path, monkeypatch):
    async def session():
        calls = []
        async with served(item_cf, tmp_path) as service:
            write = EventLog.write
            batcher = service.feedback._batcher
            batcher._answer = lambda batches: (
                calls.append(len(batches)) or write(service.feedback._log, batches)
            )
            answers = await asyncio.gather(
                *(service.add_events(asked((f"u{n}", "i1"))) for n in range(100))
            )
            assert [answer.accepted for answer in answers] == [1] * 100
            assert calls == [1, 99]
        assert [one["user_id"] for one in lines(tmp_path)] == [f"u{n}" for n in range(100)]

    asyncio.run(session())


def test_one_impossible_event_refuses_its_whole_request(item_cf, tmp_path):
    async def session():
        async with served(item_cf, tmp_path) as service:
            with pytest.raises(DataError):
                await service.add_events(asked(("u1", "i1"), ("u1", "")))
            assert service.feedback.recent.items("u1") == []
        assert lines(tmp_path) == []

    asyncio.run(session())


def test_without_a_directory_events_are_refused(item_cf):
    async def session():
        service = Service(ServingConfig({"movies": item_cf}))
        await service.start()
        with pytest.raises(UnsupportedError, match="--events DIRECTORY"):
            await service.add_events(asked(("u1", "i1")))
        await service.stop()

    asyncio.run(session())


def test_events_over_http(item_cf, tmp_path):
    from fastapi.testclient import TestClient

    from tfrecall.serving.app import create_app

    with TestClient(create_app(ServingConfig({"movies": item_cf}, events=tmp_path))) as client:
        events = [{"user_id": "u1", "item_id": "i1"}, {"user_id": 7, "item_id": 8, "timestamp": 3}]
        answer = client.post("/v1/events", json={"events": events})
        assert (answer.status_code, answer.json()) == (200, {"accepted": 2})
        wrong = client.post("/v1/events", json={"events": [{"user_id": "u1"}]})
        assert wrong.status_code == 400
    assert [(one["user_id"], one["item_id"]) for one in lines(tmp_path)] == [("u1", "i1"), ("7", "8")]


def test_two_processes_on_one_directory_hear_of_each_other(item_cf, tmp_path, monkeypatch):
    monkeypatch.setattr("tfrecall.serving.service.FOLLOW_SECONDS", 0.01)

    async def session():
        async with served(item_cf, tmp_path) as one, served(item_cf, tmp_path) as other:
            await one.add_events(asked(("u1", "i1")))
            await other.add_events(asked(("u2", "i2")))
            while not (one.feedback.recent.items("u2") and other.feedback.recent.items("u1")):
                await asyncio.sleep(0.005)
        assert len(list(tmp_path.glob("*"))) == 2

    asyncio.run(asyncio.wait_for(session(), 60))


def test_the_log_is_one_that_training_reads(item_cf, tmp_path):
    async def session():
        async with served(item_cf, tmp_path) as service:
            rated = {"columns": {"rating": 4.5}}
            await service.add_events(asked(("u1", "i1"), ("u2", "i2"), timestamp=1.7e9, **rated))
            await service.add_events(asked(("u3", "i3"), **rated))

    asyncio.run(session())
    data = tr.data.read(tmp_path)
    assert data.log["user_id"].to_list() == ["u1", "u2", "u3"]
    assert data.log["item_id"].to_list() == ["i1", "i2", "i3"]
    assert data.log["timestamp"].to_list()[:2] == [1.7e9, 1.7e9]
    assert data.log["rating"].to_list() == [4.5] * 3


@pytest.mark.parametrize("more", ["", '"i9","timestamp":1}'], ids=["torn", "whole"])
def test_a_line_that_a_killed_writer_left_is_left_out_with_a_note(tmp_path, more):
    """A whole object without the end of its line was not acknowledged, either."""
    log = EventLog(tmp_path)
    log.write([[row("u1", "i1", 1.7e9), row("u2", "i2", 1.7e9)]])
    [name] = log.names
    log.close()
    with (tmp_path / name).open("ab") as stream:
        stream.write(b'{"user_id":"u9","item_id":' + more.encode())
    for path in (tmp_path, tmp_path / name):
        data = tr.data.read(path)
        assert data.log["user_id"].to_list() == ["u1", "u2"]
        [note] = [note for note in data.notes if name in note]
        assert "ends within a line" in note


def test_files_of_writers_killed_before_their_first_line_are_left_out(tmp_path):
    for content in (b"", b'{"user_id":"u9"'):
        log = EventLog(tmp_path)
        log.write([[row("u1", "i1", 1.7e9)]])
        [name] = log.names
        log.close()
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match="no finished line"):
        tr.data.read(tmp_path)
    log = EventLog(tmp_path)
    log.write([[row("u1", "i1", 1.7e9), row("u2", "i2", 1.7e9)]])
    log.close()
    assert tr.data.read(tmp_path).log["user_id"].to_list() == ["u1", "u2"]


def test_torn_lines_of_other_files_are_refused(tmp_path):
    file = tmp_path / "mine.jsonl"
    file.write_bytes(b'{"user_id":"u1","item_id":"i1","timestamp":1}\n{"user_id":"u9","it')
    with pytest.raises(DataError, match="line 2"):
        tr.data.read(file)
    # Nor is a broken line within a feedback log passed over.
    log = EventLog(tmp_path / "events")
    log.write([[row("u1", "i1", 1.7e9)]])
    [name] = log.names
    log.close()
    (tmp_path / "events" / name).write_bytes(b'{"user_id":"u9","it\n{"user_id":"u1"}\n')
    with pytest.raises(DataError, match="line 1"):
        tr.data.read(tmp_path / "events")


# Killed processes

_WRITER = """
import sys
from pathlib import Path
from tfrecall.serving.events import EventLog
log = EventLog(Path(sys.argv[1]))
n = 0
while True:
    log.write([[{"user_id": "u", "item_id": str(n + i), "timestamp": 0.0} for i in range(50)]])
    n += 50
    print(n, flush=True)
"""


@pytest.mark.slow
def test_a_killed_process_loses_no_acknowledged_event(tmp_path):
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(20):
            acknowledged = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        process.wait()
        said = process.stdout.read().split()
        acknowledged = int(said[-1]) if said else acknowledged
        process.stdout.close()
        mend(tmp_path)
        (file,) = tmp_path.glob("*")
        items = [json.loads(line)["item_id"] for line in file.read_text().splitlines()]
        assert items[:acknowledged] == [str(n) for n in range(acknowledged)]
        file.unlink()
