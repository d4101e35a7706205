"""Processes that agree end alike, whatever is raised on one of them: two learners in two threads stand for them."""

import threading
from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from treadle import (
    AbstractTrainingPhase,
    Callback,
    CallbackError,
    CancelEpochException,
    CancelFittingException,
    CancelStepException,
    CancelUpdateException,
    FitException,
    Phase,
    TrainingPhase,
    ValidationPhase,
    Write,
    epoch,
    hookimpl,
    run_epoch,
    run_step,
    run_update,
    toy_learner,
)
from treadle.authoring import Processes, position_of, reach_point
from treadle.dispatch.roles.agreement import ALONE
from treadle.errors import EndOfData
from treadle.operations import Forward, Loss, Step

CANCELS = [CancelFittingException, CancelEpochException, CancelStepException, CancelUpdateException]


class OtherProcessError(Exception):
    """An error on another process."""


class Exchange:
    """Where two threads meet, at each agreement."""

    def __init__(self) -> None:
        self.barrier = threading.Barrier(2, timeout=20)
        self.seen: list[Any] = [None, None]

    def agree(self, rank: int, point: Any, request: BaseException | None) -> list[Any]:
        self.barrier.wait()
        self.seen[rank] = (point, request)
        self.barrier.wait()
        return list(self.seen)

    def collective(self, rank: int, name: str) -> None:
        """What all have to come to, and none of them to an agreement meanwhile."""
        seen = self.agree(rank, name, None)
        assert seen[0] == seen[1], f"The processes wait for each other in different places: {seen}."


class Group(Processes):
    """The processes of two threads, which begin and end an epoch together."""

    size = 2

    def __init__(self, rank: int, exchange: Exchange) -> None:
        self.rank, self.exchange = rank, exchange

    def begin(self, data, batches):
        self.exchange.collective(self.rank, "begin")
        return batches

    def end(self, learner, phase):
        self.exchange.collective(self.rank, "end")

    def gather(self, value):
        self.exchange.collective(self.rank, "gather")
        return [value, value]


class Engine(Callback):
    """Exchanges something in the operations in which an engine does, before anybody else is called in them."""

    def __init__(self, rank: int, exchange: Exchange) -> None:
        self.rank, self.exchange = rank, exchange

    def around(self, name: str):
        self.exchange.collective(self.rank, name)
        return (yield)

    @hookimpl(wrapper=True)
    def forward(self, phase: AbstractTrainingPhase):
        return (yield from self.around("forward"))

    @hookimpl(wrapper=True)
    def backward(self):
        return (yield from self.around("backward"))

    @hookimpl(wrapper=True)
    def finalize_gradients(self):
        return (yield from self.around("finalize_gradients"))

    @hookimpl(wrapper=True)
    def epoch(self, learner, phase: TrainingPhase):
        position_of(learner).taps[self] = lambda batches: self.saves(learner, phase, batches)
        return (yield)

    def saves(self, learner, phase, batches):
        """Saves after every second step, as a Checkpointer does."""
        for batch in batches:
            yield batch
            if learner.progress.steps % 2 == 0 and learner.progress.phase is phase:
                reach_point(learner, phase, "save")
                self.exchange.collective(self.rank, "save")


class Together(Callback):
    """Agrees as an engine of several processes does."""

    def __init__(self, rank: int, exchange: Exchange) -> None:
        self.rank, self.exchange = rank, exchange
        self.processes = Group(rank, exchange)
        self.points: list[str] = []

    def agree(self, learner, phase: Phase | None, point: str, request: BaseException | None):
        progress = learner.progress
        place = (point, phase, progress.epoch, progress.steps, progress.updates)
        seen = self.exchange.agree(self.rank, place, request)
        self.points.append(point)
        requests = [request for _, request in seen if request is not None]
        assert all(isinstance(place, tuple) for place, _ in seen), f"One of them is in a collective: {seen}."
        if not requests:
            assert seen[0][0] == seen[1][0], "The processes have come apart."
            return False
        for kind in (OtherProcessError, *CANCELS, EndOfData):
            if kind is OtherProcessError:
                asked = [one for one in requests if not isinstance(one, FitException)]
            else:
                asked = [one for one in requests if isinstance(one, kind)]
            if any(one is request for one in asked):
                break
            if asked:
                request = kind(str(asked[0]))
                break
        if isinstance(request, EndOfData) and len(requests) < 2 and not phase.training:
            return False
        return request


class Raiser(Callback):
    """Raises at drawn places: which handler, which call of it, what."""

    def __init__(self, drawn) -> None:
        self.drawn, self.calls = drawn, Counter[str]()

    def go(self, name: str) -> None:
        self.calls[name] += 1
        for at, count, kind in self.drawn:
            if (at, count) == (name, self.calls[name]):
                raise kind(f"{name}, call {count}")


EVENTS = [
    "fit_begin", "epoch_begin", "step_begin", "loss_begin", "backward_begin", "backward_end", "update_begin",
    "update_end", "step_end", "epoch_end", "fit_end",
]  # fmt: skip
OPERATIONS = ["step", "forward", "loss", "backward", "finalize_gradients"]


