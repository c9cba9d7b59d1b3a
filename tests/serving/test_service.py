"""The data plane over baselines' releases: which release answers, and what stands in for one that cannot."""

import asyncio
import threading
from collections import Counter
from contextlib import asynccontextmanager
from time import monotonic

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tfrecall as tr
from tfrecall.errors import (
    ConfigError,
    DataError,
    DeadlineError,
    ModelFailedError,
    NotReadyError,
    QueueFullError,
)
from tfrecall.serving.config import ServingConfig
from tfrecall.serving.observer import Observer
from tfrecall.serving.requests import RecommendRequest, SimilarRequest
from tfrecall.serving.routing import chosen, share_of
from tfrecall.serving.service import Service, UnknownReleaseError


class Heard(Observer):
    def __init__(self):
        self.fallbacks, self.sizes, self.named = [], [], set()

    def fallback(self, release, reason):
        self.fallbacks.append((release, reason))

    def batch(self, release, waits, seconds):
        self.sizes.append(len(waits))

    def stages(self, release, seconds, requests):
        self.named |= set(seconds)


@asynccontextmanager
async def served(roots, observer=None, **options):
    """A service that started; it is stopped at the end."""
    roots = roots if isinstance(roots, dict) else {"movies": roots}
    service = Service(ServingConfig(roots, **options), observer)
    await service.start()
    try:
        yield service
    finally:
        await service.stop()


def ids(answer):
    return [item.item_id for item in answer.items]


def request(user=None, **options):
    return RecommendRequest(user_id=user, **options)


def most_popular(log, barred=()):
    """Items by their number of events, in NumPy; equal ones in catalogue order."""
    catalogue = log.items["item_id"].to_list()
    counts = Counter(log.log["item_id"].to_list())
    order = np.argsort([-counts[item] for item in catalogue], kind="stable")
    return [(catalogue[i], counts[catalogue[i]]) for i in order if catalogue[i] not in set(barred)]


def test_objects_of_a_started_service_are_set_aside_before_it_is_ready(item_cf, monkeypatch):
    found = []

    async def session():
        async with served(item_cf) as service:
            assert service.ready

    monkeypatch.setattr("tfrecall.serving.service.collect_garbage", lambda: found.append("collected"))
    asyncio.run(session())
    assert found == ["collected"]


# Which release


def test_a_name_a_header_or_the_first_release_answers(item_cf, popularity):
    async def session():
        async with served({"a": item_cf, "b": popularity}) as service:
            assert (await service.recommend(request("u1"))).release == "a"
            assert (await service.recommend(request("u1", release="b"))).release == "b"
            assert (await service.recommend(request("u1"), release="b")).release == "b"
            assert (await service.recommend(request("u1", release="a"), release="b")).release == "a"
            with pytest.raises(UnknownReleaseError, match='no release "bb"'):
                await service.recommend(request("u1", release="bb"))

    asyncio.run(session())


def test_shares_of_users_are_stable_and_of_their_size(item_cf, popularity):
    async def session():
        shares = {"b": 0.3}
        async with served({"a": item_cf, "b": popularity}, shares=shares) as service:
            users = [f"u{n}" for n in range(30)]
            first = [(await service.recommend(request(user))).release for user in users]
            again = [
                (await service.recommend(request(features={"user_id": user}))).release for user in users
            ]
            assert first == again
            assert first == [chosen(shares, user) or "a" for user in users]
            assert set(first) == {"a", "b"}
            callers = [
                (await service.recommend(request(history=["i1"]), caller=user)).release
                for user in users
            ]
            assert callers == first  # somebody without a user id, by the id of the request

    asyncio.run(session())


@given(st.dictionaries(st.sampled_from("bcd"), st.floats(0, 0.33), min_size=1), st.integers(0, 9))
def test_each_name_gets_its_share_whatever_the_others_get(shares, salt):
    users = [f"{salt}-{n}" for n in range(3000)]
    found = Counter(chosen(shares, user) for user in users)
    for name, share in shares.items():
        # Five standard deviations of a binomial share of 3,000, and a little for shares near 0.
        assert abs(found[name] / 3000 - share) <= 5 * (share * (1 - share) / 3000) ** 0.5 + 0.002


@given(st.floats(0, 1), st.floats(0, 1), st.text())
def test_a_share_that_grows_keeps_its_users(one, other, user):
    small, large = sorted([one, other])
    if chosen({"b": small}, user) == "b":
        assert chosen({"b": large}, user) == "b"
    assert 0 <= share_of("b", user) < 1


# What stands in


