"""`SAM` trains as the loop by hand does: with dropout, BatchNorm, accumulation, clips and cancels."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from treadle import (
    AbstractTrainingPhase,
    Callback,
    CallbackConflictError,
    CancelFittingException,
    CancelStepException,
    CancelUpdateException,
    FitResult,
    Learner,
    LossBegin,
    Read,
    TrainingPhase,
    Write,
    hookimpl,
    run_step,
    run_update,
    toy_learner,
)
from treadle.errors import ArgumentTypeError, ArgumentValueError, CallbackError
from treadle.operations import Forward, Loss
from treadle.testing import check_callback
from treadle_optim import SAM, Accumulate

RHO, CLIP = 0.2, 0.5


# The loop by hand.


def by_hand(model, optimizer, batches, fates, n):
    """An epoch of updates by the mean gradient of `n` batches; the last one of those that are left."""
    group = []
    for (xs, ys), fate in zip(batches, fates, strict=True):
        if fate == "skipped":
            continue
        if not group:
            optimizer.zero_grad()
        (nn.functional.mse_loss(model(xs), ys) / n).backward()
        if fate == "lost":  # after its backward pass, with all that are in the gradients
            group = []
            continue
        group.append((xs, ys))
        if len(group) == n:
            update(model, optimizer, group, n, dropped=fate == "dropped")
            group = []
    if group:
        update(model, optimizer, group, n, dropped=fates[-1] == "dropped")


def update(model, optimizer, group, n, *, dropped):
    parameters = list(model.parameters())
    whole(parameters, len(group), n)
    weights = [parameter.detach().clone() for parameter in parameters]
    norm = torch.stack([parameter.grad.norm() for parameter in parameters]).norm()
    with torch.no_grad():
        for parameter in parameters:
            parameter += parameter.grad * (RHO / (norm + 1e-12))
    optimizer.zero_grad()
    running_statistics(model, kept=False)  # those of the first pass stay
    for xs, ys in group:
        (nn.functional.mse_loss(model(xs), ys) / n).backward()
    running_statistics(model, kept=True)
    whole(parameters, len(group), n)
    with torch.no_grad():
        for parameter, weight in zip(parameters, weights, strict=True):
            parameter.copy_(weight)
    if not dropped:
        nn.utils.clip_grad_norm_(parameters, CLIP)
        optimizer.step()


def whole(parameters, k, n):
    """The gradients of `k` losses that were divided by n, as the mean of the k."""
    if k < n:
        for parameter in parameters:
            parameter.grad *= n / k


def running_statistics(model, *, kept):
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.track_running_stats = kept


# Third parties, who know of nobody.


class Clip(Callback):
    """Clips where the gradients are whole."""

    state_access = {"params": Write}

    def on_update_begin(self, learner):
        nn.utils.clip_grad_norm_(learner.params.values(), CLIP)


class Fates(Callback):
    """Cancels steps and updates."""

    def __init__(self, fates):
        self.fates = fates

    def on_step_begin(self, learner, phase: AbstractTrainingPhase):
        if self.fates[learner.progress.step - 1] == "skipped":
            raise CancelStepException

    def on_backward_end(self, learner, phase: AbstractTrainingPhase):
        if self.fates[learner.progress.step - 1] == "lost":
            raise CancelStepException

    def on_update_begin(self, learner):
        if self.fates[learner.progress.step - 1] == "dropped":
            raise CancelUpdateException


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.4), nn.Linear(6, 1))


def batches_of(number, rows=5):
    generator = torch.Generator().manual_seed(number)
    return [(torch.rand(rows, 3, generator=generator), torch.rand(rows, 1, generator=generator)) for _ in range(number)]


def momentum(model):
    return torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9, weight_decay=0.01)


def learner_of(*callbacks, data, model=None, **settings):
    model = net() if model is None else model
    settings = {"optimizer": momentum(model), "data": (data,), "use_default_callbacks": False, **settings}
    return Learner(model, settings.pop("lossfn", nn.functional.mse_loss), callbacks=callbacks, **settings)


def assert_equal(model, other):
    first, second = model.state_dict(), other.state_dict()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


fate = st.sampled_from(["trained", "trained", "trained", "skipped", "lost", "dropped"])


@settings(max_examples=30, deadline=None)
@given(st.lists(fate, max_size=7), st.integers(1, 4), st.randoms())
def test_it_trains_as_the_loop_by_hand_whatever_is_cancelled(fates, n, random):
    fates = ["trained"] * n + fates
    data, callbacks = batches_of(len(fates)), [SAM(RHO), Accumulate(n), Clip(), Fates(fates)]
    random.shuffle(callbacks)
    learner = learner_of(*callbacks, data=data)
    torch.manual_seed(1)
    learner.fit(2)
    model = net()
    optimizer = momentum(model)
    torch.manual_seed(1)
    for _ in range(2):
        by_hand(model, optimizer, data, fates, n)
    assert_equal(learner.model, model)


def test_a_third_of_an_update_at_the_end_of_an_epoch_is_perturbed_too() -> None:
    data = batches_of(4)
    learner = learner_of(SAM(RHO), Accumulate(3), Clip(), data=data)
    torch.manual_seed(1)
    assert learner.fit(1) == FitResult(epochs=1, steps=4)
    model = net()
    torch.manual_seed(1)
    by_hand(model, momentum(model), data, ["trained"] * 4, 3)
    assert_equal(learner.model, model)
    assert learner.progress.updates == 2


def test_both_passes_weigh_batches_of_different_sizes_alike() -> None:
    """By rows, which `Accumulate` counts anew in the second pass: as one big batch, without BatchNorm and dropout."""
    sizes, groups = [5, 2, 3, 4, 1], [(0, 3), (3, 5)]
    rows = [(torch.rand(size, 3), torch.rand(size, 1)) for size in sizes]
    big = [tuple(map(torch.cat, zip(*rows[start:end], strict=True))) for start, end in groups]
    models = [nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    learner_of(SAM(RHO), Accumulate(3, weight="rows"), data=rows, model=models[0]).fit(2)
    learner_of(SAM(RHO), data=big, model=models[1]).fit(2)
    torch.testing.assert_close(models[0].state_dict(), models[1].state_dict())


# What it leaves as it was.


def test_the_step_shows_what_the_first_pass_gave() -> None:
    seen = []

    class Losses(Callback):
        state_access = {"step.loss": Read, "step.yhats": Read, "step.xs": Read}

        def on_backward_end(self, learner):
            seen.append([learner.step[name] for name in ("loss", "yhats", "xs")])

        def on_step_end(self, learner, phase: TrainingPhase):
            assert all(
                a is b for a, b in zip(seen[-1], [learner.step[n] for n in ("loss", "yhats", "xs")], strict=True)
            )

    learner_of(SAM(), Accumulate(2), Losses(), data=batches_of(4)).fit(1)
    assert len(seen) == 4


class Interrupt(Callback):
    """Raises in the n-th forward pass."""

    state_access = {"model": Read}

    def __init__(self, n, error):
        self.n, self.error, self.count = n, error, 0

    @hookimpl(wrapper=True)
    def forward(self, learner):
        result = yield
        self.count += 1
        if self.count == self.n:
            self.during = [parameter.detach().clone() for parameter in learner.model.parameters()]
            raise self.error
        return result


@pytest.mark.parametrize("error", [KeyboardInterrupt(), CancelUpdateException(), CancelFittingException()])
@pytest.mark.parametrize("n", [3, 4])
def test_weights_and_statistics_are_put_back_on_every_way_out(n, error) -> None:
    """The update has two batches, so the third and the fourth forward pass are those of its second pass."""
    data = batches_of(2)
    interrupt = Interrupt(n, error)
    learner = learner_of(SAM(RHO), Accumulate(2), interrupt, data=data)
    torch.manual_seed(1)
    try:
        learner.fit(1)
    except KeyboardInterrupt:
        assert isinstance(error, KeyboardInterrupt)
    first = net()
    torch.manual_seed(1)
    for xs, _ in data:
        first(xs)
    assert_equal(learner.model, first)
    assert not any(map(torch.equal, interrupt.during, first.parameters()))
    assert learner.progress.updates == 0


class Counted(nn.Module):
    """A loss function with a buffer, and one that it makes anew each time."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))
        self.register_buffer("last", torch.zeros(1))

    def forward(self, yhats, ys):
        self.calls += 1
        self.last = self.calls.clone()
        return nn.functional.mse_loss(yhats, ys)


