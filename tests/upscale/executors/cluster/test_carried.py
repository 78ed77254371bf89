"""Paths of a unit become those of a node, and what it says comes back in the user's own words."""

from __future__ import annotations

from pathlib import Path

from dagan_cli.errors import BadInput
from dagan_cli.media.find import Source
from dagan_cli.upscale.events import Advance, Item, Start
from dagan_cli.upscale.executors.cluster.carried import results_of, sources_of, with_paths
from dagan_cli.upscale.executors.units import Inputs, Look
from dagan_cli.upscale.job import Job

HERE, THERE = Path("in/a.png"), Path("/spool/x/a.png")
UNIT = Inputs(
    (Job(Source(HERE, "picture"), Path("out/a_x2.png")), Job(Source(Path("b.png"), "picture"), Path("c.png")))
)


def test_files_that_a_unit_reads_and_makes():
    assert sources_of(UNIT) == [HERE, Path("b.png")]
    assert results_of(UNIT) == {Path("out/a_x2.png"): Path("out"), Path("c.png"): Path()}
    assert sources_of(Look(HERE)) == [HERE]
    assert results_of(Look(HERE)) == {}


def test_only_the_named_paths_change():
    moved = with_paths(UNIT, {HERE: THERE})
    assert [job.source.path for job in moved.jobs] == [THERE, Path("b.png")]
    assert [job.target for job in moved.jobs] == [Path("out/a_x2.png"), Path("c.png")]
    assert sources_of(UNIT)[0] == HERE  # the unit itself stays


def test_events_and_errors_come_back_with_the_paths_of_the_user():
    back = {THERE: HERE, THERE.parent: Path("elsewhere")}
    item = Item(
        input=THERE, output=THERE, status="failed", reason=f"cannot read {THERE}: gone", warnings=(f"{THERE}!",)
    )
    found = with_paths(item, back, in_texts=True)
    assert (found.input, found.output) == (HERE, HERE)
    assert (found.reason, found.warnings) == ("cannot read in/a.png: gone", ("in/a.png!",))
    assert with_paths(Start(0, 1, THERE), back).input == HERE
    step = Advance(1, 2, "tiles")
    assert with_paths(step, back, in_texts=True) is step
    error = with_paths(BadInput(f"{THERE} is empty", hint=f"look at {THERE}"), back, in_texts=True)
    assert (str(error), error.hint) == ("in/a.png is empty", "look at in/a.png")
