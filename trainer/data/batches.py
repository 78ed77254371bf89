"""Prefetched batches: threads make the next batches while a step is computed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

Batch = tuple[Tensor, Tensor]


class Ahead:
    """Call the pure function `make(step, patch)` ahead of time, for the `depth` steps after the requested one.

    The results are those of direct calls, whatever the order of requests. An error of `make` is raised by the `get` of
    its batch. Each thread is limited to one OpenMP thread: a pool in each would slow the training down. With threads =
    0, a batch is made when it is requested.
    """

    def __init__(self, make: Callable[[int, int], Batch], *, threads: int, depth: int) -> None:
        self._make = make
        self._depth = depth
        self._pool: ThreadPoolExecutor | None = None
        if threads:
            self._pool = ThreadPoolExecutor(threads, "batches", initializer=torch.set_num_threads, initargs=(1,))
        self._coming: dict[tuple[int, int], Future[Batch]] = {}

    def get(self, step: int, patch: int) -> Batch:
        """Return the batch of `step` and start making the following ones."""
        if self._pool is None:
            return self._make(step, patch)
        wanted = [(step + i, patch) for i in range(self._depth + 1)]
        for key in wanted:
            if key not in self._coming:
                self._coming[key] = self._pool.submit(self._make, *key)
        for key in self._coming.keys() - set(wanted):  # no longer needed, as after a change of the patch size
            self._coming.pop(key).cancel()
        return self._coming.pop(wanted[0]).result()

    def close(self) -> None:
        """Wait for batches in progress and cancel the others."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
