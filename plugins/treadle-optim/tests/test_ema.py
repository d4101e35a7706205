"""`EMA` does what the loop by hand does with torch's parts, and validation runs with the averages."""

from __future__ import annotations

import copy
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from treadle import (
    AbstractTrainingPhase,
    Callback,
    CallbackConflictError,
    CancelEpochException,
    CancelUpdateException,
    CustomCallback,
    LossBegin,
    Read,
    StepEnd,
    TrainingPhase,
    UpdateBegin,
    UpdateEnd,
    ValidationPhase,
    Write,
    epoch,
    hookimpl,
    run_step,
    run_update,
    step,
    throttle,
    toy_learner,
)
from treadle.errors import ArgumentTypeError, ArgumentValueError, CallbackError, MismatchError
from treadle.operations import Backward, Forward, Loss, Update
from treadle_optim import EMA, Lookahead

with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(Path(__file__).parent)
    from averaged_loops import Losses, adam, batches, equal, learner_of, network


def by_hand(epochs, decay=0.9, every=1):
    """Training with averages, validated after every epoch, as one writes it with torch."""
    model = network()
    optimizer, averaged = adam(model.parameters()), AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))
    averaged.update_parameters(model)  # the first call copies: the average begins with the initial weights
    losses, updates = [], 0
    for _ in range(epochs):
        model.train()
        for xs, ys in batches(7):
            optimizer.zero_grad()
            mse_loss(model(xs), ys).backward()
            optimizer.step()
            updates += 1
            if updates % every == 0:
                averaged.update_parameters(model)
        for own, buffer in zip(averaged.module.buffers(), model.buffers(), strict=True):
            own.copy_(buffer)
        averaged.eval()
        with torch.no_grad():
            losses += [mse_loss(averaged(xs), ys).item() for xs, ys in batches(3, seed=2)]
    return model, averaged.module, losses


@pytest.mark.parametrize("every", [1, 3])
def test_it_is_bit_for_bit_the_loop_by_hand(every) -> None:
    model, averaged, expected = by_hand(3, every=every)
    ema, losses = EMA(0.9, every=every), Losses()
    learner = learner_of(ema, losses)
    torch.manual_seed(0)
    network()
    learner.fit(3)
    assert equal(learner.model, model)
    assert equal(ema.model(), averaged)
    assert losses.values == expected


def test_what_is_trained_is_the_same_with_and_without_it() -> None:
    trained = []
    for callbacks in ((), (EMA(0.9),)):
        learner = learner_of(*callbacks)
        torch.manual_seed(3)
        learner.fit(3)
        trained.append(learner)
    assert equal(trained[0].model, trained[1].model)


def test_it_begins_with_the_weights_that_are_there_when_training_begins() -> None:
    ema = EMA(0.5)
    learner = toy_learner(ema, nbatches=1)
    with torch.no_grad():
        learner.model.weight.fill_(2.0)
    learner.fit(1)
    assert ema.model().weight.item() == pytest.approx((2.0 + learner.model.weight.item()) / 2)


def test_the_model_has_its_own_tensors_after_validation_and_the_averages_meanwhile() -> None:
    seen = []

    class Look(Callback):
        state_access = {"model": Read}

        def on_step_end(self, learner, phase: ValidationPhase):
            seen.append(learner.model.weight.item())

    ema = EMA(0.9)
    learner = toy_learner(ema, Look(), nbatches=4)
    parameter, address = learner.model.weight, learner.model.weight.data_ptr()
    learner.fit(1)
    assert set(seen) == {ema.model().weight.item()} != {learner.model.weight.item()}
    assert learner.model.weight is parameter
    assert parameter.data_ptr() == address


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("no"), CancelEpochException()])
def test_the_trained_weights_are_back_whatever_ends_the_validation(error) -> None:
    def fail(learner):
        raise error

    plain = toy_learner()
    plain.fit(1, (plain.data.training,))
    learner = toy_learner(EMA(0.9), CustomCallback(fail, StepEnd, ValidationPhase))
    with nullcontext() if isinstance(error, CancelEpochException) else pytest.raises(type(error)):
        learner.fit(1)
    assert learner.model.weight.equal(plain.model.weight)


class Inside(Callback):
    """Validate inside of an epoch of training, at an event of its steps."""

    state_access = {"loop": Write}

    def on_loss_begin(self, learner, phase: TrainingPhase):
        if learner.progress.step % 3 == 0:
            learner.loop.epoch(ValidationPhase())


