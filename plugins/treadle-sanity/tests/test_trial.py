import pytest
import torch
from torch import nn
from treadle import (
    Callback,
    Read,
    StepBegin,
    TrainingPhase,
    ValidationPhase,
    Write,
    hookimpl,
    step,
    throttle,
    toy_learner,
)
from treadle_sanity import CHECKS, SkipCheck
from treadle_sanity.trial import Trial, influences, moved, movers, outputs, shared_trials, trials, without_trace


class Mover(Callback):
    """Declares what `ToDevice` declares; moves nothing itself."""

    state_access = {"step.xs": Write, "step.ys": Write}

    def move_data(self, tensor):
        return tensor

    def on_step_begin(self, learner): ...


def test_a_batch_is_moved_to_the_device_of_the_model_if_a_callback_moves_batches():
    learner = toy_learner(Mover())
    learner.model.to("meta")
    xs, ys = moved(learner, (torch.ones(2, 1), {"label": torch.ones(2)}))
    assert (xs.device.type, ys["label"].device.type) == ("meta", "meta")


def test_without_such_a_callback_it_stays_where_it_is():
    learner = toy_learner()
    learner.model.to("meta")
    (xs,) = moved(learner, (torch.ones(2, 1),))
    assert xs.device.type == "cpu"


def test_what_only_the_step_knows_how_to_move_is_left_to_it():
    learner = toy_learner(Mover())
    with pytest.raises(SkipCheck, match="the batches hold object, and only the step itself knows how that is moved"):
        moved(learner, (object(), 1))


def test_a_trial_holds_what_a_step_would():
    learner = toy_learner()
    trial = Trial(learner, TrainingPhase())
    state = step(learner, TrainingPhase(), learner.data.training[0])
    assert trial.error is None
    assert torch.equal(trial.xs, state.xs)
    assert torch.equal(trial.yhats, state.yhats)
    assert torch.equal(trial.loss, state.loss)


def test_trials_are_made_once_for_all_checks():
    learner = toy_learner()
    with shared_trials([TrainingPhase()]):
        assert trials(learner) == trials(learner)
    assert trials(learner)[0] is not trials(learner)[0]


def test_every_check_can_be_run_by_itself():
    assert [check.fn(toy_learner()) for check in CHECKS] == [True] * len(CHECKS)


# Looking leaves no trace.


class Remembering(nn.Module):
    """A model that keeps what it saw in every way a model may."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.register_buffer("count", torch.zeros(()))
        self.calls = 0
        self.seen: list[int] = []
        self.last = None

    def forward(self, xs: torch.Tensor) -> torch.Tensor:
        self.count += 1
        self.calls += 1
        self.seen.append(1)
        self.last = xs
        self.extra = nn.Linear(1, 1)
        return self.layer(xs)


def test_counters_containers_attributes_and_new_parts_are_gone_afterwards():
    learner = toy_learner()
    learner.model = model = Remembering()
    count, seen = model.count, model.seen
    with without_trace(learner, TrainingPhase()):
        outputs(learner, torch.ones(1, 1))
        assert (model.count.item(), model.calls, model.seen) == (1, 1, [1])
    assert model.count is count
    assert count.item() == 0
    assert model.seen is seen
    assert (model.calls, model.seen, model.last) == (0, [], None)
    assert not hasattr(model, "extra")


def test_a_buffer_that_two_modules_share_is_shared_inside_and_afterwards():
    learner, first, second = toy_learner(), nn.BatchNorm1d(1), nn.BatchNorm1d(1)
    second.running_mean = shared = first.running_mean
    learner.model = nn.Sequential(first, second)
    with without_trace(learner, TrainingPhase()):
        outputs(learner, torch.ones(4, 1))
        assert first.running_mean is second.running_mean
    assert first.running_mean is second.running_mean is shared
    assert shared.item() == 0


def test_modes_of_all_modules_are_as_before_also_after_an_error():
    learner = toy_learner()
    learner.model = model = nn.Sequential(nn.Linear(1, 1), nn.Dropout().eval())
    with pytest.raises(ZeroDivisionError), without_trace(learner, ValidationPhase()):
        _ = 1 / model.training  # which is False, as in validation
    assert [module.training for module in model.modules()] == [True, True, False]


def test_a_loss_function_that_counts_is_as_before():
    learner = toy_learner()
    learner.lossfn = nn.BatchNorm1d(1)
    with without_trace(learner, TrainingPhase()):
        learner.lossfn(torch.ones(4, 1))
    assert learner.lossfn.num_batches_tracked.item() == 0


# Which callbacks change a step.


class Watches(Callback):
    state_access = {"step": Read}

    def on_step_begin(self, learner): ...


class Changes(Callback):
    state_access = {"step": Write}

    def on_step_begin(self, learner): ...


class Overrides(Callback):
    def forward(self, learner): ...


class Moves(Callback):
    state_access = {"step.xs": Write}

    def move_data(self, tensor):
        return tensor

    def on_step_begin(self, learner): ...


class Averages(Callback):
    @hookimpl(wrapper=True)
    def epoch(self, learner):
        return (yield)


class Reorders(Callback):
    def epoch(self, learner, phase, data): ...


def test_callbacks_that_write_what_is_in_a_step_or_override_a_part_of_it_have_influence():
    assert influences(toy_learner(Watches(), Changes())) == ["Changes"]
    assert influences(toy_learner(Overrides())) == ["Overrides"]
    assert influences(toy_learner(Reorders())) == ["Reorders"]


def test_a_callback_that_only_wraps_an_epoch_has_none():
    assert influences(toy_learner(Averages())) == []


def test_a_callback_that_moves_batches_moves_the_trials_instead():
    moves = Moves()
    learner = toy_learner(throttle(moves, StepBegin, freq=1))
    assert influences(learner) == []
    assert movers(learner) == [moves.move_data]
