import copy
import pickle
import warnings

import pytest
import torch
from torch.optim.lr_scheduler import (
    ChainedScheduler,
    CosineAnnealingLR,
    CyclicLR,
    LambdaLR,
    LinearLR,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)
from treadle import toy_learner
from treadle_schedule import (
    CosAnneal,
    LearningRate,
    Loop,
    Momentum,
    ScheduleError,
    Scheduler,
    ScheduleRangeError,
    Sequence,
    Shifted,
    TorchSchedule,
)


def values(schedule, n):
    return [schedule(t) for t in range(1, n + 1)]


def by_hand(cls, n, key="lr", **options):
    """The values that an optimizer has in each step, stepped as torch's documentation says."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.9)
    scheduler = cls(optimizer, **options)
    found = []
    for _ in range(n):
        found.append(optimizer.param_groups[0][key])
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (CosineAnnealingLR, {"T_max": 10}),
        (StepLR, {"step_size": 3, "gamma": 0.5}),
        (LinearLR, {"total_iters": 5}),
        (CyclicLR, {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 4}),
        (OneCycleLR, {"max_lr": 1.0, "total_steps": 12}),
        (LambdaLR, {"lr_lambda": lambda epoch: 0.9**epoch}),
    ],
)
def test_it_gives_what_the_scheduler_would_set(cls, options):
    assert values(TorchSchedule(cls, start=0.1, **options), 12) == by_hand(cls, 12, **options)


def test_torchs_cosine_annealing_is_ours_without_restart():
    schedule = TorchSchedule(CosineAnnealingLR, start=0.1, T_max=10)
    assert values(schedule, 25) == pytest.approx(values(CosAnneal(0.0, 0.1, 10, restart=False), 25), abs=1e-12)


def test_a_function_makes_a_scheduler_of_schedulers():
    def warm_up(optimizer, steps):
        parts = [LinearLR(optimizer, 0.5, total_iters=steps), StepLR(optimizer, 1, gamma=0.5)]
        return SequentialLR(optimizer, parts, milestones=[steps])

    with warnings.catch_warnings():  # torch passes its own deprecated argument around
        warnings.simplefilter("ignore")
        schedule = TorchSchedule(warm_up, start=0.1, steps=2)
        assert values(schedule, 4) == pytest.approx([0.05, 0.075, 0.1, 0.05])


def test_each_step_is_made_once_however_often_it_is_called():
    asked = []
    schedule = TorchSchedule(LambdaLR, start=0.1, lr_lambda=lambda epoch: asked.append(epoch) or 1.0)
    values(schedule, 5)
    values(schedule, 5)
    assert asked == [0, 1, 2, 3, 4]


def test_making_and_calling_one_draws_no_random_numbers():
    before = torch.get_rng_state()
    TorchSchedule(StepLR, start=0.1, step_size=2)(9)
    assert torch.equal(torch.get_rng_state(), before)


def test_they_compare_by_class_start_and_options():
    assert TorchSchedule(StepLR, start=0.1, step_size=2) == TorchSchedule(StepLR, start=0.1, step_size=2)
    assert TorchSchedule(StepLR, start=0.1, step_size=2) != TorchSchedule(StepLR, start=0.1, step_size=3)
    assert repr(TorchSchedule(StepLR, start=0.1, step_size=2)) == "TorchSchedule(StepLR, start=0.1, step_size=2)"


@pytest.mark.parametrize("make", [ReduceLROnPlateau, lambda optimizer: ReduceLROnPlateau(optimizer, patience=3)])
def test_a_scheduler_that_follows_a_metric_is_refused(make):
    with pytest.raises(
        ScheduleError,
        match=r"ReduceLROnPlateau follows a metric and not the number of the step\.\n"
        r"Fix: add a callback to the learner in its place:\n    ReduceOnPlateau\(",
    ):
        TorchSchedule(make, start=0.1)
    with pytest.raises(ScheduleError, match=r"ReduceLROnPlateau steps an optimizer.*\nFix: add a callback"):
        Scheduler({LearningRate: ReduceLROnPlateau})


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (StepLR, {"step_sise": 2}, r"StepLR cannot be made: TypeError: .*step_sise"),
        (StepLR, {}, r"StepLR cannot be made: TypeError"),
        (OneCycleLR, {"max_lr": 0.1}, r"OneCycleLR cannot be made: ValueError: You must define"),
        (7, {}, r"7 is not a class or a function"),
    ],
)
def test_what_cannot_be_made_is_refused_at_once(make, options, message):
    with pytest.raises(ScheduleError, match=f"TorchSchedule: {message}(.|\n)*Fix: pass"):
        TorchSchedule(make, start=0.1, **options)


@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (OneCycleLR, {"max_lr": 1.0, "total_steps": 12}),
        (CyclicLR, {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 4}),
    ],
)
def test_a_scheduler_that_cycles_the_momentum_gives_it_as_well(cls, options):
    schedule = TorchSchedule(cls, start=0.1, **options)
    by_scheduler = by_hand(cls, 12, key="momentum", **options)
    learner = toy_learner(
        Scheduler({LearningRate: schedule, Momentum: schedule.momentum}),
        optimizer=lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9),
        nbatches=12,
    )
    learner.fit(1)
    assert list(learner.cbstate.hyperparams["LearningRate"].values) == by_hand(cls, 12, **options)
    assert list(learner.cbstate.hyperparams["Momentum"].values) == by_scheduler
    assert len(set(by_scheduler)) > 1


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: Loop(s, 3), lambda s: Sequence((0.1, 2), (Shifted(s, 2), 3))])
def test_the_momentum_is_not_left_out_silently(wrap):
    schedule = TorchSchedule(OneCycleLR, start=0.1, max_lr=1.0, total_steps=12)
    message = (
        r"Scheduler: LearningRate: TorchSchedule\(OneCycleLR, .*\) cycles the momentum as well, and nothing sets it\.\n"
        r"Fix: set both, or pass cycle_momentum=False to the schedule:\n"
        r"    Scheduler\(\{LearningRate: schedule, Momentum: schedule\.momentum\}\)"
    )
    with pytest.raises(ScheduleError, match=message):
        Scheduler({LearningRate: wrap(schedule)})
    Scheduler({LearningRate: TorchSchedule(OneCycleLR, start=0.1, max_lr=1.0, total_steps=12, cycle_momentum=False)})


def test_a_scheduler_that_leaves_the_momentum_has_none_to_give():
    with pytest.raises(ScheduleError, match=r"TorchSchedule\(StepLR, .*\) sets no momentum\.\nFix: take a scheduler"):
        _ = TorchSchedule(StepLR, start=0.1, step_size=2).momentum


def test_it_gives_a_value_for_each_group():
    options = {"lr_lambda": [lambda i: 0.9**i, lambda i: 0.5**i]}
    schedule = TorchSchedule(LambdaLR, start=[0.1, 1.0], **options)
    assert [schedule(t) for t in (1, 2)] == [(0.1, 1.0), (0.1 * 0.9, 0.5)]
    assert repr(schedule).startswith("TorchSchedule(LambdaLR, start=[0.1, 1.0], lr_lambda=[")
    one_cycle = TorchSchedule(OneCycleLR, start=[0.1, 0.1], max_lr=[1.0, 0.5], total_steps=4)
    first, second = one_cycle(2)
    assert second == pytest.approx(first / 2)
    assert len(one_cycle.momentum(2)) == 2


def test_past_the_end_of_one_cycle_is_an_error_and_its_length_is_known():
    schedule = TorchSchedule(OneCycleLR, start=0.1, max_lr=1.0, total_steps=12, cycle_momentum=False)
    assert schedule.length == 12
    schedule(12)
    with pytest.raises(ScheduleRangeError, match=r"TorchSchedule\(OneCycleLR, .* was called with step 13\.\nFix: make"):
        schedule(13)
    learner = toy_learner(Scheduler({LearningRate: schedule}), nbatches=13)
    with pytest.raises(ScheduleRangeError, match="has 12 of 12 updates left, and this fit makes 13"):
        learner.fit(1)


def test_past_the_end_of_one_inside_of_another_is_an_error_too():
    def chained(optimizer):
        return ChainedScheduler([OneCycleLR(optimizer, max_lr=1.0, total_steps=3, cycle_momentum=False)])

    schedule = TorchSchedule(chained, start=0.1)
    with pytest.raises(
        ScheduleRangeError, match=r"has no value for step \d: ValueError: Tried to step(.|\n)*Fix: make"
    ):
        schedule(9)


def test_they_can_be_keys_and_are_copied_and_pickled():
    first, second = (TorchSchedule(StepLR, start=0.1, step_size=2) for _ in range(2))
    assert len({first, second, TorchSchedule(StepLR, start=0.2, step_size=2)}) == 2
    first(3)
    assert copy.deepcopy(first)(5) == pickle.loads(pickle.dumps(first))(5) == first(5)


def test_a_far_step_lets_the_optimizer_step_once(monkeypatch):
    steps, original = [], torch.optim.SGD.step

    def step(self, closure=None):
        steps.append(1)
        return original(self, closure)

    monkeypatch.setattr(torch.optim.SGD, "step", step)
    assert TorchSchedule(StepLR, start=0.1, step_size=1000, gamma=0.5)(3001) == 0.1 / 8
    assert len(steps) == 1


def test_a_function_that_does_not_make_a_scheduler_is_refused():
    with pytest.raises(
        ScheduleError, match=r"made 7, which is not one of torch's schedulers\.\nFix: pass a class or a function"
    ):
        TorchSchedule(lambda optimizer: 7, start=0.1)(1)
    with pytest.raises(
        ScheduleError, match=r"TorchSchedule: `start` has an invalid value: 'fast'\.\nFix: pass a finite number"
    ):
        TorchSchedule(StepLR, start="fast", step_size=2)
