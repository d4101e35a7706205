"""In float16 the run is, bit for bit, the loop that an expert writes by hand with torch's scaler."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss
from treadle import (
    AbstractTrainingPhase,
    Callback,
    CancelStepException,
    CancelUpdateException,
    ConflictResolution,
    CustomCallback,
    Learner,
    Read,
    RunFirst,
    TrainingPhase,
    UpdateBegin,
    ValidationPhase,
    Write,
    hookimpl,
    run_step,
    run_update,
)
from treadle.errors import CallbackError
from treadle.operations import Backward, FinalizeGradients, Forward, Loss, Update
from treadle_amp import MixedPrecision
from treadle_checkpoint import Checkpointer, checkpoints, resume

EPOCHS = 4


def batches(seed: int = 1, count: int = 7) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    inputs = [torch.randn(6, 4, generator=generator) for _ in range(count)]
    return [(xs, xs.sum(dim=1, keepdim=True)) for xs in inputs]


def network() -> nn.Module:
    """A net with dropout and a batch norm, always with the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 1))


def adam(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=0.01)


def restless_scaler() -> torch.amp.GradScaler:
    """A scaler that raises its scale so soon that every few updates overflow."""
    return torch.amp.GradScaler("cpu", init_scale=2.0**16, growth_interval=2)


@contextmanager
def seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        yield


class ByHand:
    """What a loop by hand trains, and what it has come to."""

    def __init__(self, optimizer: Callable[[Any], torch.optim.Optimizer] = adam) -> None:
        self.model, self.scaler, self.updates = network(), restless_scaler(), 0
        self.optimizer = optimizer(self.model.parameters())

    def backward(self, xs: torch.Tensor, ys: torch.Tensor) -> None:
        """Add the gradients of a batch, scaled."""
        with torch.autocast("cpu", dtype=torch.float16):
            loss: Any = mse_loss(self.model(xs), ys)
        self.scaler.scale(loss).backward()

    def step(self) -> None:
        """Let the optimizer step, or not; count those that it makes."""
        before = [parameter.detach().clone() for parameter in self.model.parameters()]
        self.scaler.step(self.optimizer)
        self.scaler.update()
        after = self.model.parameters()
        self.updates += any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))


def plainly() -> ByHand:
    by_hand = ByHand()
    with seeded():
        for _ in range(EPOCHS):
            by_hand.model.train()
            for xs, ys in batches():
                by_hand.optimizer.zero_grad()
                by_hand.backward(xs, ys)
                by_hand.step()
    return by_hand


def learner_of(*callbacks: Callback, optimizer: Any = adam, **kwargs: Any) -> Learner:
    kwargs.setdefault("data", (batches(),))
    return Learner(network(), mse_loss, optimizer=optimizer, callbacks=callbacks, use_default_callbacks=False, **kwargs)


