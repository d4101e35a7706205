import math

import pytest
import torch
from loguru import logger
from treadle import (
    AbstractTrainingPhase,
    ArgumentTypeError,
    ArgumentValueError,
    BackwardBegin,
    BackwardEnd,
    Callback,
    CallbackCondition,
    CallbackError,
    ConditionalCallback,
    CustomCallback,
    Learner,
    LossError,
    Phase,
    Read,
    StepEnd,
    TrainingPhase,
    UpdateBegin,
    Write,
    accesses,
    epoch,
    hookimpl,
    run_step,
    toy_learner,
)
from treadle.authoring import handles
from treadle.operations import Backward, Forward, Loss, Update
from treadle_stopping import NonFiniteGradients, NonFiniteLoss, StopOnNaNLoss
from treadle_stopping.stop_on_nan_loss import are_finite, stopped

GOOD = (torch.ones(8, 1), torch.full((8, 1), 3.0))


def squared_error_learner(*callbacks):
    learner = toy_learner(*callbacks)
    learner.lossfn = torch.nn.functional.mse_loss  # whose gradients are not finite where the loss is not
    return learner


def batch_with(value):
    return torch.ones(8, 1), torch.full((8, 1), value)


class TwoLosses(AbstractTrainingPhase):
    """A phase with losses of other names, as a GAN has them: a batch holds the two."""

    def step(self, learner, batch):
        with run_step(learner, self) as (handle, state):
            state.critic_loss = batch[0] * learner.model.weight.sum()
            handle(BackwardBegin)
            state.critic_loss.backward()
            handle(BackwardEnd)
            state.generator_loss = batch[1]
            handle(BackwardBegin)
            handle(BackwardEnd)
            handle(Update)


class Poison(Callback):
    """Makes the gradients of an update NaN."""

    state_access = {"step.grads": Write}

    def __init__(self, at):
        self.at = at

    def on_update_begin(self, learner, phase: TrainingPhase):
        self.at -= 1
        if self.at == 0:
            learner.step.grads["weight"].fill_(math.nan)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_stops_before_the_update(value):
    guard = StopOnNaNLoss()
    learner, two_steps = squared_error_learner(guard), squared_error_learner()
    two_steps.fit(1, ([GOOD, GOOD],))
    result = learner.fit(5, ([GOOD, GOOD, batch_with(value), GOOD],))
    assert (result.epochs, result.steps) == (0, 2)
    assert result.cancelled.callback is guard
    assert isinstance(result.cancelled, NonFiniteLoss)
    assert not math.isfinite(result.cancelled.value)
    assert torch.equal(learner.model.weight, two_steps.model.weight)


class Anew(Callback):
    """Computes the gradients of each batch a second time, with weights that are moved."""

    state_access = {"loop": Write, "model": Write, "step": Write}

    @hookimpl(wrapper=True)
    def finalize_gradients(self, learner, phase: TrainingPhase):
        learner.step.yhats = learner.loop.perform(Forward)
        learner.step.loss = learner.loop.perform(Loss)
        learner.loop.perform(Backward)
        return (yield)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_so_does_the_loss_of_a_backward_pass_that_a_callback_performs(value):
    def lossfn(yhats, ys):
        losses.append(torch.nn.functional.mse_loss(yhats, ys) * (value if len(losses) == 3 else 1.0))
        return losses[-1]

    guard, losses = StopOnNaNLoss(), []
    learner = toy_learner(Anew(), guard)
    learner.lossfn = lossfn
    stop = learner.fit(1, ([GOOD] * 4,)).cancelled
    assert isinstance(stop, NonFiniteLoss)
    assert stop.callback is guard
    assert not math.isfinite(stop.value)
    assert (learner.progress.updates, len(losses)) == (1, 4)
    assert learner.model.weight.isfinite().all()


def test_the_reason_names_the_value():
    result = toy_learner(StopOnNaNLoss()).fit(1, ([batch_with(math.inf)],))
    assert str(result.cancelled) == (
        "The training loss is inf. Training stopped before the update, so the parameters are as the step before left "
        "them, and finite."
    )
    assert result.cancelled.value == math.inf


