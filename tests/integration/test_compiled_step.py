"""A compiled step beside the callbacks of other distributions: it is the step by hand, or is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from treadle import Callback, CallbackConflictError, Learner, toy_learner
from treadle_amp import MixedPrecision
from treadle_checkpoint import Checkpointer, resume
from treadle_compile import CompiledStep
from treadle_optim import EMA, SAM, Accumulate, ClipGradients, Lookahead
from treadle_schedule import Exp, LearningRate, Scheduler
from treadle_stopping import StopOnNaNLoss


def learner_of(*callbacks: Callback, broken: int | None = None) -> Learner:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 2))
    data = [(torch.randn(n, 4), torch.randn(n, 2)) for n in (8, 8, 8, 8, 3)]
    if broken is not None:
        data[broken][1].fill_(float("nan"))
    return Learner(
        model,
        nn.MSELoss(),
        data=(data, data[:2]),
        optimizer=lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9),
        callbacks=callbacks,
        use_default_callbacks=("recorder", "metrics", "stop_on_nan_loss"),
    )


def weights(learner: Learner) -> torch.Tensor:
    return torch.cat([value.flatten().double() for value in learner.model.state_dict().values()])


@pytest.mark.parametrize(
    "others",
    [
        lambda: [ClipGradients(norm=0.1)],
        lambda: [EMA(0.9), Lookahead(2)],
        lambda: [Scheduler({LearningRate: Exp(0.1, 0.9)})],
        lambda: [Scheduler({LearningRate: Exp(0.1, 0.9)}), ClipGradients(value=0.01), EMA(0.9)],
    ],
)
def test_it_is_the_step_as_it_is_written_up_to_rounding(others: Any) -> None:
    compiled, written = learner_of(CompiledStep(backend="eager"), *others()), learner_of(*others())
    compiled.fit(2)
    written.fit(2)
    assert torch.allclose(weights(compiled), weights(written), atol=2e-6)
    for phase, history in written.cbstate.metricsepoch.items():
        assert compiled.cbstate.metricsepoch[phase]["Loss"].values == pytest.approx(history["Loss"].values, rel=1e-4)


def test_in_bfloat16_the_whole_unit_is() -> None:
    compiled, written = learner_of(CompiledStep(backend="eager"), MixedPrecision()), learner_of(MixedPrecision())
    compiled.fit(2)
    written.fit(2)
    assert compiled.step.yhats.dtype == torch.bfloat16
    assert torch.allclose(weights(compiled), weights(written), atol=2e-2)


@pytest.mark.parametrize("other", [Accumulate(2), SAM(), MixedPrecision("fp16")])
def test_who_takes_part_in_the_gradients_is_refused(other: Callback) -> None:
    with pytest.raises(
        CallbackConflictError, match=rf"CompiledStep and {other.name} .*Unresolvable|Use Compile\(\) in place"
    ):
        toy_learner(CompiledStep(), other)


def test_a_loss_that_is_not_finite_does_not_reach_the_weights() -> None:
    compiled, written = learner_of(CompiledStep(backend="eager"), broken=3), learner_of(broken=3)
    assert isinstance(compiled.fit(2).cancelled.callback, StopOnNaNLoss)  # type: ignore[union-attr]
    written.fit(2)
    assert torch.allclose(weights(compiled), weights(written), atol=2e-6)


def test_resumed_after_any_step_it_is_bit_equal(tmp_path: Path) -> None:
    def callbacks(folder: Path) -> list[Callback]:
        return [CompiledStep(backend="eager"), ClipGradients(norm=0.1), Checkpointer(folder, every_steps=3)]

    whole = learner_of(*callbacks(tmp_path / "whole"))
    whole.fit(2)
    for checkpoint in sorted((tmp_path / "whole").glob("checkpoint_*")):
        again = learner_of(*callbacks(tmp_path / f"from_{checkpoint.name}"))
        resume(again, checkpoint)
        done = again.progress.steps
        again.fit(2)
        assert (done in (3, 6, 9), again.progress.steps) == (True, 10)
        assert torch.equal(weights(again), weights(whole))