def test_validation_between_a_forward_and_a_backward_pass_runs_with_the_averages_and_changes_nothing() -> None:
    plain = learner_of()
    torch.manual_seed(3)
    plain.fit(2)
    ema, losses = EMA(0.9), Losses()
    learner = learner_of(ema, losses, Inside())
    torch.manual_seed(3)
    learner.fit(2)
    assert equal(learner.model, plain.model)
    assert len(losses.values) == 2 * (2 * 3 + 3)


def test_a_step_of_validation_outside_of_an_epoch_runs_with_the_averages_too() -> None:
    ema = EMA(0.9)
    learner = toy_learner(ema)
    learner.fit(1)
    xs, ys = learner.data.validation[0]
    assert step(learner, ValidationPhase(), (xs, ys)).yhats.equal(ema.model()(xs))


def test_validation_outside_of_a_fit_runs_with_the_averages() -> None:
    ema, losses = EMA(0.9), Losses()
    learner = toy_learner(ema, losses)
    learner.fit(1)
    before, losses.values = losses.values, []
    epoch(learner, ValidationPhase())
    assert losses.values == before


def test_without_an_update_validation_runs_with_the_weights_that_are_there() -> None:
    ema = EMA(0.9)
    learner = toy_learner(ema)
    with torch.no_grad():
        learner.model.weight.fill_(5.0)
    xs, ys = learner.data.validation[0]
    assert step(learner, ValidationPhase(), (xs, ys)).yhats.equal(5 * xs)
    assert ema.model().weight.item() == 5.0


def test_updates_that_were_cancelled_or_skipped_do_not_count() -> None:
    class Skip(Callback):
        def update(self, learner, phase: TrainingPhase):
            return False if learner.progress.step % 2 else None

    def cancel(learner):
        if learner.progress.step == 2:
            raise CancelUpdateException

    ema = EMA(0.9)
    learner = toy_learner(ema, Skip(), CustomCallback(cancel, UpdateBegin), nbatches=8)
    learner.fit(1)
    assert ema.updates == {"": 3} == {"": learner.progress.updates}


class Alternating(AbstractTrainingPhase):
    """Two models, each with a loss and an update of its own; the second has one in every other step."""

    def step(self, learner, batch):
        with run_step(learner, self, xs=batch[0], ys=batch[1]) as (handle, state):
            for name in ("first", "second"):
                if name == "first" or learner.progress.step % 2:
                    handle(LossBegin)
                    state.loss = mse_loss(learner.model[name](state.xs), state.ys)
                    run_update(learner, self, models=name)


@pytest.mark.parametrize("every", [1, 2])
def test_of_several_models_each_counts_the_updates_of_its_own_parameters(every) -> None:
    models = {"first": nn.Linear(3, 1), "second": nn.Linear(3, 1)}
    ema = EMA(0.9, every=every)
    learner = learner_of(ema, model=copy.deepcopy(models), optimizer={"first": adam, "second": adam})
    learner.fit(2, phases=[Alternating()])
    for name, model in models.items():
        optimizer, averaged = adam(model.parameters()), AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
        averaged.update_parameters(model)
        updates = 0
        for _ in range(2):
            for i, (xs, ys) in enumerate(batches(7), 1):
                if name == "first" or i % 2:
                    optimizer.zero_grad()
                    mse_loss(model(xs), ys).backward()
                    optimizer.step()
                    updates += 1
                    if updates % every == 0:
                        averaged.update_parameters(model)
        assert ema.updates[name] == updates
        assert equal(ema.model()[name], averaged.module)
        assert equal(learner.model[name], model)


def test_parameters_with_two_names_have_one_average() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False), nn.Linear(3, 1))
    model[1].weight = model[0].weight
    ema = EMA(0.5)
    learner = learner_of(ema, model=model)
    learner.fit(1)
    averaged = ema.model()
    assert averaged[0].weight is averaged[1].weight
    assert ema.weights_in_validation["0.weight"] is ema.weights_in_validation["1.weight"]


def test_it_runs_after_whoever_changes_the_weights_at_the_end_of_an_update() -> None:
    class Clip(Callback):
        state_access = {"model": Write}

        def on_update_end(self, learner):
            with torch.no_grad():
                learner.model.weight.clamp_(max=0.25)

    ema = EMA(0.0)
    for callbacks in ((ema, Clip()), (Clip(), ema)):
        learner = toy_learner(*callbacks)
        learner.fit(1)
        assert ema.model().weight.item() == 0.25


def test_two_averages_for_validation_are_refused() -> None:
    with pytest.raises(CallbackConflictError, match="Validation runs with the averages of one of them"):
        toy_learner(EMA(0.9), EMA(0.99))
    with pytest.raises(CallbackConflictError, match="Validation runs with the averages of one of them"):
        toy_learner(EMA(0.9), throttle(EMA(0.99), UpdateEnd, freq=2))


