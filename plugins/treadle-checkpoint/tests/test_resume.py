"""Resumed after step k, for every k, a run ends bit for bit as the one that never stopped."""

from __future__ import annotations

import random
from typing import Any

import numpy
import pytest
import torch
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, RandomSampler, Sampler, WeightedRandomSampler
from treadle import (
    AbstractTrainingPhase,
    Callback,
    CancelEpochException,
    CancelStepException,
    FitResult,
    Phase,
    Read,
    StepEnd,
    ThreadedRunner,
    TrainingPhase,
    ValidationPhase,
    Write,
    epoch,
    hookimpl,
    run_epoch,
    run_step,
    step,
    throttle,
)
from treadle.authoring import batches, handles
from treadle_checkpoint import Checkpointer, checkpoints, latest, resume

# What trains, and how.


def test_after_any_step_of_training_and_validation_and_between_any_two_epochs(make, watchers, resumed_everywhere):
    def build(*callbacks, seed=0):
        return make(*watchers(), *callbacks, seed=seed)

    assert resumed_everywhere(build) == 2 * (4 + 1 + 2 + 1)


OPTIMIZERS = {
    "sgd": lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9, nesterov=True),
    "adamw, several groups": lambda params: torch.optim.AdamW(
        [{"params": [p], "lr": 0.01 * i} for i, p in enumerate(params)]
    ),
    "lr in a tensor": lambda params: torch.optim.Adam(params, lr=torch.tensor(0.01), amsgrad=True),
    "rprop": torch.optim.Rprop,
    "nadam": torch.optim.NAdam,
    "asgd": torch.optim.ASGD,
    "adafactor": torch.optim.Adafactor,
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_with_any_optimizer(make, watchers, resumed_everywhere, optimizer):
    resumed_everywhere(lambda *callbacks, seed=0: make(*watchers(), *callbacks, seed=seed, optimizer=optimizer))


class Accumulate(Callback):
    """Updates every third step only, also across the end of an epoch."""

    def __init__(self) -> None:
        self.count = 0

    def update(self) -> bool | None:
        self.count += 1
        return None if self.count % 3 == 0 else False

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.count = state["count"]


def test_with_gradients_that_are_being_accumulated(make, resumed_everywhere):
    resumed_everywhere(lambda *callbacks, seed=0: make(Accumulate(), *callbacks, seed=seed))


class Unfreeze(Callback):
    """Lets the first layer learn from step 3 on, in a parameter group of its own."""

    state_access = {"model": Write, "params": Write, "optimizer": Write}

    def __init__(self) -> None:
        self.steps = 0

    def on_step_end(self, learner: Any, phase: TrainingPhase) -> None:
        self.steps += 1
        if self.steps == 3:
            learner.model[0].requires_grad_(True)
            learner.optimizer.add_param_group({"params": list(learner.model[0].parameters()), "lr": 0.001})

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps = state["steps"]


def test_with_layers_that_are_unfrozen_on_the_way(make, resumed_everywhere):
    def build(*callbacks, seed=0):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
        model[0].requires_grad_(False)
        optimizer = torch.optim.Adam(model[2].parameters())
        return make(Unfreeze(), *callbacks, seed=seed, model=model, optimizer=optimizer)

    resumed_everywhere(build)


