import warnings

import pytest
import torch
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    CyclicLR,
    LambdaLR,
    LinearLR,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)
from treadle_schedule import CosAnneal, ScheduleError, TorchSchedule


def values(schedule, n):
    return [schedule(t) for t in range(1, n + 1)]


def by_hand(cls, n, **options):
    """The learning rates that an optimizer has in each step, stepped as torch's documentation says."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.9)
    scheduler = cls(optimizer, **options)
    found = []
    for _ in range(n):
        found.append(optimizer.param_groups[0]["lr"])
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


def test_a_scheduler_that_follows_a_metric_is_refused():
    with pytest.raises(
        ScheduleError,
        match=r"ReduceLROnPlateau follows a metric and not the number of the step\.\nFix: pass a scheduler that counts",
    ):
        TorchSchedule(ReduceLROnPlateau, start=0.1)


def test_a_function_that_does_not_make_a_scheduler_is_refused():
    with pytest.raises(
        ScheduleError, match=r"made 7, which is not one of torch's schedulers\.\nFix: pass a class or a function"
    ):
        TorchSchedule(lambda optimizer: 7, start=0.1)(1)
    with pytest.raises(
        ScheduleError, match=r"TorchSchedule: `start` has an invalid value: 'fast'\.\nFix: pass a finite number"
    ):
        TorchSchedule(StepLR, start="fast", step_size=2)
