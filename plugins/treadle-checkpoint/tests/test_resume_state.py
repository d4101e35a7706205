"""Resumed after any step: modes, buffers, random generators wherever they are, samplers and data sets with a state."""

from __future__ import annotations

import functools
import random

import numpy
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler
from treadle import Callback, CancelFittingException, Learner, Read, TrainingPhase, ValidationPhase, Write
from treadle.errors import MismatchError, NotResumableError
from treadle_checkpoint import Checkpointer, checkpoints, resume


class Freezes(Callback):
    """Freezes parts of the model in some steps, and lets them train again in others."""

    state_access = {"model": Write}

    def on_step_end(self, learner, phase: TrainingPhase):
        learner.model[1].train(learner.progress.steps % 3 != 1)
        learner.model[3].train(learner.progress.steps % 2 != 1)
        learner.model[0].bias.requires_grad_(learner.progress.steps % 4 != 2)


def test_with_modes_that_a_handler_changes(make, resumed_everywhere):
    resumed_everywhere(lambda *callbacks, seed=0: make(Freezes(), *callbacks, seed=seed))


class Counts(nn.Module):
    """Depends on a buffer that no `state_dict` names, and on a random generator of its own."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 1)
        self.noise = {"sources": [numpy.random.default_rng(1)]}
        self.register_buffer("count", torch.zeros(()), persistent=False)

    def forward(self, xs):
        self.count += 1
        return self.linear(xs) * (1 + 0.01 * self.count) + self.noise["sources"][0].random()


def test_with_buffers_that_no_state_dict_names_and_generators_in_the_model(make, resumed_everywhere):
    def build(*callbacks, seed=0):
        torch.manual_seed(seed)
        return make(*callbacks, seed=seed, model=Counts())

    resumed_everywhere(build)


class Noise:
    def __init__(self):
        self.gen = torch.Generator().manual_seed(5)

    def __call__(self, xs):
        return xs + torch.rand(3, generator=self.gen)


class Augmented(Dataset):
    """Draws from generators of many kinds, under many names."""

    def __init__(self, data):
        self.data = data
        self.transforms = [Noise(), functools.partial(self.jitter, {"r": (random.Random(3),)})]
        self._np_random = numpy.random.RandomState(4)

    @staticmethod
    def jitter(held, xs):
        return xs * held["r"][0].random()

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        xs, ys = self.data[index]
        for transform in self.transforms:
            xs = transform(xs)
        return xs + self._np_random.rand(), ys


class Draws(Callback):
    """Draws from a generator of its own in training and in validation."""

    state_access = {"step.xs": Write}

    def __init__(self):
        self._rngs = (random.Random(8),)

    def on_step_begin(self, learner, phase: TrainingPhase | ValidationPhase):
        learner.step.xs = learner.step.xs * self._rngs[0].random()


def test_with_generators_under_any_name_in_any_container(make, dataset, resumed_everywhere):
    def build(*callbacks, seed=0):
        training, validation = (DataLoader(Augmented(dataset), 8, shuffle=True) for _ in range(2))
        return make(Draws(), *callbacks, seed=seed, data=(training, validation))

    resumed_everywhere(build)


class Position(Sampler):
    """Another order in each pass, which it counts itself."""

    def __init__(self):
        self.epoch = 0

    def __len__(self):
        return 32

    def __iter__(self):
        self.epoch += 1
        return iter(torch.randperm(32, generator=torch.Generator().manual_seed(self.epoch)).tolist())

    def state_dict(self):
        return {"epoch": self.epoch}

    def load_state_dict(self, state):
        self.epoch = state["epoch"]


class Stream(IterableDataset):
    """Goes on from pass to pass where it stood."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def __iter__(self):
        for _ in range(24):
            self.at += 1
            yield self.data[self.at % 32]

    def state_dict(self):
        return {"at": self.at}

    def load_state_dict(self, state):
        self.at = state["at"]


