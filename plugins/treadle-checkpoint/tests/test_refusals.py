"""What is refused before the first step, and what is never saved."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch
from torch import nn
from treadle import Callback, CancelFittingException, Learner, TrainingPhase, Write, toy_learner
from treadle_checkpoint import Checkpointer, NotSaveableError, checkpoints, latest


class Seen(Callback):
    """Counts the epochs that begin."""

    def __init__(self) -> None:
        self.epochs = 0

    def on_epoch_begin(self) -> None:
        self.epochs += 1


def with_parameter(dtype: torch.dtype) -> nn.Module:
    model = nn.Linear(1, 1, bias=False)
    model.extra = nn.Parameter(torch.zeros(2, dtype=dtype), requires_grad=False)
    return model


def with_buffer(buffer: torch.Tensor, *, persistent: bool) -> nn.Module:
    model = nn.Linear(1, 1, bias=False)
    model.register_buffer("extra", buffer, persistent=persistent)
    return model


def learner(model: nn.Module, *callbacks: Callback, optimizer: Any = torch.optim.SGD) -> Learner:
    return Learner(
        model,
        nn.functional.l1_loss,
        data=(toy_learner(nbatches=4).data.training,),
        optimizer=lambda params: optimizer([p for p in params if p.requires_grad], lr=0.001),
        callbacks=callbacks,
        use_default_callbacks=False,
    )


MODELS = {
    "parameter": lambda: with_parameter(torch.complex128),
    "buffer": lambda: with_buffer(torch.zeros(2, dtype=torch.complex128), persistent=True),
    "sparse buffer": lambda: with_buffer(torch.eye(2).to_sparse(), persistent=True),
}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("whole_run", [True, False])
def test_a_tensor_of_the_model_that_no_checkpoint_can_hold_is_named_before_the_first_step(tmp_path, model, whole_run):
    refused = learner(model(), Checkpointer(tmp_path, whole_run=whole_run), seen := Seen())
    with pytest.raises(NotSaveableError, match=r"cannot hold extra, a tensor of .*\nFix: "):
        refused.fit(1)
    assert (refused.progress.steps, seen.epochs) == (0, 0)


def test_a_state_of_the_optimizer_that_no_checkpoint_can_hold_is_named_before_the_first_step(tmp_path):
    class Odd(torch.optim.SGD):
        def __init__(self, params: Any, lr: float) -> None:
            super().__init__(params, lr)
            self.param_groups[0]["function"] = print

    refused = learner(nn.Linear(1, 1, bias=False), Checkpointer(tmp_path), optimizer=Odd)
    with pytest.raises(NotSaveableError, match=r"cannot hold optimizer/.*function, a builtin_function_or_method"):
        refused.fit(1)
    assert refused.progress.steps == 0


def test_data_that_are_passed_to_a_later_fit_are_looked_at_as_well(tmp_path):
    trained = toy_learner(Checkpointer(tmp_path))
    trained.fit(1)
    with pytest.raises(Exception, match="list_iterator is an iterator"):
        trained.fit(1, (iter(trained.data.training),))
    assert trained.progress.steps == 16


# What is not finite.


def test_the_buffer_that_a_nan_input_has_reached_is_named_at_each_refusal(tmp_path, loguru_warnings):
    class Stop(Callback):
        def on_backward_begin(self, learner: Any, phase: TrainingPhase) -> None:
            if learner.progress.steps == 2:
                raise CancelFittingException("NaN.")

    batch = torch.randn(4, 1), torch.randn(4, 1)
    nothing = torch.full((4, 1), math.nan), torch.randn(4, 1)
    model = nn.Sequential(nn.BatchNorm1d(1), nn.Linear(1, 1))
    trained = Learner(
        model,
        nn.functional.mse_loss,
        data=([batch, batch, nothing],),
        callbacks=[Stop(), Checkpointer(tmp_path, every_steps=1)],
        use_default_callbacks=False,
    )
    trained.fit(1)
    trained.fit(1, ([batch],))
    assert [one.steps for one in checkpoints(tmp_path)] == [1, 2]
    assert len(loguru_warnings) == 2
    what = r"No checkpoint was saved: 0\.running_mean is NaN or infinite\. .*\nFix: look for the batch .*\n    resume\("
    assert all(re.match(what, warning) for warning in loguru_warnings)


def test_a_gradient_that_is_nan_under_a_finite_loss_makes_neither_the_newest_nor_the_best(tmp_path, loguru_warnings):
    broken = toy_learner(data=(toy_learner().data.training,))
    broken.set_callbacks([Checkpointer(tmp_path)])
    broken.fit(1)
    before = latest(tmp_path)

    class Poison(Callback):
        state_access = {"step.grads": Write}

        def on_backward_end(self, learner: Any, phase: TrainingPhase) -> None:
            learner.step.grads["weight"].fill_(math.nan)

    broken.add_callback(Poison())
    broken.fit(1)
    assert not torch.isfinite(broken.model.weight).all()
    assert latest(tmp_path) == before
    assert len(checkpoints(tmp_path)) == 1
    assert loguru_warnings[0].startswith("No checkpoint was saved: weight is NaN or infinite.")