def same(one: Any, other: Any) -> bool:
    """Whether two states are equal, tensors bit for bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def assert_equal(learner: Learner, mixed: MixedPrecision, by_hand: ByHand) -> None:
    """The same weights, buffers and optimizer, the same scale; some updates were skipped, and some not."""
    assert same(learner.model.state_dict(), by_hand.model.state_dict())
    assert same(learner.optimizer.state_dict(), by_hand.optimizer.state_dict())
    assert mixed.scaler is not None
    assert same(mixed.scaler.state_dict(), by_hand.scaler.state_dict())
    assert learner.progress.updates == by_hand.updates > 0
    assert mixed.skipped > 0
    assert learner.cbstate.mixed_precision.skipped == mixed.skipped


def fitted(*callbacks: Callback, **kwargs: Any) -> tuple[Learner, MixedPrecision]:
    mixed = MixedPrecision("fp16", scaler=restless_scaler())
    learner = learner_of(mixed, *callbacks, **kwargs)
    with seeded():
        learner.fit(EPOCHS)
    return learner, mixed


def test_with_overflows_it_is_the_loop_by_hand() -> None:
    learner, mixed = fitted()
    assert_equal(learner, mixed, plainly())
    assert learner.progress.updates + mixed.skipped == EPOCHS * 7


def test_validation_is_in_float16_too_and_changes_nothing() -> None:
    seen: list[torch.dtype] = []

    class Watch(Callback):
        state_access = {"step.yhats": Read}

        def on_step_end(self, learner: Any, phase: ValidationPhase) -> None:
            seen.append(learner.step.yhats.dtype)

    learner, mixed = fitted(Watch(), data=(batches(), batches(5, 3)))
    assert_equal(learner, mixed, plainly())
    assert seen == [torch.float16] * 3 * EPOCHS


def test_a_validation_inside_of_a_step_changes_nothing() -> None:
    class ValidateAtUpdates(Callback):
        state_access = {"loop": Write}

        def on_update_begin(self, learner: Any) -> None:
            learner.loop.epoch(ValidationPhase())

    learner, mixed = fitted(ValidateAtUpdates(), data=(batches(), batches(5, 2)))
    assert_equal(learner, mixed, plainly())


def test_nobody_sees_the_loss_scaled_and_the_gradients_of_update_begin_are_not() -> None:
    seen: list[tuple[float, float]] = []

    class Watch(Callback):
        state_access = {"step.loss": Read, "step.grads": Read}

        def on_backward_begin(self, learner: Any, phase: TrainingPhase) -> None:
            self.loss = learner.step.loss

        def on_update_begin(self, learner: Any) -> None:
            assert learner.step.loss is self.loss
            seen.append((learner.step.loss.item(), learner.step.grads["4.bias"].item()))

    data = [(xs, 0 * ys) for xs, ys in batches()]
    learner = learner_of(MixedPrecision("fp16", scaler=torch.amp.GradScaler("cpu", init_scale=64.0)), Watch())
    with seeded():
        learner.fit(1, (data,))
    scaled = list(seen)
    seen.clear()
    with seeded():
        learner_of(Watch()).fit(1, (data,))
    assert len(scaled) == len(seen) == 7
    for pair, plain in zip(scaled, seen, strict=True):
        assert pair == pytest.approx(plain, rel=0.05)


class Clip(Callback):
    """A third party's clip, which has never heard of scalers."""

    state_access = {"step.grads": Write, "params": Read}

    def on_update_begin(self, learner: Any, phase: AbstractTrainingPhase) -> None:
        nn.utils.clip_grad_norm_(list(learner.params.values()), 0.05)


def test_a_clip_that_names_nobody_clips_the_gradients_unscaled() -> None:
    by_hand = ByHand()
    with seeded():
        for _ in range(EPOCHS):
            by_hand.model.train()
            for xs, ys in batches():
                by_hand.optimizer.zero_grad()
                by_hand.backward(xs, ys)
                by_hand.scaler.unscale_(by_hand.optimizer)
                nn.utils.clip_grad_norm_(by_hand.model.parameters(), 0.05)
                by_hand.step()
    learner, mixed = fitted(Clip())
    assert_equal(learner, mixed, by_hand)


class ThreeBatches(Callback):
    """A third party's accumulation: the sum of the gradients of three batches."""

    def accumulate(self, learner: Any, phase: AbstractTrainingPhase) -> bool:
        return bool(learner.progress.accumulated < 2)


def three_batches_by_hand() -> ByHand:
    by_hand = ByHand()
    with seeded():
        for _ in range(EPOCHS):
            by_hand.model.train()
            for i, (xs, ys) in enumerate(batches(), 1):
                if i % 3 == 1:
                    by_hand.optimizer.zero_grad()
                by_hand.backward(xs, ys)
                if i % 3 == 0 or i == 7:
                    by_hand.step()
    return by_hand


def test_gradients_of_several_batches_are_scaled_by_one_scale() -> None:
    learner, mixed = fitted(ThreeBatches())
    assert_equal(learner, mixed, three_batches_by_hand())


def test_a_cancelled_update_counts_for_the_scale() -> None:
    class CancelEveryThird(Callback):
        count = 0

        def on_update_begin(self) -> None:
            self.count += 1
            if self.count % 3 == 0:
                raise CancelUpdateException("a spike")

    by_hand = ByHand()
    with seeded():
        for epoch in range(EPOCHS):
            by_hand.model.train()
            for i, (xs, ys) in enumerate(batches(), epoch * 7 + 1):
                by_hand.optimizer.zero_grad()
                by_hand.backward(xs, ys)
                by_hand.scaler.unscale_(by_hand.optimizer)
                if i % 3 == 0:
                    by_hand.scaler.update()
                else:
                    by_hand.step()
    learner, mixed = fitted(CancelEveryThird())
    assert_equal(learner, mixed, by_hand)