@pytest.mark.parametrize("user", ["nobody", None])
def test_popular_items_stand_in_for_an_empty_list_of_an_unknown_user(item_cf, log, user):
    async def session():
        heard = Heard()
        async with served(item_cf, heard) as service:
            answer = await service.recommend(request(user, k=4, exclude=["i3"], columns=["item_id"]))
            expected = most_popular(log, ["i3"])[:4]
            assert [(item.item_id, item.score) for item in answer.items] == expected
            assert (answer.fallback, answer.known) == ("unknown_user", False)
            assert [item.columns for item in answer.items] == [{"item_id": i} for i, _ in expected]
            assert heard.fallbacks == [("movies", "unknown_user")]
            allowed = await service.recommend(request(user, k=4, allow=["i9", "i8", "x", "i9"]))
            among = [item for item, _ in most_popular(log) if item in ("i8", "i9")]
            assert ids(allowed) == among
            own = await service.recommend(request(user, history=["i1"]))
            assert own.fallback is None  # a history is enough for this model
        async with served(item_cf, fallback=False) as service:
            answer = await service.recommend(request(user))
            assert (answer.items, answer.fallback) == ([], None)

    asyncio.run(session())


def test_unknown_users_get_popular_items_by_a_setting(popularity, log):
    async def session():
        async with served(popularity, unknown_users="popular") as service:
            assert (await service.recommend(request("nobody"))).fallback == "unknown_user"
            assert (await service.recommend(request("u1"))).fallback is None
            assert (await service.recommend(request("x", history=["i1"]))).fallback is None
        async with served(popularity) as service:
            assert (await service.recommend(request("nobody"))).fallback is None

    asyncio.run(session())


def failing(service, error):
    """Makes the model of a service raise."""

    def search(*args, **kwargs):
        raise error

    service.hosted["movies"].answerer.release.search = search


@pytest.mark.parametrize("user", ["u1", "nobody"])
def test_popular_items_stand_in_for_a_model_that_raises(item_cf, log, user, caplog):
    async def session():
        heard = Heard()
        async with served(item_cf, heard) as service:
            failing(service, ArithmeticError("a tower fell"))
            answer = await service.recommend(request(user, k=5))
            seen = log.log.filter(log.log["user_id"] == user)["item_id"].to_list()
            assert ids(answer) == [item for item, _ in most_popular(log, seen)[:5]]
            assert (answer.fallback, answer.known) == ("failed", user == "u1")
            all_of_them = await service.recommend(request(user, k=5, exclude_seen=False))
            assert ids(all_of_them) == [item for item, _ in most_popular(log)[:5]]
            with pytest.raises(ConfigError, match="`k` must be"):
                await service.recommend(request(user, k=0))  # still an impossible request
            assert heard.fallbacks == [("movies", "failed")] * 2
        async with served(item_cf, fallback=False) as service:
            failing(service, ArithmeticError("a tower fell"))
            with pytest.raises(ModelFailedError):
                await service.recommend(request(user))

    asyncio.run(session())
    assert "a tower fell" in caplog.text


def hanging(service):
    """Makes the model of a service hang until the event is set."""
    release = service.hosted["movies"].answerer.release
    go, search = threading.Event(), release.search
    go.is_reached = False

    def wait(*args, **kwargs):
        go.is_reached = True
        assert go.wait(30)
        return search(*args, **kwargs)

    release.search = wait
    return go


def test_a_model_that_is_late_is_stood_in_for_while_the_client_waits(item_cf):
    async def session():
        heard = Heard()
        async with served(item_cf, heard, timeout_ms=50) as service:
            go = hanging(service)
            # Clients who name no deadline, or a later one.
            for deadline in (None, monotonic() + 60):
                answer = await service.recommend(request("u1"), deadline)
                assert (answer.fallback, len(answer.items)) == ("timeout", 10)
            rows = await service.recommend_batch([request("u1"), request("u2")], monotonic() + 60)
            assert [row.fallback for row in rows] == ["timeout"] * 2
            assert heard.fallbacks == [("movies", "timeout")] * 4
            # Similar items have no popular ones in their place.
            with pytest.raises(DeadlineError):
                await service.similar(SimilarRequest(item_id="i1"))
            go.set()

    asyncio.run(session())


def test_past_the_clients_deadline_is_an_error_whatever_stands_in(item_cf):
    async def session():
        for fallback in (True, False):
            heard = Heard()
            async with served(item_cf, heard, fallback=fallback) as service:
                go = hanging(service)
                with pytest.raises(DeadlineError):
                    await service.recommend(request("u1"), monotonic() + 0.05)
                with pytest.raises(DeadlineError):
                    await service.recommend(request("u1"), monotonic() - 1)
                rows = await service.recommend_batch([request("u1")], monotonic() + 0.05)
                assert [type(row) for row in rows] == [DeadlineError]
                assert heard.fallbacks == []
                go.set()

    asyncio.run(session())