def before(name: str):
    @hookimpl(wrapper=True)
    def around(self):
        self.go(name)
        result = yield
        self.go(f"after {name}")
        return result

    return around


def at(name: str):
    def handle(self):
        self.go(name)

    return handle


for name in OPERATIONS:
    setattr(Raiser, name, before(name))
for name in EVENTS:
    setattr(Raiser, f"on_{name}", at(name))


class SumOfTwo(Callback):
    def accumulate(self, learner, phase: AbstractTrainingPhase):
        return learner.progress.accumulated < 1


class ValidateOften(Callback):
    state_access = {"loop": Write}

    def on_step_end(self, learner, phase: TrainingPhase):
        if learner.progress.steps % 3 == 2:
            learner.loop.epoch(ValidationPhase())


class TwoUpdates(AbstractTrainingPhase):
    """A phase of one's own, with two updates in a step."""

    def step(self, learner, batch):
        with run_step(learner, self, xs=batch[0], ys=batch[1]) as (handle, state):
            for _ in range(2):
                state.yhats = handle(Forward)
                state.loss = handle(Loss)
                run_update(learner, self)


class OwnEpoch(TrainingPhase):
    """A phase that goes over its data by itself."""

    def epoch(self, learner, data):
        with run_epoch(learner, self) as handle:
            for batch in data:
                handle(Step, batch)


SETUPS = {
    "epochs": ([], {"n": 2}),
    "accumulation": ([SumOfTwo], {"n": 2}),
    "validation in the middle": ([ValidateOften], {"n": 1}),
    "steps": ([], {"steps": 5, "validate_every": 2}),
    "a phase of one's own": ([], {"n": 2, "phases": [TwoUpdates()]}),
    "a phase of one's own epoch": ([], {"n": 2, "phases": [OwnEpoch()]}),
    "accumulation in a phase of one's own epoch": ([SumOfTwo], {"n": 2, "phases": [OwnEpoch()]}),
}


class Process(threading.Thread):
    """A learner in a thread."""

    def __init__(self, run) -> None:
        super().__init__(daemon=True)
        self.run_fit, self.error, self.result = run, None, None

    def run(self) -> None:
        try:
            self.result = self.run_fit()
        except BaseException as error:
            self.error = error

    @property
    def ended(self) -> Any:
        """How the fit ended, as far as it is the same on all processes."""
        if self.error is not None:
            return "error"
        return self.result and self.result.cancelled and type(self.result.cancelled)


def both(make, run=lambda learner: learner.fit(2), engine=False, **kwargs) -> list[Process]:
    """Run a fit in two threads; `make` makes the callbacks of a rank, but for the one that agrees."""
    exchange = Exchange()
    learners = [
        toy_learner(
            *([Engine(rank, exchange)] if engine else []), *make(rank), Together(rank, exchange), nbatches=3, **kwargs
        )
        for rank in (0, 1)
    ]
    processes = [Process(lambda learner=learner: run(learner)) for learner in learners]
    for process, learner in zip(processes, learners, strict=True):
        process.learner = learner
        process.start()
    for process in processes:
        process.join(60)
    for process in processes:
        if isinstance(process.error, (threading.BrokenBarrierError, AssertionError)):
            raise process.error
    assert not any(process.is_alive() for process in processes)
    return processes


places = st.sampled_from([*EVENTS, *OPERATIONS, *(f"after {name}" for name in OPERATIONS)])
kinds = st.sampled_from([*CANCELS, RuntimeError, KeyboardInterrupt])
drawn = st.lists(st.tuples(places, st.integers(1, 5), kinds), max_size=2)


@settings(max_examples=60, deadline=None)
@example("epochs", [("epoch_begin", 2, CancelEpochException)], [])
@example("epochs", [("step", 1, CancelStepException)], [("after step", 1, CancelStepException)])
@example("epochs", [("update_end", 2, CancelEpochException)], [("step_end", 2, CancelFittingException)])
@example("accumulation", [("update_end", 2, CancelEpochException)], [])
@example("accumulation", [("update_begin", 2, CancelUpdateException)], [("update_end", 2, CancelUpdateException)])
@example("validation in the middle", [("epoch_end", 1, RuntimeError)], [("fit_end", 1, CancelFittingException)])
@example("epochs", [("epoch_begin", 1, CancelStepException)], [])
@example("epochs", [("step_end", 2, RuntimeError)], [])
@example("accumulation", [("update_begin", 2, CancelUpdateException)], [])
@example("a phase of one's own", [("backward_end", 2, CancelStepException)], [])
@example("a phase of one's own epoch", [("step_end", 3, RuntimeError)], [])
@example("accumulation in a phase of one's own epoch", [("step_end", 3, CancelEpochException)], [])
@example("accumulation in a phase of one's own epoch", [], [("step_end", 3, CancelFittingException)])
@given(st.sampled_from(list(SETUPS)), drawn, drawn)
def test_they_end_alike_at_the_same_step_with_the_same_weights(setup, first, second) -> None:
    kinds, length = SETUPS[setup]
    processes = both(
        lambda rank: [*(kind() for kind in kinds), Raiser((first, second)[rank])],
        lambda learner: learner.fit(**length),
        engine=setup != "a phase of one's own",  # no point lies between its updates
    )
    one, other = processes
    assert one.ended == other.ended, (one.error, other.error)
    assert repr(one.learner.progress) == repr(other.learner.progress)
    assert torch.equal(one.learner.model.weight, other.learner.model.weight)


