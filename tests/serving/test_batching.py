"""Greedy batching: who is answered when, and by which call."""

import asyncio
import gc
import threading
import weakref
from time import monotonic

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrecall.errors import (
    DataError,
    DeadlineError,
    ModelFailedError,
    NotReadyError,
    QueueFullError,
)
from tfrecall.serving.batching import MAX_HANGING, GreedyBatcher


class Gate:
    """Answers ten times the number that is asked, after `open` was called once for the call.

    Attributes:
        batches: requests of each call so far.
    """

    def __init__(self, is_open=False):
        self.batches = []
        self._open = threading.Semaphore(0)
        self._is_open = is_open

    def __call__(self, numbers):
        self.batches.append([*numbers])
        if not self._is_open:
            assert self._open.acquire(timeout=30)
        return [number if isinstance(number, Exception) else 10 * number for number in numbers]

    def open(self, calls=1):
        self._open.release(calls)

    def leave_open(self):
        self._is_open = True
        self.open(100)


async def asked(batcher, numbers, **options):
    """Requests that stand in the queue, in order, or run."""
    tasks = [asyncio.create_task(batcher.ask(number, **options)) for number in numbers]
    await settled()
    return tasks


async def settled():
    for _ in range(5):
        await asyncio.sleep(0)


async def until(condition):
    end = monotonic() + 30
    while not condition():
        assert monotonic() < end
        await asyncio.sleep(0.001)


def test_the_first_request_starts_at_once_and_those_that_come_meanwhile_share_the_next_call():
    async def session():
        gate = Gate()
        batcher = GreedyBatcher(gate)
        tasks = await asked(batcher, [1, 2, 3])
        await until(lambda: gate.batches == [[1]])  # alone, although two more came right after it
        assert len(batcher) == 2
        gate.open(2)
        assert await asyncio.gather(*tasks) == [10, 20, 30]
        assert gate.batches == [[1], [2, 3]]
        assert len(batcher) == 0
        await batcher.close()

    asyncio.run(session())


def test_calls_take_at_most_the_cap_and_the_oldest_first():
    async def session():
        gate = Gate()
        batcher = GreedyBatcher(gate, max_batch=3)
        tasks = await asked(batcher, range(8))
        gate.leave_open()
        await asyncio.gather(*tasks)
        assert gate.batches == [[0], [1, 2, 3], [4, 5, 6], [7]]
        await batcher.close()

    asyncio.run(session())


@given(st.lists(st.integers(0, 9), max_size=40), st.integers(1, 5), st.data())
def test_each_request_gets_its_own_answer_whatever_comes_goes_and_fails(numbers, cap, data):
    """Every request is in exactly one call, those that left before it in none, in order of arrival."""
    leaves = data.draw(st.lists(st.booleans(), min_size=len(numbers), max_size=len(numbers)))
    wrong = data.draw(st.lists(st.booleans(), min_size=len(numbers), max_size=len(numbers)))
    wanted = [DataError(str(n)) if bad else n for n, bad in zip(numbers, wrong, strict=True)]

    async def session():
        gate = Gate()
        batcher = GreedyBatcher(gate, max_batch=cap)
        first = (await asked(batcher, [-1]))[0]
        tasks = await asked(batcher, wanted)
        for task, leave in zip(tasks, leaves, strict=True):
            if leave:
                task.cancel()
        await settled()
        stay = [one for one, leave in zip(wanted, leaves, strict=True) if not leave]
        assert len(batcher) == len(stay)
        gate.leave_open()
        assert await first == -10
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        for one, leave, answer in zip(wanted, leaves, answers, strict=True):
            if leave:
                assert isinstance(answer, asyncio.CancelledError)
            else:
                assert answer is one if isinstance(one, Exception) else answer == 10 * one
        calls = gate.batches[1:]
        assert [one for call in calls for one in call] == stay
        assert all(len(call) == cap for call in calls[:-1])
        await batcher.close()

    asyncio.run(session())


