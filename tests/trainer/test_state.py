"""A state is read as it was saved, to the last bit and type, or refused; and the one before it is always at hand."""

from __future__ import annotations

import os
import random
import shlex
import subprocess
import sys
import time
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dagan_cli.errors import BadModel
from dagan_cli.files import Folder
from dagan_cli.model.generator import Generator
from tests.conftest import TINY
from tests.support.irregular import KINDS, at_once, irregular
from tests.support.training import tensors
from trainer.config import TrainConfig
from trainer.ema import Average
from trainer.networks import set_weights
from trainer.optimisers.build import optimiser, restore
from trainer.state import BEFORE, NAME, Standing, digest_of, has_state, load_state, save_state

AT = Standing(step=1200, origin=200, elapsed=12.5, best=31.25, stale=1, scale=0.5, skipped=3, roll_backs=1)
State = dict[str, Any]


def stepped(kind: str = "adam") -> State:
    """What a run saves besides its counters, after one step."""
    torch.manual_seed(0)
    network = Generator(TINY)
    average, by = Average(network, 0.9), optimiser(network, kind, 1e-3, 0.99)
    network(torch.rand(1, 3, 16, 16), 4).square().mean().backward()
    by.step()
    return {
        "config": TrainConfig(generator=TINY, iterations=5).to_dict(),
        "data": "0123456789abcdef",
        "phase": "pixel",
        "earlier": [{"scale": 2, "phase": "pixel"}],
        "generator": network.state_dict(),
        "average": average.network.state_dict(),
        "optimiser": by.state_dict(),
    }


@pytest.fixture(scope="module")
def rest() -> State:
    return stepped()


@pytest.fixture
def run(rest, tmp_path) -> Path:
    """A run folder with a state of step 1200, and none before it."""
    save_state(tmp_path, AT, rest)
    return tmp_path


def raw(run: Path) -> State:
    return torch.load(run / NAME, weights_only=True)