def test_buffers_that_the_forward_pass_made_not_finite_are_named():
    model = torch.nn.Sequential(torch.nn.BatchNorm1d(1), torch.nn.Linear(1, 1))
    guard = StopOnNaNLoss()
    learner = Learner(model, torch.nn.functional.mse_loss, callbacks=[guard], use_default_callbacks=False)
    good, bad = torch.linspace(0, 1, 8).reshape(8, 1), torch.full((8, 1), math.nan)
    result = learner.fit(1, ([(good, good), (bad, good)],))
    assert str(result.cancelled) == (
        "The training loss is nan. Training stopped before the update, so the parameters are as the step before left "
        "them, and finite. The forward pass has updated buffers, and `0.running_mean`, `0.running_var` are not finite."
    )
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


def test_a_gradient_that_is_not_finite_although_its_loss_is_shows_in_the_message_of_the_next_step():
    learner = toy_learner(StopOnNaNLoss())
    learner.lossfn = lambda yhats, ys: (yhats - yhats).abs().sqrt().sum()  # 0, with a gradient of NaN
    result = learner.fit(1, ([GOOD, GOOD],))
    assert result.steps == 1
    assert str(result.cancelled) == (
        "The training loss is nan. Training stopped before the update, so it did not reach the parameters; but "
        "`weight` were not finite before it: gradients were not, in a step whose loss was. "
        "StopOnNaNLoss(gradients=True) stops before such an update."
    )


def test_of_many_tensors_the_first_are_named():
    model = torch.nn.Sequential(*(torch.nn.Linear(1, 1) for _ in range(4)))
    for parameter in model.parameters():
        torch.nn.init.constant_(parameter, math.inf)
    assert "`0.weight`, `0.bias`, `1.weight`, `1.bias`, `2.weight` and 3 more were" in stopped("loss", math.nan, model)
    assert "but `g.0.weight`, `g.0.bias` were" in stopped("loss", math.nan, {"g": model[:1], "h": torch.nn.Flatten()})


@pytest.mark.parametrize(
    ("loss", "got"), [(torch.ones(2), r"a tensor of shape \(2,\)"), ("high", "'high'"), (torch.tensor(1j), "a tensor")]
)
def test_a_loss_that_is_not_one_number_is_refused_by_its_name(loss, got):
    class Odd(AbstractTrainingPhase):
        def step(self, learner, batch):
            with run_step(learner, self) as (handle, state):
                state.critic = batch
                handle(BackwardBegin)
                handle(BackwardEnd)

    with pytest.raises(LossError, match=rf"guards `step.critic`, which is not one real number: {got}.*\nFix: keep"):
        epoch(toy_learner(StopOnNaNLoss("critic")), Odd(), [loss])


def test_without_it_the_weights_are_lost():
    learner = squared_error_learner()
    learner.fit(1, ([batch_with(math.nan)],))
    assert math.isnan(learner.model.weight.item())


def test_it_stops_after_the_backward_pass_and_the_step_has_no_end():
    seen = []
    spies = [CustomCallback(lambda _, e=e: seen.append(e), e, AbstractTrainingPhase) for e in (BackwardEnd, StepEnd)]
    toy_learner(StopOnNaNLoss(), *spies).fit(1, ([GOOD, batch_with(math.nan)],))
    assert seen == [BackwardEnd, StepEnd, BackwardEnd]


def test_it_goes_by_its_name():
    result = toy_learner("stop_on_nan_loss").fit(1, ([batch_with(math.nan)],))
    assert type(result.cancelled.callback) is StopOnNaNLoss


def test_a_finite_fit_is_left_alone():
    guarded, plain = toy_learner(StopOnNaNLoss()), toy_learner()
    assert guarded.fit(3) == plain.fit(3)
    assert torch.equal(guarded.model.weight, plain.model.weight)


def test_validation_may_be_what_it_is():
    result = toy_learner(StopOnNaNLoss()).fit(2, ([GOOD], [batch_with(math.nan)]))
    assert (result.epochs, result.cancelled) == (2, None)


def test_it_reads_its_loss_and_nothing_else():
    assert accesses(StopOnNaNLoss(), Read) == {"step.loss", "model"}
    assert accesses(StopOnNaNLoss("critic_loss"), Read) == {"step.critic_loss", "model"}