class Margin(nn.Module):
    """A loss function that learns, and counts in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, yhats: torch.Tensor, ys: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return (self.scale * (yhats - ys)).square().mean() + (self.scale - 2).square()


def test_with_a_loss_function_that_learns(make, all_of, differences, resumed_everywhere):
    def build(*callbacks, seed=0):
        torch.manual_seed(seed)
        model, lossfn = nn.Linear(3, 1), Margin()
        optimizer = torch.optim.SGD([*model.parameters(), *lossfn.parameters()], lr=0.01, momentum=0.5)
        learner = make(*callbacks, seed=seed, model=model, optimizer=optimizer, lossfn=lossfn)
        learner.cbstate.lossfn = lossfn  # to be compared as well
        return learner

    resumed_everywhere(build)


class Averaged(Callback):
    """Validates with a moving average of the weights; the swap lives in local variables."""

    state_access = {"model": Write}

    def __init__(self) -> None:
        self.average: dict[str, torch.Tensor] = {}

    def on_step_end(self, learner: Any, phase: TrainingPhase) -> None:
        for name, value in learner.model.state_dict().items():
            old = self.average.get(name, value)
            self.average[name] = 0.5 * old + 0.5 * value if value.is_floating_point() else value.clone()

    @hookimpl(wrapper=True)
    def epoch(self, learner: Any, phase: Phase) -> Any:
        if isinstance(phase, TrainingPhase):
            return (yield)
        raw = {name: value.clone() for name, value in learner.model.state_dict().items()}
        learner.model.load_state_dict(self.average)
        try:
            return (yield)
        finally:
            learner.model.load_state_dict(raw)

    def state_dict(self) -> dict[str, Any]:
        return {"average": self.average}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.average = state["average"]


def test_with_weights_that_are_swapped_for_validation(make, all_of, differences, tmp_path):
    whole = make(Averaged(), seed=0)
    whole.fit(2)
    make(Averaged(), Checkpointer(tmp_path, every_epochs=1, every_steps=1, phase=Phase), seed=0).fit(2)
    for entry in checkpoints(tmp_path):  # none in the middle of validation, where the wrong weights are in the model
        resumed = make(Averaged(), seed=7)
        resume(resumed, entry.path)
        resumed.fit(2)
        assert differences(all_of(whole), all_of(resumed)) == []


# Where the batches come from.


class Lazy(Sampler[int]):
    """Draws each index when it is asked for it, from the global generator of Python."""

    def __len__(self) -> int:
        return 32

    def __iter__(self):
        return (random.randrange(32) for _ in range(32))


class Stream(IterableDataset):
    """Has no length and no indices, and draws what it gives."""

    def __iter__(self):
        generator = torch.Generator().manual_seed(int(torch.randint(1000, ())))
        for _ in range(32):
            xs = torch.randn(3, generator=generator)
            yield xs, xs.sum(0, keepdim=True)


class Noisy(torch.utils.data.Dataset):
    """Adds noise to what it gives: from the global generators, or from one of its own."""

    def __init__(self, rng=None):
        self.rng = rng

    def __len__(self):
        return 32

    def __getitem__(self, i):
        noise = random.random() + numpy.random.rand() if self.rng is None else self.rng.random()
        xs = torch.tensor([i / 32, noise, float(torch.rand(()))])
        return xs, xs.sum(0, keepdim=True)


class Endless:
    """An iterable that is not a sequence and never ends."""

    def __iter__(self):
        while True:
            xs = torch.rand(8, 3)
            yield xs, xs.sum(1, keepdim=True)


class Four(Callback):
    """Ends every epoch after four steps."""

    def __init__(self):
        self.steps = 0

    def on_epoch_begin(self):
        self.steps = 0

    def on_step_end(self):
        self.steps += 1
        if self.steps == 4:
            raise CancelEpochException("Enough.")

    def state_dict(self):
        return {"steps": self.steps}

    def load_state_dict(self, state):
        self.steps = state["steps"]


class Stateful:
    """A loader that tells where it stands, and is resumed there without giving anything twice."""

    def __init__(self):
        self.at, self.order, self.given, self.under_way, self.resumed = 0, [], 0, False, False

    def __iter__(self):
        if not self.resumed:
            self.at, self.order = 0, torch.randperm(4).tolist()
        self.resumed, self.under_way = False, True
        while self.at < 4:
            self.at, self.given = self.at + 1, self.given + 1
            xs = torch.full((8, 3), float(self.order[self.at - 1]))
            yield xs, xs.sum(1, keepdim=True)
        self.under_way = False

    def state_dict(self):
        return {"at": self.at, "order": self.order, "under_way": self.under_way}

    def load_state_dict(self, state):
        self.at, self.order, self.resumed = state["at"], state["order"], state["under_way"]


def own_generator():
    return torch.Generator().manual_seed(3)


SOURCES = {
    "a list": lambda points: [(points.tensors[0][i : i + 8], points.tensors[1][i : i + 8]) for i in (0, 8, 16, 24)],
    "not shuffled": lambda points: DataLoader(points, 8),
    "a generator of its own": lambda points: DataLoader(points, 8, shuffle=True, generator=own_generator()),
    "drawn with replacement": lambda points: DataLoader(
        points, 8, sampler=RandomSampler(points, replacement=True, generator=own_generator())
    ),
    "weighted": lambda points: DataLoader(points, 8, sampler=WeightedRandomSampler([1.0] * 16 + [3.0] * 16, 32)),
    "a batch sampler": lambda points: DataLoader(points, batch_sampler=BatchSampler(RandomSampler(points), 8, True)),
    "no batches made": lambda points: DataLoader(
        [(points.tensors[0][i : i + 8], points.tensors[1][i : i + 8]) for i in (0, 8, 16, 24)], None, shuffle=True
    ),
    "a lazy sampler": lambda points: DataLoader(points, 8, sampler=Lazy()),
    "noise from the global generators": lambda points: DataLoader(Noisy(), 8, shuffle=True),
    "noise from NumPy's": lambda points: DataLoader(Noisy(numpy.random.default_rng(5)), 8, shuffle=True),
    "noise from Python's": lambda points: DataLoader(Noisy(random.Random(5)), 8, shuffle=True),
    "a stream": lambda points: DataLoader(Stream(), 8),
    "a loader with a state": lambda points: Stateful(),
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_with_batches_of_any_kind(make, watchers, resumed_everywhere, dataset, source):
    def build(*callbacks, seed=0):
        return make(*watchers(), *callbacks, seed=seed, data=(source(dataset), source(dataset)))

    assert resumed_everywhere(build) == 2 * (4 + 1 + 4 + 1)


@pytest.mark.parametrize("noisy", [False, True])
def test_with_workers(make, all_of, differences, tmp_path, dataset, noisy):
    def build(*callbacks, seed=0):
        data = Noisy(numpy.random.default_rng(5)) if noisy else dataset
        return make(*callbacks, seed=seed, data=(DataLoader(data, 8, shuffle=True, num_workers=2),))

    whole = build()
    whole.fit(2)
    build(Checkpointer(tmp_path, every_steps=3)).fit(2)
    for entry in checkpoints(tmp_path):
        resumed = build(seed=7)
        resume(resumed, entry.path)
        resumed.fit(2)
        assert differences(all_of(whole), all_of(resumed)) == []


def test_with_data_that_never_end(make, resumed_everywhere):
    assert resumed_everywhere(
        lambda *callbacks, seed=0: make(Four(), *callbacks, seed=seed, data=(Endless(),))
    ) == 2 * (3 + 1)


def test_a_loader_with_a_state_gives_nothing_twice(make, tmp_path):
    make(Checkpointer(tmp_path, every_steps=3), data=(Stateful(),)).fit(1)
    resumed = make(data=(Stateful(),), seed=7)
    resume(resumed, tmp_path)
    assert resumed.fit(1).steps == 1
    assert resumed.data.training.given == 1


class Counting(torch.utils.data.Dataset):
    """Counts what is taken from it."""

    def __init__(self):
        self.taken = []

    def __len__(self):
        return 32

    def __getitem__(self, i):
        self.taken.append(i)
        return torch.full((3,), i / 32), torch.tensor([i / 32])


def test_a_plain_loader_loads_no_more_than_two_of_the_batches_that_are_skipped(make, tmp_path):
    def build(*callbacks, seed=0):
        return make(*callbacks, seed=seed, model=nn.Linear(3, 1), data=(DataLoader(Counting(), 1, shuffle=True),))

    build(Checkpointer(tmp_path, every_steps=30)).fit(1)
    resumed = build(seed=7)
    resume(resumed, tmp_path)
    assert resumed.fit(1).steps == 2
    assert len(resumed.data.training.dataset.taken) == 2 + 2


# How it is run.


def test_data_passed_to_fit(make, watchers, resumed_everywhere, dataset):
    def build(*callbacks, seed=0):
        learner = make(*watchers(), *callbacks, seed=seed, data=())
        learner.cbstate.loader = PlainState(DataLoader(dataset, 8, shuffle=True, generator=own_generator()))
        return learner

    resumed_everywhere(build, lambda learner: learner.fit(2, (learner.cbstate.loader.loader,)))


class PlainState:
    """Keeps a loader where a test finds it; has no state."""

    def __init__(self, loader):
        self.loader = loader

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


class Own(Phase):
    """A phase with an epoch of its own, which goes over each batch twice."""

    data_name = "training"
    training = True

    def epoch(self, learner, data):
        with run_epoch(learner, self):
            for batch in batches(learner, self, data):
                step(learner, self, batch)

    def step(self, learner, batch):
        for _ in range(2):
            with run_step(learner, self, xs=batch[0]) as (_, state):
                state.loss = (learner.model(state.xs) - batch[1]).square().mean()
                state.loss.backward()
                learner.optimizer.step()


def test_in_a_phase_with_an_epoch_and_a_step_of_its_own(make, watchers, resumed_everywhere):
    def build(*callbacks, seed=0):
        return make(*watchers(), *callbacks, seed=seed)

    assert resumed_everywhere(build, lambda learner: learner.fit(2, phases=[Own(), ValidationPhase(), Own()])) > 20


def test_in_a_custom_loop(make, watchers, all_of, differences, tmp_path):
    def run(learner):
        while learner.progress.epochs < 3:
            epoch(learner, Own())

    whole = make(*watchers())
    run(whole)
    run(make(*watchers(), Checkpointer(tmp_path, every_steps=3, every_epochs=1, during=Phase, phase=Phase)))
    for entry in checkpoints(tmp_path):
        resumed = make(*watchers(), seed=7)
        resume(resumed, entry.path)
        run(resumed)
        assert differences(all_of(whole), all_of(resumed)) == []


def test_every_event_after_the_first_shows_the_same_place_in_the_progress(make, tmp_path):
    class Place(Callback):
        def __init__(self):
            self.seen = []

        def look(self, learner):
            progress = learner.progress
            self.seen.append((progress.phase, progress.epoch, progress.step))

        on_epoch_begin = on_step_begin = on_step_end = on_epoch_end = look

    whole = Place()
    make(whole, Checkpointer(tmp_path, every_steps=1, every_epochs=1, during=Phase)).fit(2)
    *entries, last = checkpoints(tmp_path)
    finished = Place()
    resumed = make(finished)
    resume(resumed, last)
    resumed.fit(2)
    assert finished.seen == []  # it was completed when the fit had ended
    for entry in entries:
        rest = Place()
        resumed = make(rest)
        resume(resumed, entry.path)
        resumed.fit(2)
        left = len(rest.seen) - 1
        assert rest.seen[0] in whole.seen[:-left]  # the beginning of the epoch under way is dispatched again
        assert rest.seen[1:] == whole.seen[-left:]


def test_with_several_models_and_optimizers(make, watchers, resumed_everywhere):
    class Both(AbstractTrainingPhase):
        def step(self, learner, batch):
            with run_step(learner, self, xs=batch[0]) as (_, state):
                state.loss = learner.model.second(learner.model.first(state.xs)).square().mean()
                state.loss.backward()
                learner.optimizer.first.step()
                if learner.progress.steps % 2:
                    learner.optimizer.second.step()

    def build(*callbacks, seed=0):
        torch.manual_seed(seed)
        model = {"first": nn.Linear(3, 3), "second": nn.Linear(3, 1)}
        optimizer = {"first": torch.optim.Adam, "second": lambda params: torch.optim.SGD(params, 0.1, momentum=0.9)}
        return make(*watchers(), *callbacks, seed=seed, model=model, optimizer=optimizer)

    resumed_everywhere(build, lambda learner: learner.fit(2, phases=[Both()]))


def test_with_throttled_callbacks(make, resumed_everywhere, watchers):
    def build(*callbacks, seed=0):
        throttled = (
            throttle(callback, StepEnd, freq=3) if handles(callback, StepEnd) else callback for callback in watchers()
        )
        return make(*throttled, *callbacks, seed=seed)

    resumed_everywhere(build)


class SkipSecond(Callback):
    """Cancels every second step, at its beginning."""

    def __init__(self):
        self.count = 0

    def on_step_begin(self):
        self.count += 1
        if self.count % 2 == 0:
            raise CancelStepException("Not this one.")

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


def test_with_steps_that_are_cancelled(make, watchers, resumed_everywhere):
    resumed_everywhere(lambda *callbacks, seed=0: make(*watchers(), SkipSecond(), *callbacks, seed=seed))


class Reads(Callback):
    """Looks at the last loss when an epoch ends."""

    state_access = {"step.loss": Read, "cbstate.losses": Write}

    def on_init(self, learner):
        learner.cbstate.losses = []

    def on_epoch_end(self, learner):
        learner.cbstate.losses.append(learner.step.loss.item())


def test_with_a_handler_of_the_epochs_end_that_reads_the_last_loss(make, resumed_everywhere):
    resumed_everywhere(lambda *callbacks, seed=0: make(Reads(), *callbacks, seed=seed))


def test_with_handlers_that_run_in_threads(make, resumed_everywhere):
    def build(*callbacks, seed=0):
        return make(Reads(), Accumulate(), *callbacks, seed=seed, runner=ThreadedRunner())

    resumed_everywhere(build)


def test_a_resumed_run_can_be_interrupted_and_resumed_again_and_again(make, watchers, all_of, differences, tmp_path):
    whole = make(*watchers())
    whole.fit(2)
    for n in range(1, 40):
        learner = make(*watchers(), Checkpointer(tmp_path, every_steps=1, every_epochs=1), Interrupt(), seed=n - 1)
        if n > 1:
            resume(learner, tmp_path)
        try:
            learner.fit(2)
        except KeyboardInterrupt:
            continue
        break
    assert n == 8
    assert differences(all_of(whole), all_of(learner)) == []


class Interrupt(Callback):
    """Is pressed in the second training step that it sees."""

    optional_state = True

    def __init__(self):
        self.seen = 0

    def on_step_begin(self, phase: TrainingPhase):
        self.seen += 1
        if self.seen == 2:
            raise KeyboardInterrupt


def test_a_fit_that_was_done_has_nothing_left_and_a_longer_one_goes_on(make, watchers, all_of, differences, tmp_path):
    whole = make(*watchers())
    whole.fit(3)
    make(*watchers(), Checkpointer(tmp_path, phase=ValidationPhase)).fit(2)
    done, longer = make(*watchers(), seed=7), make(*watchers(), seed=7)
    resume(done, latest(tmp_path).path)
    assert done.fit(2) == FitResult(epochs=0, steps=0)
    resume(longer, latest(tmp_path).path)
    assert longer.fit(3) == FitResult(epochs=1, steps=4)
    assert differences(all_of(whole), all_of(longer)) == []


def test_after_the_resumed_fit_the_next_one_begins_at_its_beginning(make, tmp_path):
    make(Checkpointer(tmp_path, every_steps=3)).fit(1)
    learner = make(seed=7)
    resume(learner, tmp_path)
    assert [learner.fit(1).steps, learner.fit(1).steps] == [1, 4]