def test_without_requests_it_is_the_run_of_one_process() -> None:
    alone = toy_learner(nbatches=3)
    alone.fit(2)
    for process in both(lambda rank: []):
        assert process.result.steps == 6
        assert torch.equal(process.learner.model.weight, alone.model.weight)


POINTS = ["batch", "forward", "backward", "gradients", "update", "step end"]


def test_the_points_are_those_that_are_documented() -> None:
    for process in both(lambda rank: [], lambda learner: learner.fit(1, (learner.data.training[:1],) * 2)):
        points = process.learner.get_callback(Together).points
        validation = ["batch", "forward", "step end"]
        end = ["batch", "epoch over", "epoch end"]
        assert points == ["epoch", "epoch begin", *POINTS, *end, "epoch begin", *validation, *end, "fit end"]


def test_a_step_that_accumulates_has_no_point_before_the_update() -> None:
    for process in both(lambda rank: [SumOfTwo()], lambda learner: epoch(learner, TrainingPhase())):
        points = process.learner.get_callback(Together).points
        accumulating = [point for point in POINTS if point != "update"]
        unfinished = ["batch", "epoch over", "update", "step end"]
        steps = [*accumulating, *POINTS, *accumulating]
        assert points == ["epoch begin", *steps, *unfinished, "epoch end"]


def test_where_nobody_agrees_nothing_is_performed() -> None:
    learner = toy_learner(Raiser([]))
    assert learner.handle(TrainingPhase()).agreement is learner.handle(None).agreement is ALONE


@pytest.mark.parametrize(("phase", "steps"), [(TrainingPhase, (2, 2)), (ValidationPhase, (3, 2))])
def test_data_of_unequal_length_end_a_training_epoch_and_are_waited_for_in_validation(phase, steps) -> None:
    counts = [Counter[str](), Counter[str]()]

    class Count(Callback):
        def __init__(self, rank):
            self.rank = rank

        def on_step_end(self):
            counts[self.rank]["steps"] += 1

    def run(learner):
        rank = learner.get_callback(Together).rank
        epoch(learner, phase(), learner.data.training[: 3 - rank])

    processes = both(lambda rank: [Count(rank)], run)
    assert [process.error for process in processes] == [None, None]
    assert (counts[0]["steps"], counts[1]["steps"]) == steps


def test_who_waits_for_the_data_of_others_ends_with_their_error() -> None:
    def run(learner):
        rank = learner.get_callback(Together).rank
        epoch(learner, ValidationPhase(), learner.data.training[: 3 - rank])

    failing = [("step_begin", 3, RuntimeError)]
    one, other = both(lambda rank: [Raiser([] if rank else failing)], run)
    assert (type(one.error), type(other.error)) == (RuntimeError, OtherProcessError)
    assert str(other.error) == "step_begin, call 3"


def test_the_same_object_may_be_raised_again() -> None:
    cancel = CancelStepException("again")

    class Skip(Callback):
        def on_step_begin(self, phase: TrainingPhase):
            raise cancel

    one, other = both(lambda rank: [] if rank else [Skip()])
    assert one.result.steps == other.result.steps == 0


def test_a_phase_that_goes_over_its_data_by_itself_ends_alike_too() -> None:
    one, other = both(
        lambda rank: [Raiser([("update_begin", 2, CancelFittingException)] if rank else [])],
        lambda learner: learner.fit(1, phases=[OwnEpoch()]),
    )
    assert one.ended is other.ended is CancelFittingException
    assert one.learner.progress.steps == other.learner.progress.steps == 1


def test_what_agree_returns_is_checked() -> None:
    class Odd(Callback):
        def agree(self):
            return True

    with pytest.raises(CallbackError, match=r"`agree`, .* returned True, neither an exception nor False\.\nFix: "):
        toy_learner(Odd()).fit(1)


def test_an_agreement_that_fails_does_not_hide_the_error_of_this_process() -> None:
    class Lost(Callback):
        def agree(self, request):
            if request is not None:
                raise ConnectionError("gone")
            return False

    with pytest.raises(RuntimeError, match="step_begin, call 2") as raised:
        toy_learner(Lost(), Raiser([("step_begin", 2, RuntimeError)])).fit(1)
    assert "the agreement with the other processes failed: ConnectionError('gone')" in str(raised.value.__notes__)
    with pytest.raises(ConnectionError, match="gone"):
        toy_learner(Lost(), Raiser([("step_begin", 2, CancelStepException)])).fit(1)