def test_who_cancels_all_that_overflow_lets_the_scale_come_down() -> None:
    class CancelWhatIsNotFinite(Callback):
        state_access = {"step.grads": Read}

        def on_update_begin(self, learner: Any) -> None:
            if not all(gradient.isfinite().all() for gradient in learner.step.grads.values()):
                raise CancelUpdateException("not finite")

    learner, mixed = fitted(CancelWhatIsNotFinite())
    assert learner.progress.updates == plainly().updates
    assert same(learner.model.state_dict(), plainly().model.state_dict())
    assert mixed.skipped == 0


def test_steps_that_are_cancelled_before_their_backward_pass_cost_nothing() -> None:
    class CancelEveryThird(Callback):
        count = 0

        def on_loss_begin(self, phase: TrainingPhase) -> None:
            self.count += 1
            if self.count % 3 == 0:
                raise CancelStepException("a bad batch")

    by_hand = ByHand()
    with seeded():
        for epoch in range(EPOCHS):
            by_hand.model.train()
            for i, (xs, ys) in enumerate(batches(), epoch * 7 + 1):
                if i % 3 == 0:
                    with torch.autocast("cpu", dtype=torch.float16):
                        by_hand.model(xs)
                    continue
                by_hand.optimizer.zero_grad()
                by_hand.backward(xs, ys)
                by_hand.step()
    learner, mixed = fitted(CancelEveryThird())
    assert_equal(learner, mixed, by_hand)


def test_gradients_that_are_computed_anew_are_unscaled_anew_by_the_same_scale() -> None:
    class Twice(Callback):
        """Use the gradients of a second pass at other weights, as SAM does."""

        state_access = {"loop": Write, "step": Write, "params": Write}
        again = False

        def resolve_conflict(self, other: Callback) -> ConflictResolution:
            return RunFirst(self)

        @torch.no_grad()
        def shift(self, learner: Any, by: float) -> None:
            for parameter in learner.params.values():
                parameter.add_(by)

        @hookimpl(wrapper=True)
        def finalize_gradients(self, learner: Any, phase: AbstractTrainingPhase) -> Generator[None, Any, Any]:
            result = yield
            if not self.again:
                self.again = True
                self.shift(learner, 0.25)
                learner.step.yhats = learner.loop.perform(Forward)
                learner.step.loss = learner.loop.perform(Loss)
                learner.loop.perform(Backward)
                learner.loop.perform(FinalizeGradients)
                self.shift(learner, -0.25)
                self.again = False
            return result

    by_hand = ByHand()
    with seeded():
        for _ in range(EPOCHS):
            by_hand.model.train()
            for xs, ys in batches():
                by_hand.optimizer.zero_grad()
                by_hand.backward(xs, ys)
                for parameter in by_hand.model.parameters():
                    parameter.data.add_(0.25)
                by_hand.optimizer.zero_grad()
                by_hand.backward(xs, ys)
                for parameter in by_hand.model.parameters():
                    parameter.data.sub_(0.25)
                by_hand.step()
    learner, mixed = fitted(Twice())
    assert_equal(learner, mixed, by_hand)


@pytest.mark.parametrize("accumulating", [False, True])
@pytest.mark.parametrize("cancelling", [False, True])
def test_resumed_after_every_step_it_comes_to_the_same_bits(
    tmp_path: Path, accumulating: bool, cancelling: bool
) -> None:
    class CancelSome(Callback):
        def on_update_begin(self, learner: Any) -> None:
            if (7 * learner.progress.epoch + learner.progress.step) % 4 == 1:
                raise CancelUpdateException("a spike")

    class CancelSteps(Callback):
        def on_update_begin(self, learner: Any) -> None:
            if (7 * learner.progress.epoch + learner.progress.step) % 4 == 3:
                raise CancelStepException("a bad batch")

    def make(folder: Path) -> tuple[Learner, MixedPrecision]:
        mixed = MixedPrecision("fp16", scaler=None if cancelling else restless_scaler())
        others = [*([ThreeBatches()] if accumulating else []), *([CancelSome(), CancelSteps()] if cancelling else [])]
        saving = Checkpointer(folder, every_epochs=1, every_steps=1)
        return learner_of(mixed, *others, saving, data=(batches(), batches(5, 2))), mixed

    with seeded():
        whole, mixed = make(tmp_path / "whole")
        whole.fit(2)
    assert mixed.scaler is not None
    saved = checkpoints(tmp_path / "whole")
    assert len(saved) >= 12
    for checkpoint in saved:
        learner, resumed = make(tmp_path / "elsewhere" / checkpoint.path.name)
        with torch.random.fork_rng(devices=[]):
            resume(learner, checkpoint.path)
            learner.fit(2)
        assert same(learner.model.state_dict(), whole.model.state_dict()), checkpoint.path.name
        assert same(learner.optimizer.state_dict(), whole.optimizer.state_dict()), checkpoint.path.name
        if resumed.scaler is not None:  # there is none yet where nothing was left to do
            assert same(resumed.scaler.state_dict(), mixed.scaler.state_dict()), checkpoint.path.name
        assert resumed.skipped == mixed.skipped
        assert learner.progress.updates == whole.progress.updates