class Shown(Dataset):
    """Gives other samples the more of them were taken."""

    def __init__(self, data):
        self.data, self.taken = data, 0

    def __len__(self):
        return 32

    def __getitem__(self, index):
        self.taken += 1
        xs, ys = self.data[index]
        return xs + 0.01 * self.taken, ys

    def state_dict(self):
        return {"taken": self.taken}

    def load_state_dict(self, state):
        self.taken = state["taken"]


SOURCES = {
    "a sampler": lambda data: DataLoader(data, 8, sampler=Position()),
    "a stream": lambda data: DataLoader(Stream(data), 8),
    "a data set": lambda data: DataLoader(Shown(data), 8, shuffle=True),
    "a sampler and workers": lambda data: DataLoader(data, 8, sampler=Position(), num_workers=1),
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_with_a_state_on_a_part_of_a_plain_loader(make, all_of, differences, tmp_path, dataset, source):
    every_point(make, all_of, differences, tmp_path, lambda: source(dataset))


class Order(Sampler):
    """What `DistributedSampler` does: the epoch, which is set from outside, decides on the order."""

    def __init__(self):
        self.epoch = 0

    def __len__(self):
        return 32

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __iter__(self):
        return iter(torch.randperm(32, generator=torch.Generator().manual_seed(self.epoch)).tolist())


class SetEpoch(Callback):
    state_access = {"data": Read}

    def on_epoch_begin(self, learner, phase: TrainingPhase):
        learner.data.training.sampler.set_epoch(learner.progress.epoch)


def distributed(data):
    return torch.utils.data.DistributedSampler(data, num_replicas=1, rank=0)


@pytest.mark.parametrize("sampler", [lambda data: Order(), distributed], ids=["own", "torch's"])
def test_with_a_sampler_whose_epoch_a_callback_sets(make, all_of, differences, tmp_path, dataset, sampler):
    source = functools.partial(lambda: DataLoader(dataset, 8, sampler=sampler(dataset)))
    every_point(make, all_of, differences, tmp_path, source, SetEpoch)


def every_point(make, all_of, differences, tmp_path, source, *callbacks):
    """Save after each step and each epoch, resume from everywhere, and compare with the run that never stopped."""

    def build(*others, seed=0) -> Learner:
        return make(*(callback() for callback in callbacks), *others, seed=seed, data=(source(),))

    whole = build()
    whole.fit(3)
    build(Checkpointer(tmp_path, every_steps=1, every_epochs=1)).fit(3)
    entries = checkpoints(tmp_path)
    assert len(entries) >= 12
    for entry in entries:
        resumed = build(seed=7)
        resume(resumed, entry.path)
        resumed.fit(3)
        assert differences(all_of(whole), all_of(resumed)) == [], entry.path.name


def test_data_that_count_without_a_state_end_the_run_at_its_first_save(make, tmp_path, dataset):
    class Count(Order):
        def __iter__(self):
            self.epoch += 1
            return super().__iter__()

    learner = make(Checkpointer(tmp_path), data=(DataLoader(dataset, 8, sampler=Count()),))
    with pytest.raises(
        NotResumableError, match=r"data\.training\.sampler\.epoch was 0 before a pass and 1 after it.*\nFix"
    ):
        learner.fit(3)
    assert (learner.progress.epochs, checkpoints(tmp_path)) == (1, [])


def test_an_epoch_whose_data_are_at_another_place_is_not_resumed(make, tmp_path, dataset):
    def build(*callbacks, seed=0):
        return make(*callbacks, seed=seed, data=(DataLoader(dataset, 8, sampler=Order()),))

    build(SetEpoch(), Checkpointer(tmp_path, every_steps=10)).fit(3)
    resumed = build(seed=7)
    resume(resumed, tmp_path)
    with pytest.raises(
        MismatchError, match=r"data\.training\.sampler\.epoch was 3 and is 0\.\nFix: set it in on_epoch_be"
    ):
        resumed.fit(3)


def test_a_generator_that_is_missing_is_named(make, tmp_path):
    model = Counts()
    make(Checkpointer(tmp_path), model=model).fit(1)
    other = Counts()
    del other.noise["sources"]
    resumed = make(model=other)
    resume(resumed, tmp_path)
    with pytest.raises(MismatchError, match=r"random generator at model\.noise\['sources'\]\[0\], and the .*\nFix: "):
        resumed.fit(2)


class MadeLater:
    """Makes a random generator when it is first used, of some kind, in some place."""

    def __init__(self, kind, place):
        self.kind, self.place, self.held, self.rng = kind, place, {}, None

    def __call__(self):
        if self.rng is None and not self.held:
            made = {"python": random.Random, "numpy": numpy.random.default_rng, "torch": torch.Generator}[self.kind]()
            if self.place == "attribute":
                self.rng = made
            else:
                self.held["rng"] = [made]


class InTheData(Dataset):
    def __init__(self, made):
        self.made = made

    def __len__(self):
        return 32

    def __getitem__(self, index):
        self.made()
        return torch.full((3,), float(index)), torch.ones(1)


class InTheModel(nn.Linear):
    def __init__(self, made):
        super().__init__(3, 1)
        self.made = made

    def forward(self, xs):
        self.made()
        return super().forward(xs)


class InACallback(Callback):
    def __init__(self, made):
        self.made = made

    def on_step_begin(self):
        self.made()


@pytest.mark.parametrize("where", ["data", "model", "callbacks"])
@pytest.mark.parametrize("kind", ["python", "numpy", "torch"])
@pytest.mark.parametrize("place", ["attribute", "list in a dictionary"])
@pytest.mark.parametrize("every", [{}, {"every_steps": 2}])
def test_a_generator_that_is_made_when_it_is_first_used_is_refused_at_the_first_save(
    make, tmp_path, where, kind, place, every
):
    made = MadeLater(kind, place)
    callbacks = [InACallback(made)] if where == "callbacks" else []
    data = InTheData(made if where == "data" else int)
    learner = make(
        *callbacks,
        Checkpointer(tmp_path, **every),
        model=InTheModel(made if where == "model" else int),
        data=(DataLoader(data, 8),),
    )
    with pytest.raises(
        NotResumableError, match=rf"random generator at {where}.*made.* could not be resumed: .*\nFix: make"
    ):
        learner.fit(2)
    assert (checkpoints(tmp_path), learner.progress.steps) == ([], 2 if every else 4)


class MadeInForward(nn.Linear):
    """Registers a buffer when it is first used, and adds a layer."""

    def __init__(self, *kinds):
        super().__init__(3, 1)
        self.kinds = kinds

    def forward(self, xs, ys=None):
        if "buffer" in self.kinds and not hasattr(self, "late"):
            self.register_buffer("late", torch.zeros(1))
        if "layer" in self.kinds and not hasattr(self, "late"):
            self.late = nn.Linear(1, 1)
        if "unset" in self.kinds and self.late is None:
            self.late = torch.zeros(1)
        out = super().forward(xs)
        return out if ys is None else nn.functional.mse_loss(out * 0 + xs[:, :1], ys)


class LateLoss(MadeInForward):
    """A loss function of that kind."""

    def __init__(self, *kinds):
        super().__init__(*kinds)
        if "unset" in kinds:
            self.register_buffer("late", None)

    def forward(self, yhats, ys):
        super().forward(yhats.expand(-1, 3))
        return nn.functional.mse_loss(yhats, ys)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"model": MadeInForward("buffer")}, "late"),
        ({"model": MadeInForward("layer")}, "late.bias, late.weight"),
        ({"lossfn": LateLoss("buffer")}, "lossfn.late"),
        ({"lossfn": LateLoss("layer")}, "lossfn.late.bias, lossfn.late.weight"),
        ({"lossfn": LateLoss("unset")}, "lossfn.late"),
    ],
)
def test_a_buffer_or_a_layer_that_is_made_when_it_is_first_used_is_refused_at_the_first_save(
    make, tmp_path, options, names
):
    learner = make(Checkpointer(tmp_path, every_steps=2), **options)
    with pytest.raises(
        NotResumableError, match=rf"parameter or buffer called {names} could not be resumed: .*\nFix: make it where"
    ):
        learner.fit(2)
    assert (checkpoints(tmp_path), learner.progress.steps) == ([], 2)


