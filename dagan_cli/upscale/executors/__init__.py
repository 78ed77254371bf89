"""Run one plan on several workers: processes on this machine, or a cluster. Results are those of one process.

`execution` hands the inputs out and tells their events in order; `crew` gives units to idle workers and repeats those
of workers that died; `worker` performs them; `processes` is where workers live on this machine, `cluster` on
the nodes of a Ray cluster.
"""
