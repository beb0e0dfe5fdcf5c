"""Nothing leaves loopback: the guard that every test lives under, and wandb's own processes watched from outside."""

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from tests.sweeps.forking import in_fork
from tests.sweeps.logging.test_run_log import open_log
from tests.sweeps.wandb_stub import WandbStub

ROOT = Path(__file__).resolve().parents[2]

OFFLINE_RUN = """
import sys
from pathlib import Path
import pandas as pd
from sweeps.logging.run_log import RunLog
with RunLog(Path(sys.argv[1]), wandb="offline", project="papergrid", entity=None, run_id="0a1b-1", name="row",
            group="re/main", job_type="training", tags=["re"], config={"seed": 0}) as log:
    for step in range(50):
        log.metrics(step, {"loss": 1.0})
    log.table("per_class", pd.DataFrame({"label": ["a"], "f1": [0.5]}))
    log.confusion(["a"], ["a"], ["a"])
assert not log.warning, log.warning
"""


def test_a_connection_off_loopback_is_refused():
    # 192.0.2.1 belongs to the documentation range: no host has it.
    with socket.socket() as plain, pytest.raises(RuntimeError, match=r"a test tried to reach 192\.0\.2\.1 port 80"):
        plain.connect(("192.0.2.1", 80))
    with socket.socket() as plain, pytest.raises(RuntimeError, match="port 443"):
        plain.connect_ex(("192.0.2.1", 443))
    with socket.socket(type=socket.SOCK_DGRAM) as plain, pytest.raises(RuntimeError, match="port 53"):
        plain.sendto(b"?", ("192.0.2.1", 53))
    with socket.socket(socket.AF_INET6) as plain, pytest.raises(RuntimeError, match="2001:db8::1"):
        plain.connect(("2001:db8::1", 80))
    with pytest.raises(RuntimeError, match=r"look up host\.invalid"):
        socket.create_connection(("host.invalid", 80), timeout=0.1)


def test_a_fork_is_guarded_too():
    def work():
        with socket.socket() as plain:
            plain.connect(("192.0.2.1", 80))

    with pytest.raises(AssertionError, match="a test tried to reach"):
        in_fork(work)


def test_loopback_and_unix_sockets_are_let_through(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(("localhost", server.getsockname()[1]), timeout=5).close()
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(str(tmp_path / "s"))
        server.listen()
        client.connect(str(tmp_path / "s"))


def environment(tmp_path, stub):
    keep = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    return {
        **keep,
        "WANDB_BASE_URL": stub.url,
        "WANDB_CONFIG_DIR": str(tmp_path / "config"),
        "WANDB_CACHE_DIR": str(tmp_path / "cache"),
        "PYTHONPATH": str(ROOT),
    }


def tracing_works(tmp_path):
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-f", "-o", str(tmp_path / "probe"), "true"], capture_output=True).returncode == 0


def leaves(line):
    """Whether a line of the trace names an internet address off loopback."""
    address = re.search(r'inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"', line)
    return bool(address) and not (address[1] or address[2]).startswith(("127.", "::1"))


def test_a_trace_line_that_leaves_is_told_from_one_that_stays():
    call = "12 connect(7, {sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("
    assert leaves(call + '"192.0.2.1")}, 16) = -1 EINPROGRESS')
    assert leaves('12 connect(7, {sa_family=AF_INET6, inet_pton(AF_INET6, "2001:db8::1", &sin6_addr)}, 28) = 0')
    assert not leaves(call + '"127.0.0.1")}, 16) = 0')
    assert not leaves('12 connect(7, {sa_family=AF_UNIX, sun_path="/run/s"}, 20) = 0')


def test_an_offline_run_makes_no_system_call_to_another_host(tmp_path):
    """Every connect, sendto and sendmsg of the cell and of wandb's service process, as the kernel saw them."""
    if not tracing_works(tmp_path):
        pytest.skip("strace is missing or may not trace here; the sampling test below still watches")
    trace = tmp_path / "trace"
    with WandbStub() as stub:
        command = [
            "strace",
            "-f",
            "--seccomp-bpf",
            "-e",
            "trace=connect,sendto,sendmsg,execve",
            "-o",
            str(trace),
            sys.executable,
            "-c",
            OFFLINE_RUN,
            str(tmp_path / "run"),
        ]
        found = subprocess.run(command, cwd=ROOT, env=environment(tmp_path, stub), capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    lines = trace.read_text().splitlines()
    assert any("wandb-core" in line and "execve" in line for line in lines), "the service process was not traced"
    connects = [line for line in lines if "connect(" in line]
    assert connects, "nothing was traced: the cell talks to wandb's service over a socket"
    assert [line for line in lines if leaves(line)] == []
    assert stub.peers == set(), "an offline run spoke to its server"


def test_wandb_processes_have_no_connection_off_loopback(tmp_path, monkeypatch):
    """Open connections of the cell and its children, sampled while an offline run logs."""
    with WandbStub() as stub:
        for name, value in environment(tmp_path, stub).items():
            monkeypatch.setenv(name, value)

        def work():
            seen, stop = set(), threading.Event()

            def sample():
                me = psutil.Process()
                while not stop.wait(0.05):
                    for process in [me, *me.children(recursive=True)]:
                        try:
                            seen.update(
                                (process.name(), connection.raddr.ip if connection.raddr else "")
                                for connection in process.net_connections("inet")
                            )
                            seen.add((process.name(), ""))
                        except psutil.Error:
                            continue

            watcher = threading.Thread(target=sample)
            watcher.start()
            with open_log(tmp_path / "run", wandb="offline") as log:
                for step in range(100):
                    log.metrics(step, {"loss": 1.0})
                stop.wait(0.5)
            stop.set()
            watcher.join()
            return seen

        seen = in_fork(work)
    assert "wandb-core" in {name for name, _ in seen}, "the service process was not seen"
    assert {address for _, address in seen} <= {"", "127.0.0.1", "::1"}
    assert stub.peers == set()
