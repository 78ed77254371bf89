"""A Ray cluster of processes on this machine, whose nodes can be killed, and see less than the first machine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from dagan_cli.upscale.executors.cluster.connection import joined

_CHECKS = {  # a node that is silent for three seconds is dead
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 3,
}
_STORE = 80 << 20  # bytes; the least that Ray takes is 75 MB
_ROOT = Path(__file__).parents[2]


class RayCluster:
    """Nodes with one CPU each. All but the first do not see the folder `unseen`, where the system can hide it.

    `ray stop` would end the clusters of other people; here each node's own processes are killed.
    """

    def __init__(self, folder: Path, unseen: Path) -> None:
        self._folder = Path("/tmp") / f"dagan-ray-{os.getpid()}"  # paths of sockets must be short
        self._log = folder / "ray.log"
        self._unseen = unseen
        self.nodes: list[subprocess.Popen[bytes]] = []
        port = _free_port()
        self.address = f"127.0.0.1:{port}"
        self.hides = shutil.which("unshare") is not None and _can_hide(unseen)
        head = ("--head", "--port", str(port), "--include-dashboard=false", "--temp-dir", str(self._folder))
        self.head = self._start(*head, "--system-config", json.dumps(_CHECKS))
        until = time.monotonic() + 60
        while not _answers(port):
            assert time.monotonic() < until, self._log.read_text()
            time.sleep(0.1)
        self._wait_for(1)

    def add(self) -> subprocess.Popen[bytes]:
        """Start a node, and wait until it has joined the cluster: two that start at once hinder each other."""
        node = self._start("--address", self.address)
        self.nodes.append(node)
        self._wait_for(1 + sum(each.poll() is None for each in self.nodes))
        return node

    def kill(self, node: subprocess.Popen[bytes]) -> None:
        """Kill all processes of a node, as when its power fails; workers are in groups of their own."""
        for process in _descendants(node.pid):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        node.wait()

    def close(self) -> None:
        """Kill all nodes."""
        for node in [*self.nodes, self.head]:
            self.kill(node)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _wait_for(self, count: int) -> None:
        until = time.monotonic() + 60
        with joined(self.address) as ray:
            while sum(node["Alive"] for node in ray.nodes()) < count:
                assert time.monotonic() < until, self._log.read_text()
                time.sleep(0.1)

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        options = ("--num-cpus=1", "--num-gpus=0", "--object-store-memory", str(_STORE))
        quiet = ("--disable-usage-stats", "--include-log-monitor=false")
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *options, *quiet, *arguments]
        if "--head" not in arguments and self.hides:
            command = [
                "unshare",
                "-rm",
                "sh",
                "-c",
                f'mount -t tmpfs none "{self._unseen}" && exec "$@"',
                "sh",
                *command,
            ]
        environment = {**os.environ, "PYTHONPATH": str(_ROOT), "RAY_USAGE_STATS_ENABLED": "0"}
        with self._log.open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd="/", start_new_session=True)


def _descendants(process: int) -> list[int]:
    """A process and all that it has started, the first one first, so that it does not start them again."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    children: dict[int, list[int]] = {}
    for line in listed.splitlines():
        pid, parent = map(int, line.split())
        children.setdefault(parent, []).append(pid)
    found = [process]
    for each in found:
        found += children.get(each, ())
    return found


def _can_hide(folder: Path) -> bool:
    """True if a process can have mounts of its own, without being root outside."""
    command = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