def test_generators_of_what_joined_the_learner_between_two_fits_are_no_late_ones(make, tmp_path):
    learner = make(Checkpointer(tmp_path, every_steps=1))
    learner.fit(1)
    learner.add_callback(Draws())
    learner.data.training = DataLoader(learner.data.training.dataset, 8, shuffle=True, generator=torch.Generator())
    learner.fit(1)
    assert len(checkpoints(tmp_path)) == 8


class Made(nn.Module):
    """Makes a buffer that was registered as None from a batch, and goes on from it."""

    def __init__(self, *, persistent=True, at=1):
        super().__init__()
        self.linear, self.at, self.given = nn.Linear(3, 1), at, 0
        self.register_buffer("mean", None, persistent=persistent)
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, xs):
        if self.training:
            self.steps += 1
            if self.mean is None and self.steps >= self.at:
                self.mean = xs.mean(0)
            elif self.mean is not None:
                self.mean = self.mean * 0.9 + xs.mean(0) * 0.1
        return self.linear(xs if self.mean is None else xs - self.mean)


@pytest.mark.parametrize("persistent", [True, False])
@pytest.mark.parametrize("at", [1, 3, 6])
def test_with_a_buffer_that_was_none_and_is_made_during_the_run(make, resumed_everywhere, persistent, at):
    def build(*callbacks, seed=0):
        torch.manual_seed(seed)
        model = nn.Sequential(Made(persistent=persistent, at=at))
        return make(*callbacks, seed=seed, model=model)

    resumed_everywhere(build)