@pytest.mark.parametrize("name", ["loss", "los", "critic_los"])
def test_a_loss_that_the_steps_do_not_have_is_refused_at_the_end_of_the_first_one(name):
    learner = toy_learner(StopOnNaNLoss(name))
    with pytest.raises(
        CallbackError,
        match=rf"^StopOnNaNLoss is a guard and uses `step\.{name}`, and a step of TwoLosses ended without it",
    ):
        epoch(learner, TwoLosses(), [(1.0, 1.0)] * 3)
    assert learner.progress.steps == 1


def test_as_a_default_callback_it_warns_once_of_a_phase_whose_losses_have_other_names():
    warnings = []
    handler = logger.add(warnings.append, format="{message}", level="WARNING")
    try:
        learner = toy_learner(use_default_callbacks=True)
        for _ in range(2):
            learner.fit(1, ([(1.0, 1.0)] * 3,), phases=[TwoLosses()])
    finally:
        logger.remove(handler)
    assert learner.progress.steps == 6
    assert [warning.partition(",")[0] for warning in warnings] == ["StopOnNaNLoss is a guard and uses `step.loss`"]


@pytest.mark.parametrize(("batch", "who"), [((math.nan, 1.0), 0), ((1.0, math.inf), 1), ((math.inf, math.nan), 0)])
def test_losses_of_other_names_are_guarded_by_one_each(batch, who):
    guards = [StopOnNaNLoss("critic_loss"), StopOnNaNLoss("generator_loss")]
    learner = toy_learner(*guards)
    with torch.no_grad():
        learner.model.weight.fill_(1.0)
    with pytest.raises(NonFiniteLoss, match=f"The training {guards[who].loss} is ") as caught:
        epoch(learner, TwoLosses(), [(1.0, 1.0), batch])
    assert caught.value.callback is guards[who]
    assert learner.progress.steps == 1


def test_a_phase_that_does_not_train_is_not_guarded():
    class Sampling(Phase):
        def step(self, learner, batch):
            with run_step(learner, self, loss=batch) as (handle, _):
                handle(BackwardBegin)
                handle(BackwardEnd)

    learner = toy_learner(StopOnNaNLoss())
    epoch(learner, Sampling(), [torch.tensor(math.nan)])
    assert math.isnan(learner.step.loss)


@pytest.mark.parametrize("name", ["step.loss", "", None, ["loss"]])
def test_the_name_of_the_loss_is_a_name(name):
    with pytest.raises(
        ArgumentTypeError, match=r"must be the name of a loss in `step`, got .*\nFix: .*\n    StopOnNaNLoss\("
    ):
        StopOnNaNLoss(name)


class Pairs(Callback):
    """Two batches for each update."""

    def accumulate(self, learner, phase: TrainingPhase):
        return learner.progress.accumulated == 0