def test_without_fallback_a_client_may_wait_longer_than_the_service(item_cf):
    async def session():
        async with served(item_cf, fallback=False, timeout_ms=50) as service:
            go = hanging(service)
            with pytest.raises(DeadlineError):
                await service.recommend(request("u1"))
            patient = asyncio.create_task(service.recommend(request("u2"), monotonic() + 60))
            with pytest.raises(DeadlineError):
                await service.recommend(request("u1"))  # later than the patient one's 50 ms
            go.set()
            assert (await patient).fallback is None

    asyncio.run(session())


def test_a_full_queue_refuses_while_the_model_hangs(item_cf):
    async def session():
        async with served(item_cf, max_waiting=2) as service:
            go = hanging(service)
            first = asyncio.create_task(service.recommend(request("u1")))
            await asyncio.sleep(0)
            waiting = [asyncio.create_task(service.recommend(request("u2"))) for _ in range(2)]
            await asyncio.sleep(0)
            with pytest.raises(QueueFullError):  # that is refused, so that clients slow down
                await service.recommend(request("u3"))
            go.set()
            assert [a.fallback for a in await asyncio.gather(first, *waiting)] == [None] * 3

    asyncio.run(session())


def test_a_service_whose_model_hangs_is_not_ready(item_cf):
    async def session():
        async with served(item_cf, stuck_seconds=0.03) as service:
            go = hanging(service)
            assert service.ready
            for _ in range(3):
                assert (await service.recommend(request("u1"))).fallback == "failed"
            assert not service.ready
            assert service.describe()[0]["state"] == "stuck"
            with pytest.raises(NotReadyError):
                await service.recommend(request("u1"))
            go.set()
            while not service.ready:
                await asyncio.sleep(0.001)

    asyncio.run(session())


# One queue


def test_one_thread_answers_lists_and_similar_items_together(item_cf):
    async def session():
        heard = Heard()
        async with served(item_cf, heard) as service:
            go = hanging(service)
            first = asyncio.create_task(service.recommend(request("u1")))
            while not go.is_reached:
                await asyncio.sleep(0.001)
            more = [
                asyncio.create_task(asked)
                for asked in (
                    service.similar(SimilarRequest(item_id="i1", k=3)),
                    service.recommend(request("u2")),
                    service.similar(SimilarRequest(item_id="none")),
                    service.recommend(request("u1", k=0)),
                )
            ]
            await asyncio.sleep(0)
            go.set()
            similar, list_, unknown, wrong = await asyncio.gather(*more, return_exceptions=True)
            await first
            release = tr.load(item_cf)
            assert ids(similar) == release.similar_items("i1", 3).item_ids
            assert ids(list_) == release.recommend(["u2"])[0].item_ids
            assert isinstance(unknown, DataError)
            assert isinstance(wrong, ValueError)
            assert heard.sizes == [1, 4]
            assert heard.named == {"query", "retrieval", "answer", "similar"}

    asyncio.run(session())


def test_a_long_batch_leaves_room_for_others(item_cf):
    async def session():
        async with served(item_cf, max_batch=4, max_waiting=5) as service:
            users = [f"u{n % 50}" for n in range(60)]
            batch = asyncio.create_task(service.recommend_batch([request(u) for u in users]))
            await asyncio.sleep(0)
            assert (await service.recommend(request("u1"))).user_id == "u1"
            assert [answer.user_id for answer in await batch] == users

    asyncio.run(session())


def test_stopping_answers_what_was_accepted_and_refuses_the_rest(item_cf):
    async def session():
        async with served(item_cf) as service:
            go = hanging(service)
            tasks = [asyncio.create_task(service.recommend(request(f"u{n}"))) for n in range(9)]
            await asyncio.sleep(0)
            stopping = asyncio.create_task(service.stop())
            await asyncio.sleep(0)
            assert not service.ready
            with pytest.raises(NotReadyError):
                await service.recommend(request("u1"))
            go.set()
            await stopping
            assert [(await task).user_id for task in tasks] == [f"u{n}" for n in range(9)]

    asyncio.run(session())


def test_a_published_version_is_served_without_asking(item_cf_copy, log):
    async def session():
        async with served(item_cf_copy, reload_seconds=0.01) as service:
            assert (await service.recommend(request("u1"))).version == 1
            await asyncio.to_thread(lambda: tr.export(tr.Popularity().fit(log), item_cf_copy))
            end = monotonic() + 30
            while (await service.recommend(request("u1"))).version == 1:
                assert monotonic() < end
                await asyncio.sleep(0.005)

    asyncio.run(session())
