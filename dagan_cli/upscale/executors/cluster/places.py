"""Room for workers on the nodes of a cluster."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from dagan_cli.errors import BadOption
from dagan_cli.upscale.executors.cluster.node import Kind
from dagan_cli.upscale.executors.crew import Member
from dagan_cli.upscale.executors.units import Unit

Errand = Generator[Any, None, None]  # yields what it waits for: a reference of Ray, or None to be asked again


@dataclass(eq=False)
class Place:
    """Room for a worker on a node, and the worker in it."""

    name: str
    node: str  # its name
    options: dict[str, Any]  # what the worker asks for
    threads: int
    actor: Any = None
    kind: Kind | None = None  # known once a worker has started here
    is_ready: bool = False  # the worker can take a unit
    is_refused: bool = False  # no worker can work here
    errand: Errand | None = None
    awaited: Any = None  # what the errand waits for
    member: Member | None = None  # the worker as the crew knows it
    unit: Unit | None = None  # waits for the worker to start
    model: dict[Path, Path] = field(default_factory=dict)  # its file here and there
    spooled: dict[Path, Path] = field(default_factory=dict)  # sources here, and their copies there
    shared: dict[Path, bool] = field(default_factory=dict)  # folders for results: True if the node sees them too
    done: Counter[str] = field(default_factory=Counter)  # what the workers have made: images, videos, segments
    lost: int = 0  # workers that have died


@dataclass(eq=False)
class Node:
    """A node of the cluster, as Ray describes it."""

    name: str
    address: str
    places: list[Place]
    is_there: bool = True


@dataclass
class Rooms:
    """Divides nodes among workers: `jobs` for each GPU, or for the CPUs of a node; `most` on a node."""

    uses_gpus: bool
    jobs: int
    most: int | None
    _names: set[str] = field(default_factory=set)

    def on(self, facts: dict[str, Any]) -> Node:
        """Return a new node with its places."""
        resources = facts["Resources"]
        cpus = int(resources.get("CPU", 0))
        if self.uses_gpus:
            count = int(resources.get("GPU", 0)) * self.jobs
            asked = {"num_gpus": 1 / self.jobs, "num_cpus": 1 if cpus >= count else 0}
        else:
            count = min(cpus, self.most or self.jobs)
            asked = {"num_gpus": 0, "num_cpus": cpus // max(1, count)}
        count = count if self.most is None else min(count, self.most)
        name = self._name(facts["NodeManagerHostname"], facts["NodeID"])
        options = {**asked, "scheduling_strategy": _only_on(facts["NodeID"])}
        names = [name] if count == 1 else [f"{name} ({number + 1})" for number in range(count)]
        places = [Place(each, name, options, max(1, cpus // count)) for each in names]
        return Node(name, facts["NodeManagerAddress"], places)

    def _name(self, host: str, node: str) -> str:
        """Return a name for a node that no other one has had."""
        name = host if host not in self._names else f"{host}-{node[:6]}"
        self._names.add(name)
        return name


def usual_kind(kinds: Mapping[str, Kind], *, mixed: bool) -> Kind:
    """Return the kind of most workers, given by their names. Raises BadOption if there are several, unless `mixed`."""
    counts = Counter(kinds.values())
    if len(counts) > 1 and not mixed:
        raise BadOption(
            f"the nodes compute in different ways, and their pixels would differ: {'; '.join(by_kind(kinds))}",
            hint="use nodes of one kind, or allow it with --mixed-nodes",
        )
    return counts.most_common(1)[0][0]


def by_kind(kinds: Mapping[str, Kind]) -> list[str]:
    """Return a line for each kind, with the names of its workers."""
    return [
        f"{', '.join(name for name in kinds if kinds[name] == kind)}: {kind.words}"
        for kind in dict.fromkeys(kinds.values())
    ]


def _only_on(node: str) -> Any:
    return import_module("ray.util.scheduling_strategies").NodeAffinitySchedulingStrategy(node, soft=False)