class TestGradients:
    """A loss that is 0, with a gradient of NaN where the weight is what it is compared with."""

    @pytest.fixture
    def broken(self):
        def make(*callbacks):
            learner = toy_learner(*callbacks)
            learner.lossfn = lambda yhats, ys: (yhats - ys).abs().sqrt().sum()  # its slope is infinite at 0
            return learner

        return make

    def test_they_stop_before_the_update(self, broken):
        guard, zeros = StopOnNaNLoss(gradients=True), (torch.ones(8, 1), torch.zeros(8, 1))
        result = broken(guard).fit(1, ([zeros, GOOD],))
        assert (result.steps, result.cancelled.callback, result.cancelled.names) == (0, guard, ["weight"])
        assert isinstance(result.cancelled, NonFiniteGradients)
        assert str(result.cancelled) == (
            "The gradients of `weight` are not finite. Training stopped before the update, so the parameters are as "
            "the update before left them."
        )

    def test_the_parameters_are_as_the_update_before_left_them(self, broken):
        learner = broken(Poison(at=2), StopOnNaNLoss(gradients=True))
        result, once = learner.fit(1, ([GOOD, GOOD, GOOD],)), broken()
        once.fit(1, ([GOOD],))
        assert (result.steps, learner.progress.updates) == (1, 1)
        assert torch.equal(learner.model.weight, once.model.weight)

    def test_those_of_every_batch_of_an_update_are_looked_at_where_they_are_whole(self):
        guarded, plain = toy_learner(Pairs(), StopOnNaNLoss(gradients=True)), toy_learner(Pairs())
        assert guarded.fit(2) == plain.fit(2)
        assert torch.equal(guarded.model.weight, plain.model.weight)
        result = toy_learner(Pairs(), Poison(at=2), StopOnNaNLoss(gradients=True)).fit(1, ([GOOD] * 6,))
        assert result.steps == 3

    def test_beside_a_callback_that_skips_such_updates_they_are_left_to_it(self):
        class Skips(Callback):
            skips_updates = True
            state_access = {"optimizer": Write, "step.grads": Read}

            def update(self, learner, phase: AbstractTrainingPhase):
                return None if learner.step.grads["weight"].isfinite().all() else False

        class Always(CallbackCondition):
            def should_run(self, event, phase):
                return True

        skips = ConditionalCallback(Skips(), Always())
        learner = toy_learner(Poison(at=2), skips, StopOnNaNLoss(gradients=True))
        assert learner.fit(1, ([GOOD] * 3,)).steps == 3
        assert learner.progress.updates == 2
        learner = toy_learner(Poison(at=2), StopOnNaNLoss(gradients=True))
        assert learner.fit(1, ([GOOD] * 3,)).steps == 1

    def test_it_reads_the_parameters_and_knows_the_others(self):
        guard = StopOnNaNLoss("critic_loss", gradients=True)
        assert accesses(guard, Read) == {"step.critic_loss", "model", "params", "callbacks"}
        assert not handles(StopOnNaNLoss(), UpdateBegin)

    def test_a_phase_without_updates_is_refused(self):
        class ByHand(TrainingPhase):
            def step(self, learner, batch):
                with run_step(learner, self, xs=batch[0], ys=batch[1]) as (handle, state):
                    state.loss = learner.lossfn(learner.model(state.xs), state.ys)
                    handle(BackwardBegin)
                    state.loss.backward()
                    handle(BackwardEnd)
                    learner.optimizer.step()

        assert toy_learner(StopOnNaNLoss()).fit(1, phases=[ByHand()]).steps == 16
        with pytest.raises(CallbackError, match="StopOnNaNLoss is a guard and handles `on_update_begin`"):
            toy_learner(StopOnNaNLoss(gradients=True)).fit(1, phases=[ByHand()])

    @pytest.mark.parametrize("gradients", [None, "yes"])
    def test_the_option_is_true_or_false(self, gradients):
        with pytest.raises((ArgumentTypeError, ArgumentValueError), match=r"StopOnNaNLoss\(gradients\)"):
            StopOnNaNLoss(gradients=gradients)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_tensors_of_every_sort_are_looked_at(bad):
    tensor = torch.ones(2, 3)
    sparse = torch.sparse_coo_tensor(torch.tensor([[0]]), torch.tensor([1.0]), (3,), check_invariants=True)
    fine = [tensor, torch.ones(2, dtype=torch.complex64), torch.empty(0), tensor.half(), tensor.bfloat16(), sparse]
    assert are_finite(fine)
    assert are_finite([])
    assert are_finite([torch.full((2,), torch.finfo(torch.float32).max)])
    broken = [torch.tensor([1.0, bad]), torch.tensor([1.0, bad]).half(), sparse * bad]
    assert not any(are_finite([*fine, tensor]) for tensor in broken)


cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@cuda
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_on_cuda_it_stops_as_on_the_cpu(value):
    learner = squared_error_learner(StopOnNaNLoss())
    learner.model.cuda()
    good, bad = ([part.cuda() for part in batch] for batch in (GOOD, batch_with(value)))
    result = learner.fit(5, ([good, good, bad, good],))
    assert result.steps == 2
    assert math.isfinite(learner.model.weight.item())


@cuda
def test_on_cuda_it_never_waits_for_all_of_the_device():
    learner = toy_learner(StopOnNaNLoss())
    learner.model.cuda()
    data = [[part.cuda() for part in GOOD]] * 4
    learner.fit(1, (data,))
    torch.cuda.set_sync_debug_mode("error")
    try:
        assert learner.fit(2, (data,)).steps == 8
    finally:
        torch.cuda.set_sync_debug_mode("default")
