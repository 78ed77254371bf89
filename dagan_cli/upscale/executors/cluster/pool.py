"""A pool of workers on the nodes of a Ray cluster: one for each GPU, or one for the CPUs of each node.

Nodes may come and go: a worker is started on each that is there, and a unit whose worker is lost is done by another.
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dagan_cli.errors import BadOption, DaganError
from dagan_cli.upscale.events import Notice
from dagan_cli.upscale.executors.cluster.carried import with_paths
from dagan_cli.upscale.executors.cluster.connection import INSTALL, answers, joined, local_workers
from dagan_cli.upscale.executors.cluster.errands import Errands, Unable
from dagan_cli.upscale.executors.cluster.node import Hand, Kind
from dagan_cli.upscale.executors.cluster.places import Errand, Node, Place, Rooms, by_kind, usual_kind
from dagan_cli.upscale.executors.crew import Member
from dagan_cli.upscale.executors.units import Died, Message, Unit
from dagan_cli.upscale.work import Work

_LOOK = 1.0  # seconds between looks at which nodes there are
_SILENCE = 40.0  # seconds that the head node may be silent: one that is restarted is back by then
_ROOM = 5.0  # seconds to wait for a node with room: a cluster may have just been started
_START = 60.0  # seconds that the first worker may take to start
_TOGETHER = 20.0  # seconds that the others may take after it, to be compared with it
_LEAVING = 10.0  # seconds that workers have to end by themselves


class NodesGone(DaganError):
    """The cluster, or each node that could work, has gone."""


@dataclass(eq=False)
class _Hired:
    """A worker, as the crew knows it."""

    pool: Cluster
    place: Place

    @property
    def name(self) -> str:
        return self.place.name

    def send(self, unit: Unit) -> None:
        self.place.unit = unit
        self.pool.begin(self.place)

    def stop(self) -> None:
        if self.place.actor is not None:
            self.pool.call(self.place, "stop")


class Cluster:
    """Workers on the nodes of a cluster, which is joined; see `connection.joined` for the address.

    Raises BadOption for a cluster that cannot be joined, has no room, or has nodes of different kinds; Stopped; and
    what loading the model raises.
    """

    def __init__(self, work: Work) -> None:
        request = work.request
        assert request.cluster is not None
        self._work = work
        self._request = request
        self._nodes: dict[str, Node] = {}  # all that have been there, by their ids
        self._places: list[Place] = []  # on the nodes that are there
        self._kind: Kind | None = None
        self._said: list[tuple[Member, Message]] = []
        self._problems: list[DaganError] = []  # of workers that could not start
        self._looked = 0.0
        self._heard = time.monotonic()  # of the head node
        self._open = ExitStack()
        try:
            self._ray = self._open.enter_context(joined(request.cluster))
            self._rooms = Rooms(self._wants_gpus(), max(1, len(request.devices)), local_workers(request.cluster))
            self._hand = self._ray.remote(concurrency_groups={"control": 4})(Hand)
            self._errands = Errands(self._ray, work, self._say)
            self._begin()
        except BaseException:
            self.close()
            raise

    def places(self) -> list[str]:
        """Return the names of the places whose workers have started, or where they may, if there are no others."""
        usable = [place for place in self._places if not place.is_refused]
        return [place.name for place in usable if place.kind is not None] or [place.name for place in usable]

    def hire(self, place: str) -> Member:
        """Return the worker in a place; it is started if the one before has died."""
        found = next(each for each in self._places if each.name == place)
        if found.actor is None:
            self._start(found)
        found.member = _Hired(self, found)
        return found.member

    def wait(self, seconds: float) -> list[tuple[Member, Message]]:
        """Return what workers say, or that they have died. Raises NodesGone."""
        if time.monotonic() - self._looked > _LOOK:
            self._look()
        self._go_on(0.0 if self._said else seconds)
        if all(place.is_refused for place in self._places):
            what = "no node that can work is left in the cluster"
            raise NodesGone(what, hint="start nodes, and run the same command again")
        said, self._said = self._said, []
        return said

    def close(self) -> None:
        """End all workers, and leave the cluster."""
        with suppress(Exception):  # the cluster may be gone
            self._end_workers()
        self._open.close()

    def report(self) -> list[dict[str, Any]]:
        """Return what the report says of each node: its kind, and the work that it did."""
        return [_row(node) for node in self._nodes.values()]

    def begin(self, place: Place) -> None:
        """Let a worker begin its unit, if it has started."""
        if place.is_ready and place.unit is not None and place.member is not None and place.errand is None:
            unit, place.unit = place.unit, None
            place.errand = self._errands.perform(place, place.member, unit)
            self._step(place)

    def call(self, place: Place, method: str, *arguments: Any) -> Any:
        """Call a method of a worker that answers at once, whatever it does meanwhile."""
        return self._errands.call(place, method, *arguments)

    def _say(self, member: Member, message: Message) -> None:
        self._said.append((member, message))

    def _wants_gpus(self) -> bool:
        """True if workers are to ask for GPUs: on --device cuda, or auto where there are any. Raises BadOption."""
        device = self._request.engine.device
        if device not in ("auto", "cpu", "cuda"):
            raise BadOption(
                f"--device {device} does not go with --cluster: Ray chooses the GPU of each worker",
                hint="use --device cuda, or --device cpu",
            )
        wanted = {"cpu": ("CPU",), "cuda": ("GPU",), "auto": ("CPU", "GPU")}[device]
        until = time.monotonic() + _ROOM
        while True:
            nodes = [node for node in self._ray.nodes() if node["Alive"]]
            has_room = any(node["Resources"].get(what, 0) >= 1 for node in nodes for what in wanted)
            if has_room or time.monotonic() > until:
                break
            self._work.stop_if_asked()
            time.sleep(0.2)
        gpus = any(node["Resources"].get("GPU", 0) >= 1 for node in nodes)
        if device == "cuda" and not gpus:
            count = f"{len(nodes)} node{'s' * (len(nodes) != 1)}"
            raise BadOption(
                f"the cluster has no GPU ({count}), and --device cuda asks for one",
                hint="add nodes with GPUs (ray start --num-gpus), or use --device cpu",
            )
        return device != "cpu" and gpus

    def _look(self) -> None:
        """Find nodes that are new, and those that have gone."""
        self._looked = time.monotonic()
        if not answers(self._ray.get_runtime_context().gcs_address):  # to ask it would block
            if time.monotonic() - self._heard > _SILENCE:
                what = f"the head node of the cluster has not answered for {_SILENCE:.0f} s"
                raise NodesGone(what, hint="start the cluster, and run the same command again: it continues")
            return
        self._heard = time.monotonic()
        alive = {facts["NodeID"]: facts for facts in self._ray.nodes() if facts["Alive"]}
        for id, node in self._nodes.items():
            if node.is_there and id not in alive:
                node.is_there = False
                for place in node.places:
                    self._lost(place, f"node {node.name} has left the cluster")
                self._work.tell(Notice(f"node {node.name} has left the cluster", ()))
        for id, facts in alive.items():
            if id not in self._nodes:
                self._nodes[id] = self._rooms.on(facts)
                for place in self._nodes[id].places:
                    self._start(place)
        self._places = [place for node in self._nodes.values() if node.is_there for place in node.places]

    def _begin(self) -> None:
        """Start workers on all nodes, wait for them a little, and compare them."""
        until = time.monotonic() + _START
        self._look()
        if not self._places:
            raise BadOption("the cluster has no CPU for a worker", hint="add nodes with CPUs, or with GPUs")
        while any(place.errand for place in self._places) and time.monotonic() < until:
            self._work.stop_if_asked()
            self._go_on(0.1)
            if any(place.is_ready for place in self._places):
                until = min(until, time.monotonic() + _TOGETHER)
        ready = [place for place in self._places if place.kind is not None and not place.is_refused]
        kinds = {place.name: place.kind for place in ready if place.kind is not None}
        if not kinds and self._problems:
            raise self._problems[0]
        if not kinds:
            what = f"no worker has started on the cluster within {_START:.0f} s: its nodes may be busy"
            raise BadOption(what, hint="see `ray status`, and end other jobs")
        self._kind = usual_kind(kinds, mixed=self._request.mixed_nodes)
        nodes = len({place.node for place in ready})
        text = f"{len(ready)} worker{'s' * (len(ready) > 1)} on {nodes} node{'s' * (nodes > 1)} of the cluster"
        self._work.tell(Notice(text, tuple(by_kind(kinds))))

    def _start(self, place: Place) -> None:
        """Start a worker. It takes units once its errand has ended."""
        device = "cuda" if self._rooms.uses_gpus else "cpu"
        place.actor = self._hand.options(**place.options).remote(self._request, device, place.threads)
        place.spooled.clear()
        place.model.clear()
        place.is_ready = False
        place.errand = self._prepare(place)
        self._step(place)

    def _prepare(self, place: Place) -> Errand:
        """Load the model in a new worker, and compare it with the others."""
        model = self._request.model.name
        if (file := self._model_file()) is not None:
            for error in (yield from self._errands.bring([file], place, place.model)).values():
                raise error
            place.spooled.clear()  # it stays there
            assert model is not None
            place.model[Path(model)] = place.model.pop(file)  # as the user names it
            model = str(place.model[Path(model)])
        answer = place.actor.ready.remote(model)
        yield answer
        found = self._ray.get(answer)
        if isinstance(found, DaganError):
            with_paths(found, {there: here for here, there in place.model.items()}, in_texts=True)
            self._refuse(place, found)
            return
        place.kind = found
        if self._kind not in (None, found) and not self._request.mixed_nodes:
            what = f"node {place.node} computes in another way: {found.words}"
            self._refuse(place, BadOption(what, hint="allow it with --mixed-nodes"))
            return
        place.is_ready = True

    def _model_file(self) -> Path | None:
        """Return the file of the model if it is one of the user's own."""
        model = self._request.model
        if not model.is_fixed or model.is_baseline or model.name is None:
            return None
        from weights.folder import in_folders

        path = Path(model.name)
        return path if path.is_file() else in_folders(model.name)

    def _refuse(self, place: Place, error: DaganError) -> None:
        """Leave a place out whose worker cannot work."""
        place.is_refused = True
        self._problems.append(error)
        self._work.tell(Notice(f"{place.name} is left out: {error}", ()))
        self._lost(place, str(error))

    def _lost(self, place: Place, reason: str) -> None:
        """Say that a worker has died, and forget it."""
        if place.member is not None:
            self._say(place.member, Died(reason))
        place.lost += place.is_ready
        actor, errand = place.actor, place.errand
        place.actor = place.errand = place.awaited = place.member = place.unit = None
        place.is_ready = False
        with suppress(Exception):  # it may be running: then it ends by itself
            if errand is not None:
                errand.close()
        with suppress(Exception):
            self._ray.kill(actor)

    def _end_workers(self) -> None:
        places = [place for place in self._places if place.actor is not None]
        if not answers(self._ray.get_runtime_context().gcs_address):
            return
        for place in places:
            if place.errand is not None:
                place.errand.close()
        leaving = [self.call(place, "leave") for place in places]
        if leaving:
            self._ray.wait(leaving, num_returns=len(leaving), timeout=_LEAVING)
        for place in places:
            self._ray.kill(place.actor)

    def _go_on(self, seconds: float) -> None:
        """Take each errand further whose answer is there; wait for one at most so long."""
        errands = [place for place in self._places if place.errand is not None]
        waiting = {place.awaited: place for place in errands if place.awaited is not None}
        asking = [place for place in errands if place.awaited is None]
        if waiting:
            ready, _ = self._ray.wait(list(waiting), timeout=seconds, fetch_local=False)
            if ready:
                ready, _ = self._ray.wait(list(waiting), num_returns=len(waiting), timeout=0, fetch_local=False)
        else:
            time.sleep(seconds)
            ready = []
        for place in [*asking, *(waiting[each] for each in ready)]:
            self._step(place)

    def _step(self, place: Place) -> None:
        if place.errand is None:
            return
        try:
            place.awaited = next(place.errand)
        except StopIteration:
            place.errand = place.awaited = None
            self.begin(place)
        except (self._ray.exceptions.RayError, Unable) as error:
            self._fallen(place, error)

    def _fallen(self, place: Place, error: Exception) -> None:
        """Take in that a worker, or its node, has died."""
        text = str(error)
        if isinstance(error, Unable):
            what = f"node {place.node} cannot hold the files of a unit: {text[:1].lower() + text[1:]}"
            if place.kind is None:  # not even those that it needs to start
                self._refuse(place, BadOption(what, hint="free some space there"))
            else:
                self._lost(place, what)
        elif "No module named 'dagan_cli'" in text or "failed to import" in text:
            what = f"dagan is not installed on node {place.node}"
            self._refuse(place, BadOption(what, hint=f"{INSTALL} on each node"))
        elif "node has died" in text or "node was terminated" in text:
            self._lost(place, f"node {place.node} has left the cluster")
            self._looked = 0.0
        else:
            self._lost(place, f"its process on {place.node} was killed, perhaps by the system for lack of memory")


def _row(node: Node) -> dict[str, Any]:
    kind = next((place.kind for place in node.places if place.kind is not None), None)
    done = sum((place.done for place in node.places), Counter[str]())
    return {
        "name": node.name,
        "address": node.address,
        "device": kind and kind.device,
        "precision": kind and kind.precision,
        "runtime": kind and kind.runtime,
        "workers": len(node.places),
        **{what: done[what] for what in ("images", "videos", "segments")},
        "lost_workers": sum(place.lost for place in node.places),
        "left": not node.is_there,
    }