def same(a: Any, b: Any) -> bool:
    """True if two values are equal, type by type; mappings in any order."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and repr(a) == repr(b)


def refused(run: Path) -> BadModel:
    """The error of a damaged state, which is two short lines of ours."""
    with pytest.raises(BadModel) as caught:
        load_state(run)
    text = f"{caught.value}{caught.value.hint}"
    assert "\n" not in text
    assert "weights_only" not in text
    assert len(text) < 400 + 4 * len(str(run))
    return caught.value


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["adam", "muon"])
def test_a_state_comes_back_to_the_last_bit_and_type(kind, tmp_path):
    rest = stepped(kind)
    save_state(tmp_path, AT, rest)
    found = load_state(tmp_path)
    assert same(rest, {name: found[name] for name in rest})
    assert Standing.of(found) == AT
    assert found["format"] == 2
    again = Generator(TINY)
    set_weights(again, found["generator"])
    by = optimiser(again, kind, 1e-3, 0.99)
    restore(by, found["optimiser"])
    assert same(by.state_dict(), rest["optimiser"])


def test_no_two_tensors_share_their_memory_even_if_they_do_in_the_file(run):
    shared, state = torch.zeros(4), raw(run)
    state["generator"] |= {"a": shared, "b": shared.view(2, 2), "c": shared[:1].expand(3)}
    torch.save(signed(state), run / NAME)
    found = load_state(run)
    all_of_them = tensors(found)
    assert len({tensor.data_ptr() for tensor in all_of_them}) == len(all_of_them)
    found["generator"]["a"].add_(1)
    found["generator"]["c"].add_(1)
    assert found["generator"]["b"].sum() == 0


def _set(*path: Any, to: Any) -> Callable[[State], None]:
    def change(state: State) -> None:
        *way, last = path
        for key in way:
            state = state[key]
        state[last] = to(state[last]) if callable(to) else to  # a value, or what makes it from the former one

    return change


CHANGED: dict[str, Callable[[State], Any]] = {  # what differs from what was saved, its checksum left as it was
    "a bit of a weight": _set(
        "generator", "sfe1.weight", to=lambda t: t.view(torch.int32).bitwise_xor(1).view(t.dtype)
    ),
    "a weight of the average": _set("average", "sfe1.weight", to=lambda t: t + 1),
    "a moment": _set("optimiser", "state", 0, "exp_avg", to=lambda t: t * 2),
    "a count of a moment": _set("optimiser", "state", 0, "step", to=lambda t: t + 1),
    "a rate": _set("optimiser", "param_groups", 0, "lr", to=2e-3),
    "a flag": _set("optimiser", "param_groups", 0, "amsgrad", to=True),
    "a tuple": _set("optimiser", "param_groups", 0, "betas", to=list),
    "an index": _set("optimiser", "param_groups", 0, "params", 0, to=1),
    "a type": _set("generator", "sfe1.weight", to=lambda t: t.double()),
    "a shape": _set("generator", "sfe1.weight", to=lambda t: t.flatten()),
    "one name": lambda s: s["generator"].update(sfe3=s["generator"].pop("sfe1.weight")),
    "two names": lambda s: s["generator"].update(
        {"sfe1.bias": s["generator"]["sfe2.bias"], "sfe2.bias": s["generator"]["sfe1.bias"]}
    ),
    "a missing weight": lambda s: s["average"].pop("sfe1.weight"),
    "one more weight": lambda s: s["generator"].update(more=torch.zeros(3)),
    "the step": _set("step", to=1201),
    "the step, as a fraction": _set("step", to=1200.0),
    "the best score": _set("best", to=31.250000000000004),
    "a zero below zero": _set("optimiser", "param_groups", 0, "weight_decay", to=-0.0),
    "the config": _set("config", "lr", to=1e-4),
    "a null": _set("config", "budget", to=0.0),
    "the data": _set("data", to="0123456789abcdee"),
    "an earlier phase": _set("earlier", 0, "scale", to=4),
    "an earlier phase less": lambda s: s["earlier"].pop(),
    "the phase": _set("phase", to="adversarial"),
    "the format": _set("format", to=1),
    "a later format": _set("format", to=3),
    "no format": lambda s: s.pop("format"),
    "no digest": lambda s: s.pop("digest"),
    "another digest": _set("digest", to="0" * 64),
    "no text of a digest": _set("digest", to=5),
    "a missing counter": lambda s: s.pop("stale"),
    "one more counter": _set("more", to=1),
    "a discriminator": lambda s: s.update(discriminator={}, optimiser_d={}),
}


@pytest.mark.parametrize("change", CHANGED)
def test_whatever_differs_from_what_was_saved_is_found(change, run):
    state = raw(run)
    CHANGED[change](state)
    torch.save(state, run / NAME)
    error = refused(run)
    assert str(error).startswith(f"{run / NAME} is damaged: ")
    assert error.exit_code == 4


def signed(state: State) -> State:
    """The same state with the checksum that belongs to it."""
    state.pop("digest", None)
    return state | {"digest": digest_of(state)}


DEEP: list[Any] = []
for _ in range(200):
    DEEP = [DEEP]
IMPOSSIBLE: dict[str, list[Any]] = {
    **{
        name: [-1, 10**18, 10**12 + 1, 1.0, float("nan"), True, None, "1", [1], DEEP]
        for name in ("step", "origin", "stale", "skipped", "skipped_in_phase", "roll_backs")
    },
    "spent": [-1.0, float("nan"), "1", None],
    "validating": [-1.0, 10**18, None],
    "elapsed": [-1.0, 10**18, float("nan"), float("inf"), "1", None, DEEP],
    "best": [float("nan"), "31", None, DEEP],
    "scale": [0.0, -0.5, 1.5, float("nan"), float("inf"), "1", None, DEEP],
    "phase": ["", "third", 1, None, ["pixel"], DEEP],
    "format": [0, 1, 3, "2", 2.0, True, None, [2], torch.tensor([2, 2])],
    "config": [None, [], "x", {"a": DEEP}, {"a": 10**400}],
    "data": ["", 5, None, "x" * 1000],
    "earlier": [None, {}, [1], DEEP],
    "generator": [None, [], {"a": 1}, {"a": torch.tensor(float("nan"))}],
    "average": [None, [], {"a": 1}, {"a": torch.tensor(float("inf"))}],
    "optimiser": [{"state": {0: {"exp_avg": torch.tensor([1.0, float("nan")])}}, "param_groups": []}],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_a_value_that_no_run_can_have_is_refused_under_a_right_checksum_too(name, run):
    for value in IMPOSSIBLE[name]:
        try:
            state = signed(raw_of(run) | {name: value})
        except (RecursionError, ValueError):  # of the checksum: it stays that of the former value
            state = raw_of(run) | {name: value}
        torch.save(state, run / NAME)
        assert "damaged" in str(refused(run)), value


def raw_of(run: Path) -> State:
    """The state as it was saved first, whatever a test wrote since."""
    first = run / "first.pt"
    if not first.exists():
        first.write_bytes((run / NAME).read_bytes())
    return torch.load(first, weights_only=True)


def test_counters_that_contradict_each_other_are_refused(run):
    for change in ({"origin": 1201}, {"skipped_in_phase": 4}):
        torch.save(signed(raw_of(run) | change), run / NAME)
        assert "contradict" in str(refused(run))


MOMENTS: dict[str, Callable[[State], Any]] = {
    "no groups": _set("param_groups", to=[]),
    "other parameters": _set("param_groups", 0, "params", to=lambda given: given[1:]),
    "a rate that is a text": _set("param_groups", 0, "lr", to="x"),
    "a decay of 1": _set("param_groups", 0, "betas", to=(0.9, 1.0)),
    "one decay": _set("param_groups", 0, "betas", to=(0.9,)),
    "a parameter too many": lambda s: s["state"].update({1000: s["state"][0]}),
    "a moment of another shape": _set("state", 0, "exp_avg", to=torch.zeros(2)),
    "a moment of another type": _set("state", 0, "exp_avg", to=lambda t: t.double()),
    "a negative mean of squares": _set("state", 0, "exp_avg_sq", to=lambda t: -1 - t),
    "a missing moment": lambda s: s["state"][0].pop("exp_avg"),
    "a negative step": _set("state", 0, "step", to=torch.tensor(-1.0)),
    "a huge step": _set("state", 0, "step", to=torch.tensor(1e30)),
    "a moment that is a number": _set("state", 0, to=3),
    "nothing": lambda s: s.clear(),
}


@pytest.mark.parametrize("change", MOMENTS)
def test_moments_that_are_not_of_this_optimiser_are_refused(change, run):
    saved = load_state(run)["optimiser"]
    by = optimiser(Generator(TINY), "adam", 1e-3, 0.99)
    restore(by, saved)
    MOMENTS[change](saved)
    with pytest.raises(ValueError, match="optimiser"):
        restore(by, saved)


def test_weights_of_another_network_are_refused(run):
    other = Generator(replace(TINY, blocks=1))
    for given in (load_state(run)["generator"], {**other.state_dict(), "sfe1.bias": torch.zeros(16).double()}):
        with pytest.raises(ValueError, match="another network"):
            set_weights(other, given)


@pytest.mark.slow
@pytest.mark.parametrize("keys", ["all", "the first ones"])
def test_states_of_former_versions_are_read(keys, run):
    """They had no format and no digest, their networks were ordered mappings, and the first had few counters."""
    state = raw(run)
    for name in ("format", "digest", "skipped_in_phase", "spent", "validating"):
        del state[name]
    for name in ("phase", "earlier", "stale", "scale", "skipped", "roll_backs") if keys == "the first ones" else ():
        del state[name]
    state["generator"] = OrderedDict(state["generator"])
    torch.save(state, run / NAME)
    found = load_state(run)
    assert same(found, {**state, "generator": dict(state["generator"])})
    assert Standing.of(found).step == 1200
    assert Standing.of(found).spent == Standing.of(found).elapsed  # what is known of it
    for change in ({"more": 1}, {"step": 10**18}, {"average": {"a": torch.tensor(float("nan"))}}):
        torch.save(state | change, run / NAME)
        refused(run)
    torch.save({name: state[name] for name in state if name != "optimiser"}, run / NAME)
    assert "optimiser" in str(refused(run))


def test_views_larger_than_the_file_are_refused_before_they_are_copied(run):
    state = raw(run)
    wide = torch.zeros(1).expand(2**40)
    views = {str(i): state["generator"]["sfe2.weight"] for i in range(200)}
    for generator, says in (({"a": wide}, "unknown kind"), (views, "larger than the file")):
        torch.save(state | {"generator": generator}, run / NAME)
        began = time.process_time()
        assert says in str(refused(run))
        assert time.process_time() - began < 1


@pytest.mark.parametrize(
    "opcodes", [b"]" * 50_000 + b"a" * 49_999, b"](" + b"}" * 100_000 + b"e", b"]" * 10**6 + b"a" * 10**6]
)
def test_many_values_in_a_small_file_are_refused_at_once(opcodes, run):
    """Lists within lists, empty mappings, and more of them than are read."""
    with zipfile.ZipFile(run / NAME) as stored:
        parts = {name: stored.read(name) for name in stored.namelist()}
    with zipfile.ZipFile(run / NAME, "w") as damaged:
        for name, data in parts.items():
            more = data[:-1] + b"X\1\0\0\0a" + opcodes + b"s" if name.endswith("data.pkl") else data
            damaged.writestr(name, more + b"." if more is not data else data)
    began = time.process_time()
    says = "plain values" if len(opcodes) > 10**6 else "more than the state"
    assert says in str(refused(run))
    assert time.process_time() - began < 1


def test_a_zip_bomb_is_refused_unread(run):
    with zipfile.ZipFile(run / NAME) as stored:
        parts = {name: stored.read(name) for name in stored.namelist()}
    with zipfile.ZipFile(run / NAME, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in parts.items():
            packed.writestr(name, data)
    refused(run)


@pytest.mark.parametrize("kind", [*KINDS, "text", "old format", "nothing"])
def test_what_is_no_state_is_refused_and_never_waited_for(kind, run):
    path, state = run / NAME, raw(run)
    path.unlink()
    if kind in KINDS:
        irregular(path, kind)
    elif kind == "text":
        path.write_text("no state")
    elif kind == "old format":
        torch.save(state, path, _use_new_zipfile_serialization=False)
    at_once(refused, run)


# The state before it


def twice(run: Path, rest: State) -> None:
    """A second state, of step 1500."""
    save_state(run, replace(AT, step=1500), rest)


def test_the_state_before_it_stays(run, rest):
    first = (run / NAME).read_bytes()
    twice(run, rest)
    assert (run / BEFORE).read_bytes() == first
    assert load_state(run)["step"] == 1500
    save_state(run, replace(AT, step=1800), rest)
    assert load_state(run)["step"] == 1800
    (run / NAME).unlink()
    assert load_state(run)["step"] == 1500


def test_damage_tells_how_to_go_on_from_the_state_before_it(run, rest):
    twice(run, rest)
    data = bytearray((run / NAME).read_bytes())
    data[len(data) // 2] ^= 4
    (run / NAME).write_bytes(data)
    error = refused(run)
    way = f"mv {shlex.quote(str(run / BEFORE))} {shlex.quote(str(run / NAME))}"
    assert error.hint == f"go on from the state before it, of step 1200: {way}"
    subprocess.run(way, shell=True, check=True)
    assert load_state(run)["step"] == 1200


def test_a_state_before_it_that_is_damaged_too_is_not_named(run, rest):
    twice(run, rest)
    (run / BEFORE).write_bytes(b"damaged")
    (run / NAME).write_bytes(b"damaged")
    assert "mv" not in refused(run).hint
    (run / NAME).unlink()
    assert str(run / BEFORE) in str(refused(run))


def test_between_the_two_renames_the_run_is_resumed_from_the_state_before_it(run, rest, monkeypatch):
    rename = Folder.rename

    def killed(self: Folder, old: str, new: str, **how: Any) -> None:
        if new == NAME:
            raise KeyboardInterrupt  # as a signal would end it here
        rename(self, old, new, **how)

    monkeypatch.setattr(Folder, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        twice(run, rest)
    assert not (run / NAME).exists()
    assert has_state(run)
    assert load_state(run)["step"] == 1200
    monkeypatch.undo()
    twice(run, rest)
    assert load_state(run)["step"] == 1500


def test_a_full_disk_leaves_both_as_they_are(run, rest, monkeypatch):
    twice(run, rest)
    before = {name: (run / name).read_bytes() for name in (NAME, BEFORE)}

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Exception, match="no space left"):
        save_state(run, replace(AT, step=1800), rest)
    assert {name: (run / name).read_bytes() for name in before} == before
    assert sorted(path.name for path in run.iterdir()) == sorted(before)


SAVING = """
import sys
from pathlib import Path
from dataclasses import replace
from tests.trainer.test_state import AT, save_state, stepped
rest, run = stepped(), Path(sys.argv[1])
for step in range(int(sys.argv[2]), 10**6):
    save_state(run, replace(AT, step=step), rest)
    print(step, flush=True)
"""


@pytest.mark.slow
def test_a_process_killed_at_any_moment_while_it_saves_leaves_a_whole_state(tmp_path):
    root, chance, step = Path(__file__).parents[2], random.Random(0), 1000
    for _ in range(int(os.environ.get("DAGAN_KILLS", "2"))):
        command = [sys.executable, "-c", SAVING, str(tmp_path), str(step + 1)]
        process = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline(), "it has saved once"
        time.sleep(chance.uniform(0, 0.1))
        process.kill()
        told = [step + 1, *map(int, process.stdout.read().split())]
        process.wait()
        found = load_state(tmp_path)["step"]
        assert found in (told[-1], told[-1] + 1)
        step = found
