"""The Ray engine on a cluster of two simulated nodes of this machine, one of which is lost in mid-sweep."""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys

import psutil
import pytest

from sweeps.engines import ray as ray_engine
from sweeps.engines.protocol import make_engine
from sweeps.engines.ray import RayEngine
from sweeps.errors import UserError
from sweeps.execution.driver import drive
from sweeps.execution.lease import alive, owner
from sweeps.execution.stages import StageStore
from tests.sweeps.engine_cells import completions, history, job, scripted

MISSING = "ray is not installed: pip install -c constraints.txt 'ray>=2.55,<3'"


def test_without_ray_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install.*ray") as caught:
        make_engine({"name": "ray"}, threads=1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"workers": 0}, "engine.workers"),
        ({"gpus": -1}, "engine.gpus"),
        ({"timeout_minutes": 0}, "timeout_minutes"),
        ({"memory_gib": 0}, "memory_gib"),
    ],
)
def test_bad_settings_are_refused_by_name(settings, named):
    with pytest.raises(UserError, match=named):
        RayEngine(threads=1, **settings)


class StandIn:
    """What the engine asks of Ray, for tests of what it asks: tasks end when interrupted, or only when killed."""

    class exceptions:
        RayError = type("RayError", (Exception,), {})
        OutOfMemoryError = type("OutOfMemoryError", (RayError,), {})
        RayTaskError = type("RayTaskError", (RayError,), {})
        TaskCancelledError = type("TaskCancelledError", (RayError,), {})

    def __init__(self, deaf=()):
        self.deaf, self.asked, self.ended, self.down = set(deaf), [], {}, False

    def cancel(self, reference, force):
        self.asked.append((reference, force))
        if reference not in self.ended and (force or reference not in self.deaf):
            self.ended[reference] = force

    def wait(self, references, num_returns, timeout):
        if self.deaf == {"interrupts"}:
            raise KeyboardInterrupt
        return [one for one in references if one in self.ended], [one for one in references if one not in self.ended]

    def get(self, reference):
        if self.ended[reference]:
            raise self.exceptions.RayError("WorkerCrashedError")
        return 1

    def shutdown(self):
        self.down = True


def stood_in(monkeypatch, ray, jobs, minutes=1.0):
    engine = RayEngine.__new__(RayEngine)
    engine._ray, engine._timeout, engine._started, engine._late = ray, minutes * 60, True, {}
    engine._running = {one.signature: one for one in jobs}
    monkeypatch.setattr(ray_engine, "owner", lambda path: {"since": 0.0 if path.parent.name in "ab" else 1e12})
    return engine


def test_a_task_over_its_time_limit_is_interrupted_before_it_is_killed(tmp_path, monkeypatch):
    ray = StandIn(deaf="b")
    engine = stood_in(monkeypatch, ray, [job(tmp_path, name) for name in "abc"])
    for _ in range(2):
        engine._stop_late()
    assert ray.asked == [("a", False), ("b", False)], "each is asked once, and c has time left"
    monkeypatch.setattr(ray_engine, "_PATIENCE", -1.0)
    engine._stop_late()
    assert ("b", True) in ray.asked
    ended = {name: engine._collect(name) for name in "ab"}
    assert (ended["a"].status, ended["b"].status) == (1, -signal.SIGKILL)
    assert all(one.limit and "engine.timeout_minutes" in one.reason for one in ended.values())


def test_a_driver_that_ends_interrupts_its_tasks_and_kills_what_is_left(tmp_path, monkeypatch, capsys):
    ray = StandIn(deaf="b")
    stood_in(monkeypatch, ray, [job(tmp_path, name) for name in "ab"]).cancel()
    assert ray.asked == [("a", False), ("b", False), ("b", True)] and ray.down
    assert "write a checkpoint" in capsys.readouterr().err


def test_a_second_ctrl_c_kills_all_tasks(tmp_path, monkeypatch):
    ray = StandIn(deaf=["interrupts"])
    with pytest.raises(KeyboardInterrupt):
        stood_in(monkeypatch, ray, [job(tmp_path, name) for name in "ab"]).cancel()
    assert ray.asked[2:] == [("a", True), ("b", True)]


@pytest.fixture
def two_nodes(monkeypatch):
    ray = pytest.importorskip("ray", reason=MISSING)
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    # Workers find the scripted cells by name, as they find sweeps.run in a real sweep.
    monkeypatch.setenv("PYTHONPATH", f"{ray_engine.ROOT}")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    yield cluster, second
    ray.shutdown()
    cluster.shutdown()