def test_a_full_queue_refuses_and_one_that_leaves_makes_room():
    async def session():
        gate = Gate()
        batcher = GreedyBatcher(gate, max_waiting=2)
        running, first, second = await asked(batcher, [1, 2, 3])
        with pytest.raises(QueueFullError, match="2 requests wait already"):
            await batcher.ask(4)
        first.cancel()
        await settled()
        (third,) = await asked(batcher, [5])
        with pytest.raises(QueueFullError):
            await batcher.ask(6)
        gate.leave_open()
        assert await asyncio.gather(running, second, third) == [10, 30, 50]
        await batcher.close()

    asyncio.run(session())


def test_the_loop_stands_back_once_for_each_call_and_never_without_one():
    async def test():
        gate = Gate()
        batcher = GreedyBatcher(gate)
        batcher.let_run(60)  # nothing runs
        first, second = await asked(batcher, [1, 2])
        threading.Timer(0.05, gate.open).start()
        batcher.let_run(60)  # ends with the call, whose answer waits for the loop
        assert not first.done()
        batcher.let_run(60)
        assert await first == 10
        batcher.let_run(0.001)  # the second call hangs
        batcher.let_run(60)
        gate.open()
        assert await second == 20
        await batcher.close()

    asyncio.run(test())


def test_a_deadline_that_passes_in_the_queue_or_during_the_call_frees_its_place():
    async def session():
        gate = Gate()
        batcher = GreedyBatcher(gate, max_waiting=1)
        during = asyncio.create_task(batcher.ask(1, monotonic() + 0.1))
        await until(lambda: gate.batches)
        for number in (2, 3):  # the second one finds room, although the call still runs
            with pytest.raises(DeadlineError):
                await batcher.ask(number, monotonic() + 0.1)
            assert len(batcher) == 0
        with pytest.raises(DeadlineError):
            await during
        with pytest.raises(DeadlineError):
            await batcher.ask(4, monotonic() - 1)
        (last,) = await asked(batcher, [5])
        gate.leave_open()
        assert await last == 50
        assert gate.batches == [[1], [5]]  # no work for those that nobody waited for
        await batcher.close()

    asyncio.run(session())


def test_a_call_that_raises_fails_its_requests_and_the_next_call_goes_on(caplog):
    async def session():
        def answer(numbers):
            if 0 in numbers:
                raise StopIteration("a tower fell")  # which no future takes as it is
            return numbers

        batcher = GreedyBatcher(answer)
        first, second = await asked(batcher, [0, 1])
        with pytest.raises(ModelFailedError) as caught:
            await first
        assert isinstance(caught.value.__cause__, StopIteration)
        assert "tower" not in str(caught.value)  # the reason is for the log
        assert await second == 1
        await batcher.close()

    asyncio.run(session())
    assert "a tower fell" in caplog.text


def test_too_few_answers_fail_all_of_the_call(caplog):
    async def session():
        batcher = GreedyBatcher(lambda numbers: [])
        with pytest.raises(ModelFailedError):
            await batcher.ask(1)
        await batcher.close()

    asyncio.run(session())
    assert "0 answers to 1 requests" in caplog.text


@pytest.mark.slow
def test_a_call_that_hangs_fails_and_a_new_thread_answers_the_others(caplog):
    async def session():
        gate, free = threading.Event(), []

        def answer(numbers):
            if 0 in numbers:
                free.append(gate.wait(30))
            return numbers

        batcher = GreedyBatcher(answer, stuck_seconds=0.5)
        hanging, next_one = await asked(batcher, [0, 1])
        assert await next_one == 1
        with pytest.raises(ModelFailedError):
            await hanging
        for _ in range(MAX_HANGING - 1):
            assert not batcher.is_stuck
            with pytest.raises(ModelFailedError):
                await batcher.ask(0)
        assert batcher.is_stuck
        with pytest.raises(NotReadyError, match="have not returned"):
            await batcher.ask(1)
        gate.set()
        await until(lambda: not batcher.is_stuck)  # a call came back after all
        assert await batcher.ask(1) == 1
        await batcher.close()

    asyncio.run(session())
    assert "has not returned in 0.5 seconds" in caplog.text


