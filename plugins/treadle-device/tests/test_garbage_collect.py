import gc
import platform
import weakref

import pytest
from treadle import Callback, Phase, Read, Write, accesses, toy_learner
from treadle.errors import ArgumentTypeError, ArgumentValueError
from treadle_device import GarbageCollect
from treadle_device.garbage_collect import malloc_trim


class Cycle:
    def __init__(self) -> None:
        self.me = self


class Litter(Callback):
    """Leaves a cycle behind in every step, and counts those that are alive when it begins."""

    def __init__(self) -> None:
        self.left: list[weakref.ref[Cycle]] = []
        self.alive: list[int] = []

    def on_step_begin(self, phase: Phase) -> None:
        self.alive.append(sum(cycle() is not None for cycle in self.left))
        self.left.append(weakref.ref(Cycle()))


def test_garbage_is_collected_every_nsteps_steps_of_all_phases() -> None:
    litter = Litter()
    learner = toy_learner(litter, GarbageCollect(nsteps=3), nbatches=4)
    gc.collect()
    gc.disable()
    try:
        learner.fit(1)
    finally:
        gc.enable()
    assert litter.alive == [0, 1, 2, 0, 1, 2, 0, 1]


def test_every_hundredth_step_is_the_default() -> None:
    collector = GarbageCollect()
    toy_learner(collector, nbatches=110).fit(1)
    assert (collector.nsteps, collector.runs) == (100, 2)


def test_without_cuda_emptying_its_cache_does_nothing() -> None:
    collector = GarbageCollect(nsteps=8, empty_cache=True)
    toy_learner(collector, nbatches=8).fit(1)
    assert collector.runs == 2


def test_it_needs_nothing_of_the_learner() -> None:
    assert accesses(GarbageCollect(), Read) == accesses(GarbageCollect(), Write) == set()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc_trim is glibc's")
def test_glibc_gives_memory_back() -> None:
    trim = malloc_trim()
    assert trim is not None
    assert trim(0) in (0, 1)


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_other_systems_have_nothing_to_trim(system: str) -> None:
    assert malloc_trim(system) is None


def test_the_number_of_steps_is_checked() -> None:
    with pytest.raises(
        ArgumentTypeError,
        match=r"nsteps must be a whole number of at least 1, got 2\.5\.\n.*\n    GarbageCollect\(nsteps=100\)",
    ):
        GarbageCollect(2.5)  # type: ignore[arg-type]
    with pytest.raises(ArgumentValueError, match=r"nsteps must be a whole number of at least 1, got 0\."):
        GarbageCollect(0)


def test_in_a_second_learner_it_counts_from_the_start() -> None:
    collector = GarbageCollect(3)
    for _ in range(2):
        toy_learner(collector, nbatches=4).fit(1)  # 4 + 4 steps
        assert (collector.steps, collector.runs) == (8, 2)
