"""Free memory is what the machine and its control groups leave."""

from __future__ import annotations

import pytest

from dagan_cli.device import free_host_memory

GIB = 1 << 30


@pytest.fixture
def machine(tmp_path):
    """A made-up /proc and /sys/fs/cgroup with 8 GiB available, and the means to add a control group."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable:  {8 * GIB // 1024} kB\n")

    def group(where: str, values: dict[str, object]) -> None:
        folder = tmp_path / "cgroup" / where
        folder.mkdir(parents=True, exist_ok=True)
        for name, value in values.items():
            (folder / name).write_text(f"{value}\n")

    def cgroups(lines: str) -> int:
        (tmp_path / "proc/self/cgroup").write_text(lines)
        return free_host_memory(tmp_path / "proc", tmp_path / "cgroup")

    return group, cgroups


def test_free_memory_is_what_the_machine_has_left(machine):
    assert machine[1]("0::/\n") == 8 * GIB


def test_a_control_group_limits_it_and_its_file_cache_does_not_count(machine):
    group, free = machine
    use = {"memory.max": 4 * GIB, "memory.current": 3 * GIB, "memory.stat": f"anon 5\ninactive_file {GIB}"}
    group("app/job", use)
    assert free("0::/app/job\n") == 2 * GIB


def test_a_parent_group_limits_it_too_and_max_is_no_limit(machine):
    group, free = machine
    group("app/job", {"memory.max": "max", "memory.current": 1, "memory.stat": ""})
    group("app", {"memory.max": 2 * GIB, "memory.current": GIB, "memory.stat": ""})
    assert free("0::/app/job\n") == GIB


def test_inside_a_container_the_limit_lies_at_the_root(machine):
    group, free = machine
    use = {"memory.limit_in_bytes": 2 * GIB, "memory.usage_in_bytes": GIB, "memory.stat": "total_inactive_file 0"}
    group("memory", use)
    assert free("5:cpu,cpuacct:/\n4:memory:/docker/0123\n") == GIB