def test_buffers_of_the_loss_function_are_those_of_the_first_pass() -> None:
    lossfn = Counted()
    last = lossfn.last
    learner_of(SAM(), data=batches_of(3), lossfn=lossfn).fit(1)
    assert (lossfn.calls.item(), lossfn.last.item()) == (3, 3)
    assert lossfn.last is not last


def test_frozen_parameters_are_not_moved() -> None:
    model = net()
    model[0].requires_grad_(False)
    weight = model[0].weight.clone()
    seen = []
    model[0].register_forward_hook(lambda module, xs, ys: seen.append(module.weight.equal(weight)))
    learner_of(SAM(RHO), data=batches_of(3), model=model).fit(1)
    assert seen == [True] * 6


# Gradients that are not finite.


class Spike(nn.Module):
    """A loss whose gradients are not finite in its n-th calls."""

    def __init__(self, *calls):
        super().__init__()
        self.calls, self.count = calls, 0

    def forward(self, yhats, ys):
        self.count += 1
        loss = nn.functional.mse_loss(yhats, ys)
        return loss + (yhats - yhats.detach()).abs().sqrt().sum() if self.count in self.calls else loss


def test_gradients_that_are_not_finite_perturb_nothing_and_stay_so() -> None:
    """Where a scaler would skip the update, it does: by those of the second pass, which are all NaN."""
    seen = []

    class Skip(Callback):
        state_access = {"step.grads": Read}

        def update(self, learner):
            seen.append(all(gradient.isfinite().all() for gradient in learner.step.grads.values()))
            return None if seen[-1] else False

    model, weights = net(), []
    model[0].register_forward_hook(lambda module, xs, ys: weights.append(module.weight.detach().clone()))
    learner = learner_of(SAM(RHO), Skip(), data=batches_of(3), model=model, lossfn=Spike(3))
    learner.fit(1)
    assert seen == [True, False, True]
    assert torch.equal(weights[2], weights[3])  # the second pass of the second update
    assert not torch.equal(weights[0], weights[1])
    assert learner.progress.updates == 2
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def test_gradients_whose_norm_overflows_are_finite_all_the_same() -> None:
    learner = learner_of(SAM(), data=batches_of(1), lossfn=lambda yhats, ys: 1e25 * (yhats - ys).mean())
    learner.fit(1)
    assert all(gradient.isfinite().all() for gradient in learner.step.grads.values())


