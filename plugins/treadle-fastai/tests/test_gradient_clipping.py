"""The source of `GradientClipping` that fastai documents, unchanged, and the one of this plugin."""

import pytest
import torch
from torch import nn
from treadle import CallbackConflictError, Learner, toy_learner
from treadle_amp import MixedPrecision
from treadle_fastai import GradientClipping as Declared
from treadle_fastai import LearnerCallback
from treadle_optim import Accumulate, ClipGradients

# From here it is theirs, unchanged.


class GradientClipping(LearnerCallback):
    def on_backward_end(self, **kwargs):
        if self.clip:
            nn.utils.clip_grad_norm_(self.learn.model.parameters(), self.clip)


# To here.


def data():
    torch.manual_seed(0)
    return [(torch.randn(8, 4), 10 * torch.randn(8, 1)) for _ in range(7)]


def made(*callbacks):
    torch.manual_seed(1)
    model = nn.Linear(4, 1)
    return Learner(
        model,
        nn.MSELoss(),
        data=(data(),),
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        callbacks=callbacks,
        use_default_callbacks=False,
    )


def trained(*callbacks):
    learner = made(*callbacks)
    learner.fit(3)
    return nn.utils.parameters_to_vector(learner.model.parameters())


def by_hand(n=1, clip=1.0, scaler=None, dtype=None):
    """The loop that somebody writes who knows of all three."""
    learner = made()
    model, optimizer, lossfn = learner.model, learner.optimizer, learner.lossfn
    scaler = scaler or torch.amp.GradScaler("cpu", enabled=False)
    for _ in range(3):
        k = 0
        for i, (xs, ys) in enumerate(batches := data(), start=1):
            with torch.autocast("cpu", dtype or torch.float16, enabled=scaler.is_enabled() or dtype is not None):
                loss = lossfn(model(xs), ys)
            scaler.scale(loss / n).backward()
            k += 1
            if k == n or i == len(batches):
                scaler.unscale_(optimizer)
                if k < n:
                    for parameter in model.parameters():
                        parameter.grad *= n / k
                nn.utils.clip_grad_norm_(model.parameters(), clip)
                scaler.step(optimizer)
                scaler.update()
                optimizer.zero_grad()
                k = 0
    return nn.utils.parameters_to_vector(model.parameters())


def unchanged():
    return GradientClipping(clip=1.0)


def with_learner():
    callback = GradientClipping(made())
    callback.clip = 1.0
    return callback


def declared():
    return Declared(clip=1.0)


each = pytest.mark.parametrize("clip", [unchanged, with_learner, declared])


@each
def test_it_clips(clip) -> None:
    assert torch.equal(trained(clip()), by_hand())
    assert not torch.equal(trained(clip()), trained())


@each
def test_it_clips_whole_gradients_beside_accumulation(clip) -> None:
    assert torch.equal(trained(clip(), Accumulate(3)), by_hand(n=3))
    assert torch.equal(trained(Accumulate(3), clip()), by_hand(n=3))


@each
def test_it_clips_unscaled_gradients_beside_mixed_precision(clip) -> None:
    assert torch.equal(trained(clip(), MixedPrecision("fp16")), by_hand(scaler=torch.amp.GradScaler("cpu")))


@each
def test_it_clips_beside_both(clip) -> None:
    expected = by_hand(n=3, scaler=torch.amp.GradScaler("cpu"))
    assert torch.equal(trained(clip(), MixedPrecision("fp16"), Accumulate(3)), expected)


@each
@pytest.mark.parametrize("n", [1, 4])
def test_it_clips_in_bf16(clip, n) -> None:
    others = [MixedPrecision("bf16"), *([Accumulate(n)] if n > 1 else [])]
    assert torch.equal(trained(clip(), *others), by_hand(n=n, dtype=torch.bfloat16))
    assert torch.equal(trained(*others, clip()), by_hand(n=n, dtype=torch.bfloat16))


@each
def test_it_clips_beside_a_scaler_that_finds_infinite_gradients(clip) -> None:
    def scaler():
        return torch.amp.GradScaler("cpu", init_scale=2.0**24, growth_interval=3)

    expected = by_hand(n=4, scaler=scaler())
    assert torch.equal(trained(clip(), MixedPrecision("fp16", scaler=scaler()), Accumulate(4)), expected)


def test_a_clip_of_0_clips_nothing() -> None:
    assert torch.equal(trained(GradientClipping(clip=0.0)), trained())
    assert torch.equal(trained(Declared()), trained())


@pytest.mark.parametrize("clip", [unchanged, with_learner])
def test_two_clips_need_an_order(clip) -> None:
    with pytest.raises(CallbackConflictError, match="ClipGradients and GradientClipping both write"):
        made(clip(), ClipGradients(norm=1.0))


def test_ours_beside_the_clip_of_treadle_optim_is_refused() -> None:
    with pytest.raises(CallbackConflictError, match=r"Keep one of them\. To clip in two ways, use ClipGradients twice"):
        made(declared(), ClipGradients(norm=1.0))


def test_two_clips_of_treadle_optim_clip_in_the_order_that_the_user_chooses() -> None:
    by_value, by_norm = ClipGradients(value=0.01), ClipGradients(norm=1.0)
    by_value.name = "by value"
    learner = toy_learner(by_value, by_norm, resolve={("by value", "ClipGradients"): "second"})
    assert next(ordered for _, hook, ordered in learner.plan().rows if hook == "on_update_begin") == (by_norm, by_value)
