"""`SAM` with mixed precision, accumulation and a clip: as the loop by hand, and resumed inside of an update."""

import pytest
import torch
from torch import nn
from treadle import Learner
from treadle_amp import MixedPrecision
from treadle_checkpoint import Checkpointer, checkpoints, resume
from treadle_optim import SAM, Accumulate, ClipGradients
from treadle_stopping import NonFiniteLoss, StopOnNaNLoss

RHO, CLIP, N, BATCHES, EPOCHS = 0.2, 0.5, 3, 7, 2
SCALES = {"init_scale": 2.0**14, "growth_interval": 2}


class Spiky(nn.Module):
    """A loss that overflows in float16 in some of its calls of the first pass."""

    def __init__(self, spikes=()):
        super().__init__()
        self.spikes = spikes
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, yhats, ys):
        self.count += 1
        loss = nn.functional.mse_loss(yhats.float(), ys)
        return loss * (1e30 if self.count.item() in self.spikes else 1.0)


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.4), nn.Linear(6, 1))


def data():
    generator = torch.Generator().manual_seed(2)
    return [(torch.rand(5, 3, generator=generator), torch.rand(5, 1, generator=generator)) for _ in range(BATCHES)]


def momentum(model):
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


# The loop by hand.


def by_hand(dtype, spikes):
    model, batches, lossfn = net(), data(), Spiky(spikes)
    optimizer, parameters = momentum(model), list(model.parameters())
    scaler = torch.amp.GradScaler("cpu", **SCALES, enabled=dtype == torch.float16)
    updates = 0
    torch.manual_seed(1)
    for _ in range(EPOCHS):
        for start in range(0, BATCHES, N):
            group = batches[start : start + N]
            gradients(model, lossfn, optimizer, scaler, dtype, group)
            scale = scaler.get_scale()
            weights = [parameter.detach().clone() for parameter in parameters]
            norm = torch.stack([parameter.grad.norm() for parameter in parameters]).norm()
            finite = bool(norm.isfinite())
            if finite:
                with torch.no_grad():
                    for parameter in parameters:
                        parameter += parameter.grad * (RHO / (norm + 1e-12))
            scaler.update(scale)  # torch unscales once between two updates; the scale stays
            model[1].track_running_stats = False
            count = lossfn.count.clone()
            gradients(model, lossfn, optimizer, scaler, dtype, group, 1.0 if finite else torch.nan)
            lossfn.count.copy_(count)
            model[1].track_running_stats = True
            with torch.no_grad():
                for parameter, weight in zip(parameters, weights, strict=True):
                    parameter.copy_(weight)
            nn.utils.clip_grad_norm_(parameters, CLIP)
            scaler.step(optimizer)
            scaler.update()
            updates += scaler.get_scale() >= scale
    return model, updates


def gradients(model, lossfn, optimizer, scaler, dtype, group, factor=1.0):
    optimizer.zero_grad()
    for xs, ys in group:
        with torch.autocast("cpu", dtype=dtype):
            yhats = model(xs)
        with torch.autocast("cpu", dtype=dtype):
            loss = lossfn(yhats, ys)
        scaler.scale(loss * factor / N).backward()
    scaler.unscale_(optimizer)
    for parameter in model.parameters():
        parameter.grad *= N / len(group)


def learner_of(precision, spikes, *others):
    scaler = torch.amp.GradScaler("cpu", **SCALES) if precision == "fp16" else None
    callbacks = [ClipGradients(norm=CLIP), Accumulate(N), MixedPrecision(precision, scaler=scaler), SAM(RHO), *others]
    model = net()
    settings = {"optimizer": momentum(model), "data": (data(),), "use_default_callbacks": False}
    return Learner(model, Spiky(spikes), callbacks=callbacks, **settings)


@pytest.mark.parametrize(
    ("precision", "spikes"), [("bf16", ()), ("fp16", ()), ("fp16", (2,)), ("fp16", (7, 9))], ids=str
)
def test_both_passes_run_under_the_same_precision_scaler_and_accumulation(precision, spikes) -> None:
    learner = learner_of(precision, spikes, StopOnNaNLoss())  # whom an update that the scaler skips does not concern
    torch.manual_seed(1)
    assert learner.fit(EPOCHS).cancelled is None
    model, updates = by_hand({"bf16": torch.bfloat16, "fp16": torch.float16}[precision], spikes)
    assert all(map(torch.equal, learner.model.state_dict().values(), model.state_dict().values()))
    assert learner.progress.updates == updates
    assert updates <= 6 - len(spikes)


@pytest.mark.parametrize(("precision", "spikes"), [("bf16", ()), ("fp16", (2, 10))])
def test_it_goes_on_from_every_step_bit_equal(precision, spikes, tmp_path) -> None:
    learner = learner_of(precision, spikes, Checkpointer(tmp_path, every_steps=1))
    torch.manual_seed(1)
    learner.fit(EPOCHS)
    saved = checkpoints(tmp_path)
    assert len(saved) >= EPOCHS * BATCHES
    for checkpoint in saved:
        again = learner_of(precision, spikes)
        resume(again, checkpoint.path, without=["Checkpointer"])
        again.fit(EPOCHS)
        assert all(map(torch.equal, again.model.state_dict().values(), learner.model.state_dict().values()))
        assert again.progress.updates == learner.progress.updates


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_loss_of_the_second_pass_that_is_not_finite_stops_before_the_update(precision) -> None:
    class Breaks(nn.Module):
        """NaN in its eleventh call: the second pass of the second update, whose batches are 4, 5 and 6."""

        def __init__(self):
            super().__init__()
            self.calls = 0

        def forward(self, yhats, ys):
            self.calls += 1
            loss = nn.functional.mse_loss(yhats.float(), ys)
            return loss * torch.nan if self.calls == 11 else loss

    guard = StopOnNaNLoss()
    learner, once = learner_of(precision, (), guard), learner_of(precision, ())
    learner.lossfn = Breaks()
    torch.manual_seed(1)
    once.fit(1, (data()[:N],))
    torch.manual_seed(1)
    stop = learner.fit(1).cancelled
    assert isinstance(stop, NonFiniteLoss)
    assert stop.callback is guard
    assert str(stop).startswith("The training loss is nan. Training stopped before the update, so the parameters are")
    assert learner.progress.updates == 1
    for ours, theirs in zip(learner.model.parameters(), once.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
