"""Plan the tiles of an image: from what the network needs, what it costs, and the memory that is free."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from itertools import pairwise
from time import perf_counter

import torch

from dagan_cli.engine import memory, tiles, tiling
from dagan_cli.engine.measuring.reach import Reach, measure_reach
from dagan_cli.engine.measuring.remembered import remembered
from dagan_cli.engine.options import EngineOptions, Network
from dagan_cli.engine.precision import Choice
from dagan_cli.engine.runtimes.compiled import MOST_STREAMS
from dagan_cli.engine.tiles import Plan
from dagan_cli.model.footprint import Footprint

UNMEASURED = 256 * 256  # pixels; images up to this size run whole, without measuring a network of another program
MOST_TILES = 64  # maximum of an automatic batch
_HELD = 3.7  # OpenVINO holds more at once than the features of the network: measured, 2.4 to 3.2 times as much


def is_held(size: int, options: EngineOptions) -> bool:
    """True if a result of so many bytes is held in memory, False if it is a mapped file."""
    if options.result_memory is not None:
        return size <= options.result_memory
    return size <= memory.SURE or size <= memory.free_host_memory() // (2 * options.on_machine)


class Planner:
    """Plans tiles for one network on one device; it remembers the last plan, and how large tiles may be.

    The engine sets `dtype` and `is_compiled` when they change, `most_tiles` when a batch did not fit.
    """

    def __init__(
        self,
        network: Network,
        options: EngineOptions,
        choice: Choice,
        cast: Callable[[torch.dtype], Network],
        notices: list[str],
    ) -> None:
        """`cast` returns the network on the device in a type; `notices` gets what people should know."""
        self.dtype = choice.dtype
        self.is_compiled = choice.openvino is not None
        self.most_tiles = MOST_TILES  # limit of a batch, lowered when memory runs out
        self.measuring = 0.0  # seconds that measuring the network took; 0 if it was not needed, or is remembered
        self._network, self._options, self._cast, self._notices = network, options, cast, notices
        self._device, self._openvino = choice.device, choice.openvino
        self._multiple = math.lcm(getattr(network, "multiple", 1), getattr(network, "grid", 1))
        self._smallest = getattr(network, "smallest", 1)
        self._is_measured = getattr(network, "is_measured", False)
        self._footprint: Footprint | None = None
        self._most_pixels = float("inf")  # limit of a tile, lowered when memory runs out
        self._planned: tuple[tuple[int, int], Plan] | None = None
        self._planned_batch: tuple[Plan, int] | None = None

    def plan(self, height: int, width: int) -> Plan:
        """Return the tiles for images of this size."""
        if self._planned is None or self._planned[0] != (height, width):
            self._planned = (height, width), self._choose(height, width)
            self._note_cuts(self._planned[1])
        return self._planned[1]

    @cached_property
    def _demand(self) -> tiling.Demand:
        """The network's needs. A receptive field that must be measured is measured only if there will be tiles."""
        field, grid = self._network.receptive_field, self._multiple
        if self._is_measured:
            started = perf_counter()
            reach = remembered(Reach, self._identity(torch.float32), lambda: memory.attempt(self._reach))
            field, grid = reach or (field, grid)
            self.measuring += perf_counter() - started
        return tiling.Demand(
            device={None: self._device.type, "CPU": "openvino"}.get(self._openvino, "gpu"),
            half=self.dtype != torch.float32,
            receptive_field=field,
            grid=grid,
            multiple=self._multiple,
            context=getattr(self._network, "context", None),
            overlap=self._options.overlap,
            is_measured=self._is_measured,
            streams=self._streams,
        )

    def _reach(self) -> Reach:
        network, needs = self._cast(torch.float32), {"multiple": self._multiple, "smallest": self._smallest}
        return measure_reach(network, self._network.scale, self._device, **needs)

    def _choose(self, height: int, width: int) -> Plan:
        asked = self._options.tile
        small = height * width <= UNMEASURED < self._most_pixels
        if small and (not isinstance(asked, int) or asked >= max(height, width)):
            return tiles.plan(height, width, tiling.uncut(height, width, self._multiple))
        if asked == "auto" and self._is_measured:
            whole = tiles.plan(height, width, tiling.uncut(height, width, self._multiple))
            if whole.area <= min(self._fitting(height, width, tiling.SHARE), tiling.MOST_PIXELS):
                return whole
        demand = self._demand
        if asked == "auto":
            return tiles.plan(height, width, self._best_tiling(height, width))
        if asked != "off" and demand.least_rim:
            asked = self._large_enough(asked, demand)
        if asked == "off" or asked >= max(height, width):
            chosen = tiling.uncut(height, width, self._multiple)
        else:
            chosen = tiling.with_rim(tiles.round_up(asked, demand.grid), demand)
        plan = tiles.plan(height, width, chosen)
        # When host memory runs out, the system may kill the program without an error: do not try what cannot fit.
        while (
            plan.area > min(UNMEASURED, self._most_pixels)
            and tiling.can_be_smaller(plan, demand)
            and plan.area > self._fitting(height, width, 1.0)
        ):
            plan = tiles.plan(height, width, tiling.smaller(plan, demand))
        return plan

    def _large_enough(self, asked: int, demand: tiling.Demand) -> int:
        """Return the side of a tile, enlarged so that the network pools over enough."""
        least = demand.smallest_good
        if asked < least:
            self._notices.append(f"tiles of {least} px instead of {asked}: smaller ones change the model's result")
        return max(asked, least)

    def _best_tiling(self, height: int, width: int) -> tiles.Tiling:
        fit = self._fitting(height, width, tiling.SHARE) / self._streams
        return tiling.choose_tiling(height, width, self._measured(), self._demand, fit)

    def _fitting(self, height: int, width: int, share: float) -> float:
        """Return the pixels of the largest tile that fits in this share of the memory."""
        free = self._options.memory
        if free is None:
            free = memory.free_memory(self._device) // self._options.on_device
            if self._device.type == "cpu":  # the result is not allocated yet
                result = height * width * self._network.scale**2 * 12
                free -= result if is_held(result, self._options) else 0
        return min(self._most_pixels, share * max(0, free) / self.bytes_per_pixel)

    @property
    def bytes_per_pixel(self) -> float:
        """Bytes that the network needs at once for each pixel of a tile."""
        return self._measured().bytes_per_pixel * (1.0 if not self.is_compiled else _HELD)

    def _measured(self) -> Footprint:
        """Return what tiles cost: by the network's own formula, or as measured, once for each network."""
        if self._footprint is None:
            formula = getattr(self._network, "footprint", None)
            if formula is not None and self._device.type != "mps":  # where channels are not last
                self._footprint = formula(self._device, self.dtype)
            else:
                started = perf_counter()
                self._footprint = remembered(Footprint, self._identity(self.dtype), self._metered)
                self.measuring += perf_counter() - started
        return self._footprint or Footprint(math.inf)

    def _metered(self) -> Footprint:
        from dagan_cli.engine.measuring import meter  # three seconds

        network = memory.attempt(lambda: self._cast(self.dtype))
        smallest = tiles.round_up(max(tiles.SMALLEST, self._smallest), self._multiple)
        return meter.measure(network, self._device, self.dtype, smallest)

    def _identity(self, dtype: torch.dtype) -> dict[str, object] | None:
        """Return what a measurement of the network depends on; None if the network has no name."""
        name = getattr(self._network, "identity", None)
        device = self._device
        card = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        needs = {"device": card, "dtype": dtype, "multiple": self._multiple, "smallest": self._smallest}
        return None if name is None else {"network": name, **needs}

    def batch(self, plan: Plan) -> int:
        """Return the number of tiles computed at once."""
        most = self._options.batch
        if most == "auto":
            # A CPU is fastest with what fits in its cache; a GPU is busy with the pixels of its largest tile.
            most = self._streams if self._device.type == "cpu" else self._gpu_batch(plan)
        return min(most, self.most_tiles)

    @property
    def _streams(self) -> int:
        """Tiles that are computed at once on a CPU."""
        return 1 if not self.is_compiled else min(MOST_STREAMS, torch.get_num_threads())

    def _gpu_batch(self, plan: Plan) -> int:
        if self._planned_batch is None or self._planned_batch[0] is not plan:
            fit = min(self._fitting(*plan.sides, tiling.SHARE), tiling.MOST_PIXELS)
            self._planned_batch = plan, max(1, min(MOST_TILES, int(fit) // plan.area))
        return self._planned_batch[1]

    def shrink(self, failed: Plan, height: int, width: int) -> Plan:
        """Switch to smaller tiles for this image and all later ones. Raises OutOfMemory at the smallest."""
        plan = tiles.plan(height, width, tiling.smaller(failed, self._demand))
        self._most_pixels = plan.area
        self._planned = (height, width), plan
        self._note_cuts(plan)
        self._notices.append(f"out of memory: continuing with tiles of {plan.sides[1]}x{plan.sides[0]} px")
        return plan

    def _note_cuts(self, plan: Plan) -> None:
        """Note that tiles are visible in the result, of a network that sees further than their rim."""
        if not self._is_measured or plan.count == 1:
            return
        field = self._demand.receptive_field
        rims = [(left.stop - right.start) // 2 for axis in (plan.ys, plan.xs) for left, right in pairwise(axis)]
        if field is None or min(rims) < field:
            size = f"{plan.sides[1]}x{plan.sides[0]}"
            self._notices.append(f"the model sees more than tiles of {size} px: the result depends on their size")
