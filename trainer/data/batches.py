"""Batches made ahead: while a step is computed, threads make what the next ones need."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

Batch = tuple[Tensor, Tensor]


class Ahead:
    """`make(step, patch)`, a pure function, called for the `depth` steps after the one that is asked for.

    The result is that of calling it directly, whatever is asked for. An error of `make` is raised by the `get` that
    wants the batch. Each thread computes alone: a pool of OpenMP's own in each would slow the training down. With no
    threads, a batch is made when it is asked for.
    """

    def __init__(self, make: Callable[[int, int], Batch], *, threads: int, depth: int) -> None:
        self._make = make
        self._depth = depth
        self._pool: ThreadPoolExecutor | None = None
        if threads:
            self._pool = ThreadPoolExecutor(threads, "batches", initializer=torch.set_num_threads, initargs=(1,))
        self._coming: dict[tuple[int, int], Future[Batch]] = {}

    def get(self, step: int, patch: int) -> Batch:
        """The batch of `step`; the following ones are begun."""
        if self._pool is None:
            return self._make(step, patch)
        wanted = [(step + i, patch) for i in range(self._depth + 1)]
        for key in wanted:
            if key not in self._coming:
                self._coming[key] = self._pool.submit(self._make, *key)
        for key in self._coming.keys() - set(wanted):  # made for a way that the run did not take
            self._coming.pop(key).cancel()
        return self._coming.pop(wanted[0]).result()

    def close(self) -> None:
        """Wait for what is being made; nothing new is begun."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