def fused(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=0.01, fused=True)


def test_an_optimizer_that_leaves_out_its_step_itself_is_seen_to() -> None:
    by_hand = ByHand(fused)
    with seeded():
        for _ in range(EPOCHS):
            by_hand.model.train()
            for xs, ys in batches():
                by_hand.optimizer.zero_grad()
                by_hand.backward(xs, ys)
                by_hand.scaler.unscale_(by_hand.optimizer)
                by_hand.step()
    learner, mixed = fitted(optimizer=fused)
    assert_equal(learner, mixed, by_hand)


def test_where_nothing_stepped_there_is_no_update_end() -> None:
    class Count(Callback):
        count = 0

        def on_update_end(self) -> None:
            self.count += 1

    count = Count()
    learner, mixed = fitted(count)
    assert count.count == learner.progress.updates == EPOCHS * 7 - mixed.skipped
    assert mixed.skipped > 0


# Several models.


class Both(AbstractTrainingPhase):
    """Train two models by losses of their own, in one step."""

    data_name = "training"

    def step(self, learner: Any, batch: Any) -> None:
        with run_step(learner, self, xs=batch[0], ys=batch[1]) as (handle, state):
            for name in ("first", "second"):
                state.name = name
                state.yhats = handle(Forward)
                state[f"{name}_loss"] = state.loss = handle(Loss)
                run_update(learner, self, loss=f"{name}_loss", models=name)


class ApplyOne(Callback):
    """Apply the model whose turn it is."""

    state_access = {"step.name": Read, "step.xs": Read, "model": Read}

    def forward(self, learner: Any) -> torch.Tensor:
        result: torch.Tensor = learner.model[learner.step.name](learner.step.xs)
        return result


def two_networks() -> dict[str, nn.Module]:
    return {"first": network(), "second": nn.Sequential(network(), nn.Linear(1, 1))}


def of_two(*callbacks: Callback) -> tuple[Learner, MixedPrecision]:
    mixed = MixedPrecision("fp16", scaler=restless_scaler())
    torch.manual_seed(3)
    learner = Learner(
        two_networks(),
        mse_loss,
        data=(batches(),),
        optimizer={"first": adam, "second": adam},
        callbacks=[mixed, ApplyOne(), *callbacks],
        use_default_callbacks=False,
    )
    with seeded():
        learner.fit(EPOCHS, phases=[Both()])
    return learner, mixed


@pytest.mark.parametrize("n", [1, 3])
def test_several_models_share_the_scaler_and_the_scale_is_adapted_after_each_update(n: int) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        models = two_networks()
        optimizers = {name: adam(model.parameters()) for name, model in models.items()}
        scaler = restless_scaler()
        with seeded():
            for _ in range(EPOCHS):
                for model in models.values():
                    model.train()
                scales = dict.fromkeys(models, 0.0)  # by which the gradients of each are scaled
                for i, (xs, ys) in enumerate(batches(), 1):
                    for name, model in models.items():
                        with torch.autocast("cpu", dtype=torch.float16):
                            loss: Any = mse_loss(model(xs), ys)
                        scale = scaler.get_scale() if scaler._scale is not None else 2.0**16
                        if i % n == 1 or n == 1:
                            optimizers[name].zero_grad()
                        else:
                            for parameter in model.parameters():
                                assert parameter.grad is not None
                                parameter.grad *= scale / scales[name]
                        scales[name] = scale
                        scaler.scale(loss).backward()
                        if i % n == 0:
                            scaler.step(optimizers[name])
                            scaler.update()
                if 7 % n:
                    for name, model in models.items():
                        for parameter in model.parameters():
                            assert parameter.grad is not None
                            parameter.grad *= scaler.get_scale() / scales[name]
                        scaler.step(optimizers[name])
                        scaler.update()
        learner, mixed = of_two(*([ThreeBatches()] if n == 3 else []))
    assert mixed.scaler is not None
    assert same(mixed.scaler.state_dict(), scaler.state_dict())
    for name, model in models.items():
        assert same(learner.model[name].state_dict(), model.state_dict())
        assert same(learner.optimizer[name].state_dict(), optimizers[name].state_dict())
    assert mixed.skipped > 0