def node_of(cluster, name, outputs):
    """Simulated node on which a cell runs: the one whose raylet is an ancestor of the cell's process."""
    ancestors = {parent.pid for parent in psutil.Process(owner(outputs / "runs" / name / "lease")["pid"]).parents()}
    for node in cluster.list_all_nodes():
        raylets = {info.process.pid for infos in node.all_processes.values() for info in infos}
        if raylets & ancestors:
            return node
    raise AssertionError(f"no node runs {name}")


@pytest.mark.slow
def test_cells_of_a_lost_node_are_retried_on_the_other_and_none_is_run_twice(two_nodes, tmp_path):
    cluster, second = two_nodes
    engine = RayEngine(threads=1, address=cluster.address, work=scripted)
    assert engine.slots == 2
    jobs = [
        job(tmp_path, "a", steps=60, pause=0.1),
        job(tmp_path, "b", steps=60, pause=0.1),
        *(job(tmp_path, name, steps=3) for name in "cdef"),
        job(tmp_path, "g", "raise"),
    ]
    lost = []

    def lose_a_node(outcome, running):
        busy = [name for name in "ab" if alive(tmp_path / "runs" / name / "lease")]
        busy = [name for name in busy if len(history(tmp_path, name)) > 10]
        if lost or len(busy) < 2:
            return
        victims = [name for name in busy if node_of(cluster, name, tmp_path) is second]
        assert len(victims) == 1, "the two long cells were to be on different nodes"
        lost.append((victims[0], len(history(tmp_path, victims[0]))))
        cluster.remove_node(second, allow_graceful=False)

    outcome = drive(jobs, engine, StageStore(tmp_path / "stages"), retries=3, watch=lose_a_node)
    assert sorted(outcome.finished) == list("abcdef") and list(outcome.failed) == ["g"]
    assert outcome.failed["g"].startswith("bug: KeyError")
    name, before = lost[0]
    assert outcome.retried >= 1
    counts = completions(tmp_path)
    assert counts == {**dict.fromkeys("abcdef", 1), "g": 0}
    starts = [line for line in history(tmp_path, name) if line.startswith("started")]
    steps = [line for line in history(tmp_path, name) if line.startswith("step")]
    assert len(starts) == 2 and len(set(steps)) == 60 and len(steps) <= 61, "it had to go on from its checkpoint"
    # Every cell had a process of its own.
    processes = [line.split()[1] for one in "abcdef" for line in history(tmp_path, one) if line.startswith("started")]
    assert len(set(processes)) == len(processes) and before > 10


LOCAL_CLUSTER = """
import json, re, sys, time
import psutil
from pathlib import Path
from tests.sweeps.engine_cells import history, job, scripted
from sweeps.engines.ray import RayEngine
outputs = Path(sys.argv[1])
if __name__ == "__main__":
    engine = RayEngine(threads=1, workers=2, work=scripted)
    engine.submit(job(outputs, "a", steps=400, pause=0.1))
    engine.submit(job(outputs, "b", "kill once"))
    ended, deadline = [], time.monotonic() + 120
    while time.monotonic() < deadline and (not ended or len(history(outputs, "a")) < 5):
        ended += engine.poll()
    me = psutil.Process()
    family = {me.pid, *(child.pid for child in me.children(recursive=True))}
    listening = {found.laddr.ip for found in psutil.net_connections("inet")
                 if found.pid in family and found.status == psutil.CONN_LISTEN}
    engine.cancel()
    print(json.dumps({"ended": [[one.job.signature, one.status, one.reason] for one in ended],
                      "listening": sorted(listening), "left": [str(child) for child in me.children(recursive=True)]}))
"""


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason=MISSING)
def test_own_cluster_listens_on_loopback_only_and_cancel_leaves_recorded_cells(tmp_path):
    # A process of its own: Ray reads where it may listen when it is imported.
    environment = {**os.environ, "PYTHONPATH": f"{ray_engine.ROOT}"}
    script = tmp_path / "driver.py"
    script.write_text(LOCAL_CLUSTER)
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, timeout=240, env=environment
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    ((name, status, reason),) = seen["ended"]
    assert (name, status) == ("b", -signal.SIGKILL) and "worker or node was lost" in reason
    assert seen["listening"] and all(re.match(r"(::ffff:)?127\.|::1$", ip) for ip in seen["listening"])
    failure = json.loads((tmp_path / "runs" / "a" / "failed.json").read_text())
    assert failure["class"] in ("killed", "preempted") and not alive(tmp_path / "runs" / "a" / "lease")