def test_closing_answers_what_was_accepted_and_refuses_the_rest():
    async def session():
        gate = Gate()
        batcher = GreedyBatcher(gate)
        tasks = await asked(batcher, [1, 2])
        closing = asyncio.create_task(batcher.close())
        await settled()
        with pytest.raises(NotReadyError):
            await batcher.ask(3)
        assert not closing.done()
        gate.leave_open()
        await closing
        assert [task.result() for task in tasks] == [10, 20]

    asyncio.run(session())


@pytest.mark.slow
def test_closing_does_not_wait_for_a_call_that_nobody_waits_for():
    async def session():
        gate = Gate()
        batcher = GreedyBatcher(gate)
        with pytest.raises(DeadlineError):
            await batcher.ask(1, monotonic() + 0.02)
        await asyncio.wait_for(batcher.close(), 20)  # the thread still stands at the gate
        gate.leave_open()

    asyncio.run(session())


def test_deadlines_in_any_order_are_noticed_on_their_own():
    """One timer looks at all of them: an earlier one that comes later, and later ones after it."""

    async def session():
        gate, told = Gate(), []
        batcher = GreedyBatcher(gate)
        running = (await asked(batcher, [0]))[0]
        start = monotonic()
        for number, seconds in ((1, 0.3), (2, 0.1), (3, 60.0), (4, 0.2)):
            batcher.submit(number, lambda _, n=number: told.append(n), start + seconds)
        await until(lambda: len(told) == 3)
        assert told == [2, 4, 1]
        assert len(batcher) == 1
        assert monotonic() >= start + 0.3
        gate.leave_open()
        await until(lambda: told[3:] == [3])
        assert await running == 0
        await batcher.close()

    asyncio.run(session())


def test_a_request_that_is_submitted_is_told_once_or_not_at_all_if_it_was_withdrawn():
    async def session():
        gate, told = Gate(), []
        batcher = GreedyBatcher(gate, max_waiting=3)
        during = batcher.submit(1, told.append)
        kept, gone = batcher.submit(2, told.append), batcher.submit(3, told.append)
        late = batcher.submit(4, told.append, monotonic() + 0.02)
        with pytest.raises(QueueFullError):
            batcher.submit(5, told.append)
        batcher.withdraw(gone)
        await until(lambda: told)
        assert isinstance(told.pop(), DeadlineError)
        batcher.withdraw(during)  # its call runs on
        gate.leave_open()
        await until(lambda: told)
        await batcher.close()
        for one in (kept, late):
            batcher.withdraw(one)
        assert told == [20]
        assert gate.batches == [[1], [2]]

    asyncio.run(session())


def test_an_answer_that_cannot_be_given_keeps_none_from_the_others(caplog):
    def broken(answer):
        raise RuntimeError("no socket")

    async def session():
        gate, told = Gate(), []
        batcher = GreedyBatcher(gate)
        running = (await asked(batcher, [1]))[0]
        batcher.submit(2, broken)
        batcher.submit(3, told.append)
        gate.leave_open()
        assert await running == 10
        await batcher.close()
        assert told == [30]

    asyncio.run(session())
    assert "no socket" in caplog.text


def test_waits_and_sizes_of_calls_are_observed():
    async def session():
        gate, seen = Gate(), []
        batcher = GreedyBatcher(gate, observe=lambda waits, seconds: seen.append((waits, seconds)))
        tasks = await asked(batcher, [1, 2, 3])
        await until(lambda: gate.batches)
        since = monotonic()
        await asyncio.sleep(0.03)
        held = monotonic() - since
        gate.leave_open()
        await asyncio.gather(*tasks)
        await batcher.close()
        (first, seconds), (second, _) = seen
        assert (len(first), len(second)) == (1, 2)
        assert min(first) >= 0
        assert seconds >= held  # of the first call
        assert min(second) >= held  # which the others waited for

    asyncio.run(session())


def test_nothing_keeps_requests_and_answers_after_the_call():
    class Big:
        pass

    async def session():
        batcher = GreedyBatcher(lambda asked: [Big() for _ in asked])
        request = Big()
        answer = await batcher.ask(request, monotonic() + 60)
        known = weakref.ref(request), weakref.ref(answer)
        del request, answer
        # The thread lets go of them when it next has its turn.
        await until(lambda: gc.collect() >= 0 and [one() for one in known] == [None, None])
        await batcher.close()

    asyncio.run(session())