def test_sparse_gradients_are_refused_by_name() -> None:
    model = nn.Sequential(nn.Embedding(4, 1, sparse=True), nn.Flatten(0))
    learner = learner_of(SAM(), data=[(torch.tensor([1, 2]), torch.ones(2))], model=model)
    with pytest.raises(CallbackError, match=r"SAM takes gradients that are not sparse.*\nFix: build it without them"):
        learner.fit(1)


# What it does not compute anew is refused.


class Regularised(TrainingPhase):
    def step(self, learner, batch):
        with run_step(learner, self, xs=batch[0], ys=batch[1]) as (handle, state):
            state.yhats = handle(Forward)
            handle(LossBegin)
            state.loss = handle(Loss) + learner.params["0.weight"].abs().sum()
            run_update(learner, self)


class Direct(TrainingPhase):
    def step(self, learner, batch):
        with run_step(learner, self, xs=batch[0], ys=batch[1]) as (handle, state):
            state.yhats = learner.model(batch[0])
            handle(LossBegin)
            state.loss = handle(Loss)
            run_update(learner, self)


class Named(TrainingPhase):
    def step(self, learner, batch):
        with run_step(learner, self, xs=batch[0], ys=batch[1]) as (handle, state):
            state.yhats = handle(Forward)
            handle(LossBegin)
            state.energy = handle(Loss)
            run_update(learner, self, loss="energy")