def test_a_buffer_that_is_none_because_the_model_is_another_one_is_refused(make, tmp_path):
    def build(*callbacks, tracks):
        norm = nn.BatchNorm1d(3, track_running_stats=tracks)
        return make(*callbacks, model=nn.Sequential(norm, nn.Linear(3, 1)))

    build(Checkpointer(tmp_path), tracks=True).fit(1)
    with pytest.raises(MismatchError, match=r"it has 0\.running_mean, which the model does not have"):
        resume(build(tracks=False), tmp_path)


class Enough(CancelFittingException):
    final = True


class StopAt(Callback):
    """Ends the fit for good in a step, or in the step of the validation, of the second epoch."""

    def __init__(self, step, phase):
        self.step, self.phase = step, phase

    def on_step_end(self, learner, phase):
        if isinstance(phase, self.phase) and (learner.progress.epoch, learner.progress.step) == (2, self.step):
            raise Enough("good enough")


@pytest.mark.parametrize("phase", [TrainingPhase, ValidationPhase])
@pytest.mark.parametrize("step", [1, 3])
@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_ended_for_good_in_the_middle_of_an_epoch_the_data_stand_where_they_were_left(
    make, all_of, differences, tmp_path, dataset, source, step, phase
):
    def build(seed=0):
        return make(StopAt(step, phase), Checkpointer(tmp_path), seed=seed, data=(source(dataset), source(dataset)))

    whole = build()
    assert str(whole.fit(3).cancelled) == "good enough"
    resumed = build(seed=7)
    resume(resumed, tmp_path)
    result = resumed.fit(3)
    assert (result.steps, str(result.cancelled)) == (0, "good enough")
    assert differences(all_of(whole), all_of(resumed)) == []
    for learner in (whole, resumed):
        learner.set_callbacks([])
        torch.manual_seed(3)
        learner.fit(1)
    assert differences(all_of(whole), all_of(resumed)) == []