def test_an_optimizer_without_gradients_is_no_trouble() -> None:
    mixed = MixedPrecision("fp16", scaler=restless_scaler())
    models: dict[str, Any] = {"first": network(), "second": nn.Linear(4, 1)}
    learner = Learner(
        models,
        mse_loss,
        data=(batches(),),
        optimizer={"first": adam, "second": adam},
        callbacks=[mixed],
        use_default_callbacks=False,
    )

    class Apply(Callback):
        state_access = {"step.xs": Read, "model": Read}

        def forward(self, learner: Any) -> torch.Tensor:
            result: torch.Tensor = learner.model.first(learner.step.xs)
            return result

    learner.add_callback(Apply())
    before = models["second"].weight.detach().clone()
    with seeded():
        learner.fit(EPOCHS)
    assert torch.equal(models["second"].weight, before)
    assert same(models["first"].state_dict(), plainly().model.state_dict())


# What is refused.


def test_gradients_that_were_not_unscaled_are_refused() -> None:
    class Quick(AbstractTrainingPhase):
        data_name = "training"

        def step(self, learner: Any, batch: Any) -> None:
            with run_step(learner, self, xs=batch[0], ys=batch[1]) as (handle, state):
                state.yhats = handle(Forward)
                state.loss = handle(Loss)
                handle(Backward)
                handle(Update)

    with pytest.raises(
        CallbackError,
        match=r"^MixedPrecision cannot update by gradients that it has not unscaled: the update was done without "
        r"`finalize_gradients`, or another training ran inside of it\.\nFix: in a phase of your own do all of an "
        r"update with\n    run_update\(learner, self\)\n",
    ):
        learner_of(MixedPrecision("fp16")).fit(1, phases=[Quick()])


def test_a_training_inside_of_an_update_is_refused() -> None:
    class Nest(Callback):
        state_access = {"loop": Write}
        inside = False

        def on_update_begin(self, learner: Any) -> None:
            if not self.inside:
                self.inside = True
                learner.loop.step(TrainingPhase(), batches()[0])

    with pytest.raises(CallbackError, match="or another training ran inside of it"):
        learner_of(MixedPrecision("fp16"), Nest()).fit(1)


def test_a_line_at_the_end_of_a_fit_says_how_many_updates_were_skipped(infos: list[str]) -> None:
    learner, mixed = fitted()
    assert mixed.scaler is not None
    assert infos == [
        f"MixedPrecision skipped {mixed.skipped} updates, whose gradients were not finite. "
        f"The scale is {mixed.scaler.get_scale():g}."
    ]
    learner.fit(0)
    assert len(infos) == 1


def test_a_scaler_that_joins_another_learner_starts_from_where_it_started_first() -> None:
    mixed = MixedPrecision("fp16", scaler=restless_scaler())
    for _ in range(2):
        learner = learner_of(mixed)
        with seeded():
            learner.fit(EPOCHS)
        assert same(learner.model.state_dict(), plainly().model.state_dict())


def test_gradients_that_no_optimizer_holds_are_unscaled_as_well() -> None:
    seen: list[tuple[float, float]] = []

    def see(learner):
        seen.append(
            (learner.step.grads["0.weight"].abs().max().item(), learner.step.grads["1.weight"].abs().max().item())
        )

    class Head(torch.optim.SGD):
        """Holds the last layer alone, as `p[2:]` of those that it gets."""

        def __init__(self, parameters):
            super().__init__(list(parameters)[2:], lr=0.0)

    for precision in ([], [MixedPrecision("fp16", scaler=torch.amp.GradScaler("cpu", init_scale=1024.0))]):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 1))
        data = ([(torch.rand(4, 3), torch.rand(4, 1))],)
        show = CustomCallback(see, UpdateBegin, state_access={"step.grads": Read})
        Learner(
            model,
            torch.nn.MSELoss(),
            data=data,
            optimizer=Head,
            callbacks=[*precision, show],
            use_default_callbacks=False,
        ).fit(1)
    assert seen[1] == pytest.approx(seen[0], rel=1e-2)