@pytest.mark.parametrize("phase", [Regularised(), Direct(), Named()], ids=lambda phase: type(phase).__name__)
def test_a_loss_that_forward_and_loss_did_not_give_is_refused_before_the_first_update(phase) -> None:
    learner = learner_of(SAM(), data=batches_of(2))
    with pytest.raises(CallbackError, match=r"SAM computes the loss of a batch anew by the operations") as info:
        learner.fit(1, phases=[phase])
    assert f"in {type(phase).__name__} is not what they gave.\nFix: let them give it" in str(info.value)
    assert all(map(torch.equal, learner.model.parameters(), net().parameters()))


def test_several_models_are_refused_when_the_learner_is_built() -> None:
    models = {"generator": nn.Linear(1, 1), "critic": nn.Linear(1, 1)}
    with pytest.raises(CallbackError, match=r"SAM .* apply one model, and the learner has several: generator, critic"):
        Learner(models, nn.functional.mse_loss, callbacks=[SAM()])


class Smooth(Callback):
    state_access = {"step.ys": Write}

    def on_loss_begin(self, learner, phase: AbstractTrainingPhase):
        learner.step.ys = 0.9 * learner.step.ys


def test_targets_that_are_changed_as_the_loss_begins_are_those_of_both_passes() -> None:
    smooth, plain = learner_of(SAM(), Smooth(), data=batches_of(3)), batches_of(3)
    other = learner_of(SAM(), data=[(xs, 0.9 * ys) for xs, ys in plain])
    for learner in (smooth, other):
        torch.manual_seed(1)
        learner.fit(2)
    assert_equal(smooth.model, other.model)


class Noise(Callback):
    state_access = {"step.grads": Write}

    def on_backward_end(self, learner): ...


class Cast(Callback):
    state_access = {"step.yhats": Write}

    def on_loss_begin(self, learner): ...


class Penalty(Callback):
    state_access = {"step.loss": Write}

    def on_backward_begin(self, learner): ...


class Closure(Callback):
    state_access = {"loop": Write, "step": Write}

    def update(self, learner): ...


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (SAM, "Each of them perturbs the weights for an update. Keep one."),
        (Noise, "what Noise changes at BackwardEnd would be lost. Let it handle UpdateBegin"),
        (Cast, "what Cast changes at LossBegin would be lost. Let it wrap the operation `forward`."),
        (Penalty, "what Penalty changes at BackwardBegin would be lost. Let it wrap the operation `loss`."),
        (Closure, "Closure overrides `update` and may compute the gradients itself, without the perturbation."),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_callbacks_whose_work_would_be_lost_are_refused(other, reason) -> None:
    with pytest.raises(CallbackConflictError) as info:
        toy_learner(SAM(), other())
    assert reason in str(info.value)


def test_it_is_the_outermost_ring() -> None:
    plan = str(toy_learner(Accumulate(2), SAM()).plan([TrainingPhase()]))
    assert "around: SAM > Accumulate" in plan


@pytest.mark.parametrize("rho", [-1, float("inf"), float("nan")])
def test_rho_is_a_number_of_at_least_0(rho) -> None:
    with pytest.raises(ArgumentValueError, match="rho must be a finite number of at least 0"):
        SAM(rho)
    with pytest.raises(ArgumentTypeError, match="rho must be a finite number of at least 0"):
        SAM("0.05")


# Saved and resumed.


@pytest.mark.parametrize("n", [2, 3, 5])
def test_it_goes_on_from_every_step_also_inside_of_an_update(n) -> None:
    check_callback(lambda: SAM(RHO), partners=[lambda: Accumulate(n), Clip], nbatches=7, unused_ok=UNUSED)


UNUSED = {"lossfn": "a loss function without parameters and buffers"}


def test_float16_gradients_that_are_0_or_large_perturb_by_rho() -> None:
    from treadle_optim.sam import perturb

    for value, moved in ((0.0, 0.0), (3e4, RHO / 10)):  # in float16, 1e-12 is 0 and the norm of the second infinite
        parameter = nn.Parameter(torch.zeros(100, dtype=torch.float16))
        parameter.grad = torch.full_like(parameter, value)
        valid = perturb([parameter], RHO)
        assert valid is not None
        assert valid.item() == 1
        assert parameter.tolist() == pytest.approx([moved] * 100, rel=1e-3)
