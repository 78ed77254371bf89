"""Room for workers on the nodes of a cluster, and nodes that would compute other pixels."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dagan_cli.errors import BadOption
from dagan_cli.upscale.executors.cluster.node import Kind
from dagan_cli.upscale.executors.cluster.places import Rooms, usual_kind

pytest.importorskip("ray")
H200 = Kind("NVIDIA H200", "float16", "torch", "torch 2.11")


def facts(host: str = "gpu1", node: str = "a1b2c3d4", **resources: float) -> dict[str, object]:
    return {"NodeID": node * 7, "NodeManagerHostname": host, "NodeManagerAddress": "10.0.0.1", "Resources": resources}


@pytest.mark.parametrize(
    ("rooms", "resources", "workers", "asked", "threads"),
    [
        (Rooms(True, 1, None), {"CPU": 16.0, "GPU": 2.0}, 2, {"num_gpus": 1, "num_cpus": 1}, 8),
        (Rooms(True, 2, None), {"CPU": 16.0, "GPU": 1.0}, 2, {"num_gpus": 0.5, "num_cpus": 1}, 8),
        (Rooms(True, 1, None), {"GPU": 4.0}, 4, {"num_gpus": 1, "num_cpus": 0}, 1),
        (Rooms(True, 1, None), {"CPU": 16.0}, 0, {}, 0),
        (Rooms(False, 1, None), {"CPU": 16.0, "GPU": 2.0}, 1, {"num_gpus": 0, "num_cpus": 16}, 16),
        (Rooms(False, 3, None), {"CPU": 16.0}, 3, {"num_gpus": 0, "num_cpus": 5}, 5),
        (Rooms(False, 3, None), {"CPU": 2.0}, 2, {"num_gpus": 0, "num_cpus": 1}, 1),
        (Rooms(False, 1, None), {}, 0, {}, 0),
        (Rooms(False, 1, 2), {"CPU": 2.0}, 2, {"num_gpus": 0, "num_cpus": 1}, 1),
        (Rooms(True, 1, 2), {"CPU": 8.0, "GPU": 4.0}, 2, {"num_gpus": 1, "num_cpus": 1}, 4),
    ],
)
def test_workers_that_a_node_has_room_for(rooms, resources, workers, asked, threads):
    places = rooms.on(facts(**resources)).places
    assert len(places) == workers
    for place in places:
        assert {name: place.options[name] for name in asked} == asked
        assert place.threads == threads


def test_each_node_and_worker_has_a_name_of_its_own():
    rooms = Rooms(False, 2, None)
    nodes = [rooms.on(facts(node=node, CPU=4.0)) for node in ("a1b2c3d4", "b2c3d4e5")]
    assert [node.name for node in nodes] == ["gpu1", "gpu1-b2c3d4"]
    assert [place.name for place in nodes[1].places] == ["gpu1-b2c3d4 (1)", "gpu1-b2c3d4 (2)"]


def test_nodes_of_one_kind_work_together():
    assert usual_kind({"gpu1": H200, "gpu2": H200}, mixed=False) == H200


@pytest.mark.parametrize(
    "change", [{"device": "Tesla T4"}, {"precision": "float32"}, {"runtime": "openvino"}, {"versions": "torch 2.10"}]
)
def test_nodes_whose_pixels_would_differ_are_refused_unless_allowed(change):
    other = replace(H200, **change)
    kinds = {"gpu1": other, "gpu2": H200, "gpu3": H200}
    with pytest.raises(BadOption, match=r"pixels would differ: gpu1: .*; gpu2, gpu3: NVIDIA H200") as caught:
        usual_kind(kinds, mixed=False)
    assert "--mixed-nodes" in caught.value.hint
    assert usual_kind(kinds, mixed=True) == H200
