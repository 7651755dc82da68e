"""Worker processes: results, crashes, orphans."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from ppcls.data.workers import WorkerPool
from ppcls.errors import DataError


def square(number: int, allocate):
    """Arrays of growing size, so that shared memory has to grow too."""
    return [np.full((number + 1, 3), number, np.float32), np.array([number])], number**2


def process_ids(number: int, allocate):
    return [], os.getpid()


def fail_at_three(number: int, allocate):
    if number == 3:
        raise DataError("three.jpg: is broken")
    if number == 5:
        raise ZeroDivisionError("division by zero")
    return [], number


def slow(number: int, allocate):
    time.sleep(0.05)
    return [np.zeros(10)], number


def in_place(number: int, allocate):
    """Two arrays made where they are handed over, of which one is cut, and one that is not."""
    first = allocate((number + 2, 1000), np.float32)
    first[...] = number
    second = allocate((number * 100_000,), np.int16)
    second[...] = number
    return [first[:-1], second, np.full(300_000, number), np.zeros((0, 3))], number


def wait_until_gone(pids, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not any(is_running(pid) for pid in pids):
            return True
        time.sleep(0.05)
    return False


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("use_shared_memory", [True, False])
@pytest.mark.parametrize("num_workers", [1, 3])
def test_results_come_in_order(num_workers, use_shared_memory):
    pool = WorkerPool(square, num_workers, use_shared_memory=use_shared_memory)
    for tasks in ([*range(20)], [7, 2, 9], []):
        results = []
        for (large, small), rest in pool.map(tasks):
            number = int(small[0])
            assert large.shape == (number + 1, 3)
            assert (large == number).all()
            assert rest == number**2
            results.append(number)
        assert results == tasks
    pool.close()


@pytest.mark.parametrize("use_shared_memory", [True, False])
def test_arrays_made_in_place(use_shared_memory):
    pool = WorkerPool(in_place, 2, use_shared_memory=use_shared_memory)
    for (first, second, third, empty), number in pool.map([*range(12), 3, 30, 1]):
        assert first.shape == (number + 1, 1000)
        assert second.shape == (number * 100_000,)
        assert empty.shape == (0, 3)
        for array in (first, second, third):
            assert (array == number).all()
    pool.close()


def test_results_stay_valid_until_the_next_one():
    """The worker is ahead by then; it must not write into what was handed over."""
    pool = WorkerPool(square, 1, prefetch_factor=3)
    for (large, _), rest in pool.map(range(30, 0, -1)):
        time.sleep(0.005)
        assert (large**2 == rest).all()
    pool.close()


def test_workers_stay_between_epochs_and_end_with_close():
    pool = WorkerPool(process_ids, 2)
    first = {pid for _, pid in pool.map(range(6))}
    second = {pid for _, pid in pool.map(range(6))}
    assert first == second
    assert len(first) == 2
    assert os.getpid() not in first
    pool.close()
    assert wait_until_gone(first)
    assert {pid for _, pid in pool.map(range(6))}.isdisjoint(first)
    pool.close()


def test_an_abandoned_iteration_leaves_nothing_behind():
    pool = WorkerPool(square, 2)
    for _, rest in pool.map(range(10)):
        if rest == 9:
            break
    assert [rest for _, rest in pool.map([5, 6])] == [25, 36]
    pool.close()


def test_an_iteration_that_is_still_held_does_not_disturb_the_next():
    pool = WorkerPool(square, 2)
    left = pool.map(range(10))
    next(left)
    results = pool.map([5, 6, 7])
    assert next(results)[1] == 25
    left.close()
    assert [rest for _, rest in results] == [36, 49]
    pool.close()


def test_user_errors_arrive_as_they_are():
    pool = WorkerPool(fail_at_three, 2)
    results = pool.map(range(10))
    assert [next(results)[1] for _ in range(3)] == [0, 1, 2]
    with pytest.raises(DataError) as caught:
        next(results)
    assert str(caught.value) == "three.jpg: is broken"
    assert "fail_at_three" in str(caught.value.__cause__)
    pool.close()


def test_other_errors_become_user_errors_with_their_traceback_as_cause():
    pool = WorkerPool(fail_at_three, 1)
    with pytest.raises(DataError, match="ZeroDivisionError: division by zero") as caught:
        list(pool.map([5]))
    assert "fail_at_three" in str(caught.value.__cause__)
    pool.close()


@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_worker_is_reported_not_waited_for(killed):
    pool = WorkerPool(slow, 2)
    results = pool.map(range(50))
    next(results)
    os.kill(pool._workers[killed].process.pid, signal.SIGKILL)
    start = time.monotonic()
    with pytest.raises(DataError, match=rf"data worker {killed} .* signal 9 \(SIGKILL\)"):
        list(results)
    assert time.monotonic() - start < 5
    pool.close()


@pytest.mark.skipif(sys.platform != "linux", reason="uses Linux's parent-death signal")
@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_the_main_process(blow, repo_root):
    program = textwrap.dedent(
        """
        import time
        from ppcls.data.workers import WorkerPool
        import os

        def load(number, allocate):
            return [], os.getpid()

        pool = WorkerPool(load, 3)
        print(*{pid for _, pid in pool.map(range(9))}, flush=True)
        time.sleep(60)
        """
    )
    main = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=repo_root,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        # A shell starts background jobs with SIGINT ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    pids = [int(pid) for pid in main.stdout.readline().split()]
    assert len(pids) == 3
    assert all(is_running(pid) for pid in pids)
    main.send_signal(blow)
    main.wait(timeout=10)
    assert wait_until_gone(pids)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_requests_to_stop_are_for_the_main_process(signum):
    """They go to the whole group; a worker that died of one would be reported."""
    pool = WorkerPool(slow, 2)
    results = pool.map(range(10))
    next(results)
    for worker in pool._workers:
        os.kill(worker.process.pid, signum)
    assert len(list(results)) == 9
    pool.close()


def test_a_program_that_leaves_its_pool_open_ends(repo_root):
    program = textwrap.dedent(
        """
        import os
        from ppcls.data.workers import WorkerPool

        def load(number, allocate):
            return [], os.getpid()

        pool = WorkerPool(load, 2)
        results = pool.map(range(9))
        next(results)
        kept = [pool, results, load.__globals__]
        """
    )
    subprocess.run([sys.executable, "-c", program], cwd=repo_root, timeout=60, check=True)


def test_another_worker_takes_the_place_of_a_killed_one(caplog):
    """All results come, in order; the tasks it held are done again."""
    pool = WorkerPool(slow, 2, retries=1, describe=lambda task: f"number {task}")
    results = pool.map(range(30))
    numbers = [next(results)[1]]
    for worker in pool._workers:
        os.kill(worker.process.pid, signal.SIGKILL)
    numbers += [number for _, number in results]
    assert numbers == [*range(30)]
    assert caplog.text.count("another worker takes its place") == 2
    assert "SIGKILL), loading number " in caplog.text
    assert [number for _, number in pool.map(range(3))] == [0, 1, 2]
    pool.close()


def deadly_at_three(number: int, allocate):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return [], number


def test_a_task_that_kills_every_worker_is_named():
    pool = WorkerPool(deadly_at_three, 2, retries=1, describe=lambda task: f"number {task}")
    results = pool.map(range(10))
    assert [next(results)[1] for _ in range(3)] == [0, 1, 2]
    with pytest.raises(DataError, match=r"signal 9 \(SIGKILL\), loading number 3\. If memory"):
        next(results)
    pool.close()
