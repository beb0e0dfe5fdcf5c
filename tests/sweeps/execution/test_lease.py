import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest

from sweeps.execution.lease import Lease, LeaseHeld, alive, owner

HOLD = """
import time
from pathlib import Path
from sweeps.execution.lease import Lease
with Lease(Path({path!r})):
    time.sleep(60)
"""


def test_second_holder_is_refused_and_may_come_in_afterwards(tmp_path):
    path = tmp_path / "lease"
    with Lease(path):
        assert alive(path) and owner(path)["pid"] == os.getpid()
        with pytest.raises(LeaseHeld), Lease(path):
            pass
    assert not path.exists()
    with Lease(path):
        assert alive(path)


def test_lease_of_a_killed_process_is_taken_over(tmp_path):
    path = tmp_path / "lease"
    process = subprocess.Popen([sys.executable, "-c", HOLD.format(path=str(path))])
    deadline = time.monotonic() + 20
    while not alive(path) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert alive(path)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert path.exists() and not alive(path)
    with Lease(path):
        assert owner(path)["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_lease_of_another_host_is_dead_only_without_a_heartbeat(tmp_path):
    path = tmp_path / "lease"
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1, "token": "x"}))
    assert alive(path, stale_after=60)
    os.utime(path, (time.time() - 61,) * 2)
    assert not alive(path, stale_after=60)


def _race(path, barrier, won, index):
    barrier.wait()
    try:
        lease = Lease(path)
        lease.__enter__()
    except LeaseHeld:
        return
    won[index] = 1
    time.sleep(1.0)
    lease.__exit__(None, None, None)


def test_one_of_many_racers_gets_a_dead_lease(tmp_path):
    path = tmp_path / "lease"
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1, "token": "x"}))
    os.utime(path, (time.time() - 3600,) * 2)
    context = multiprocessing.get_context("fork")
    barrier, won = context.Barrier(12), context.Array("i", 12)
    racers = [context.Process(target=_race, args=(path, barrier, won, index)) for index in range(12)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert sum(won) == 1


def test_owner_whose_lease_was_taken_kills_itself(tmp_path):
    path = tmp_path / "lease"
    process = subprocess.Popen([sys.executable, "-c", HOLD.format(path=str(path))])
    deadline = time.monotonic() + 20
    while not alive(path) and time.monotonic() < deadline:
        time.sleep(0.05)
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1, "token": "another"}))
    assert process.wait(timeout=20) == -signal.SIGKILL


def test_lease_of_a_stopped_owner_is_taken_over_when_stale_and_the_owner_never_writes_again(tmp_path):
    path, written = tmp_path / "lease", tmp_path / "written"
    program = f"""
import time
from pathlib import Path
from sweeps.execution.lease import Lease
with Lease(Path({str(path)!r})):
    while True:
        Path({str(written)!r}).open("a").write("x")
        time.sleep(0.001)
"""
    process = subprocess.Popen([sys.executable, "-c", program])
    try:
        deadline = time.monotonic() + 20
        while not written.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        assert alive(path), "stopped for a moment is not dead"
        with pytest.raises(LeaseHeld), Lease(path):
            pass
        os.utime(path, (time.time() - 61,) * 2)
        assert not alive(path)
        before = written.stat().st_size
        with Lease(path):
            process.send_signal(signal.SIGCONT)
            assert process.wait(timeout=20) == -signal.SIGKILL
            assert written.stat().st_size == before and owner(path)["pid"] == os.getpid()
    finally:
        process.kill()
        process.wait()


def test_a_late_heartbeat_of_a_process_that_computes_is_no_death(tmp_path):
    path = tmp_path / "lease"
    with Lease(path):
        os.utime(path, (time.time() - 3600,) * 2)
        assert alive(path)