def test_another_wrapper_of_validation_that_changes_the_model_needs_an_order() -> None:
    class Round(Callback):
        state_access = {"model": Write}

        @hookimpl(wrapper=True)
        def epoch(self, learner, phase: ValidationPhase):
            return (yield)

    with pytest.raises(CallbackConflictError, match="EMA"):
        toy_learner(EMA(), Round())
    toy_learner(EMA(), type("After", (Round,), {"run_after": ("ema",)})())


def test_training_inside_of_validation_is_refused_since_it_would_be_lost() -> None:
    class Tune(Callback):
        state_access = {"loop": Write}

        def on_step_begin(self, learner, phase: ValidationPhase):
            learner.loop.epoch(TrainingPhase())

    learner = toy_learner(EMA(), Tune())
    with pytest.raises(CallbackError, match=r"trained inside of validation, where EMA.*\nFix: train when"):
        learner.fit(1)


def test_its_arguments_are_checked() -> None:
    for invalid in (-0.1, 1.1, float("nan")):
        with pytest.raises(ArgumentValueError, match=r"decay .*\nFix: .*"):
            EMA(invalid)
    with pytest.raises(ArgumentTypeError, match="decay"):
        EMA("much")
    with pytest.raises(ArgumentValueError, match="every must be a whole number of at least 1"):
        EMA(every=0)
    assert repr(EMA(0.9, every=2)) == "<EMA(decay=0.9, every=2)>"


def test_a_model_without_shapes_is_refused_when_the_learner_is_built() -> None:
    with pytest.raises(ArgumentValueError, match=r"EMA begins .* and weight has no shape yet\.\nFix: show the model"):
        learner_of(EMA(), model=nn.LazyLinear(1))


def test_it_has_no_model_before_it_joins_a_learner() -> None:
    with pytest.raises(CallbackError, match=r"EMA has no model.*\nFix: pass it to one first"):
        EMA().model()


def test_averages_of_another_model_are_refused() -> None:
    learner = learner_of(EMA(), model=nn.Linear(3, 1))
    learner.fit(1)
    for model, why in (
        (nn.Linear(3, 2), "that of weight has the shape"),
        (nn.Linear(3, 1, bias=False), "no bias"),
        (nn.Sequential(nn.Linear(3, 1)), "0.weight has none"),
    ):
        learner.model = model
        with pytest.raises(MismatchError, match=f"averages are those of another model: .*{why}"):
            learner.fit(1)


def test_in_another_learner_it_begins_again() -> None:
    ema = EMA(0.5)
    toy_learner(ema).fit(2)
    learner = toy_learner(ema)
    assert (ema.updates, ema.weights_in_validation) == ({}, {})
    learner.fit(1)
    fresh = EMA(0.5)
    toy_learner(fresh).fit(1)
    assert ema.model().weight.equal(fresh.model().weight)


def test_after_an_interrupt_at_any_line_the_trained_weights_are_back() -> None:
    ema = EMA(0.9)
    learner = toy_learner(ema, nbatches=2)
    learner.fit(1)
    trained, averaged = learner.model.weight.clone(), ema.model().weight
    line, interrupted = 0, True
    while interrupted:
        line, interrupted, lines = line + 1, False, 0

        def in_frame(frame, event, argument):
            nonlocal lines
            lines += event == "line"
            if lines == line:  # noqa: B023
                sys.settrace(None)
                raise KeyboardInterrupt
            return in_frame

        def trace(frame, event, argument):
            return in_frame if "treadle_optim" in frame.f_code.co_filename else None

        sys.settrace(trace)
        try:
            epoch(learner, ValidationPhase())
        except KeyboardInterrupt:
            interrupted = True
        finally:
            sys.settrace(None)
        assert learner.model.weight.equal(trained), line
        assert ema.model().weight.equal(averaged), line
    assert line > 30


@pytest.mark.parametrize("callback", [EMA, Lookahead])
def test_a_phase_that_updates_without_an_end_of_the_update_is_refused(callback) -> None:
    class Own(AbstractTrainingPhase):
        def step(self, learner, batch):
            with run_step(learner, self, xs=batch[0], ys=batch[1]) as (handle, state):
                state.yhats = handle(Forward)
                state.loss = handle(Loss)
                handle(Backward)
                handle(Update)

    with pytest.raises(CallbackError, match=r"is a guard and handles `on_update_end`.*\n.*\n    run_update"):
        toy_learner(callback()).fit(1, phases=[Own()])
