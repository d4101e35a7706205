"""CUDA graphs: what a step gives is its own, though the next one is computed in the same memory."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from treadle import BackwardEnd, Callback, CustomCallback, Learner, Read, TrainingPhase
from treadle_compile import CompiledStep
from treadle_compile.unit.cuda_graphs import records, with_cuda_graphs

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script_method`:DeprecationWarning")  # torch's own use


def learner_of(device: str, *callbacks: Callback) -> Learner:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)).to(device)
    data = [(torch.randn(8, 4).to(device), torch.randn(8, 2).to(device)) for _ in range(6)]
    return Learner(
        model,
        nn.MSELoss(),
        data=(data,),
        optimizer=lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9),
        callbacks=callbacks,
        use_default_callbacks=False,
    )


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_cuda)])
def test_outputs_losses_and_gradients_that_callbacks_keep_are_those_of_their_step(device: str) -> None:
    def watched(*others: Callback) -> tuple[list[Any], Learner]:
        kept: list[Any] = []

        def keep(learner: Any) -> None:
            grads = [learner.step.grads[name] for name in learner.step.grads]
            kept.append((learner.step.loss.detach(), learner.step.yhats.detach(), *grads))

        access = {"step.grads": Read, "step.loss": Read, "step.yhats": Read}
        learner = learner_of(device, CustomCallback(keep, BackwardEnd, TrainingPhase, access), *others)
        learner.fit(2)
        return kept, learner

    # Nothing is recorded on the CPU, and what a recorded step gives is copied there as well.
    options = {} if device == "cuda" else {"backend": "eager", "options": {"triton.cudagraphs": True}}
    kept, compiled = watched(CompiledStep(**options))
    expected, written = watched()
    torch.testing.assert_close(kept, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(compiled.model.state_dict(), written.model.state_dict(), atol=1e-5, rtol=1e-4)
    assert compiled.step.compiled.committed


@needs_cuda
def test_an_update_that_is_recorded_gives_the_weights_of_the_loop_by_hand() -> None:
    learner = learner_of("cuda", CompiledStep())
    model = copy.deepcopy(learner.model)
    learner.fit(2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(2):
        for xs, ys in learner.data.training:
            optimizer.zero_grad()
            nn.functional.mse_loss(model(xs), ys).backward()
            optimizer.step()
    torch.testing.assert_close(learner.model.state_dict(), model.state_dict(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "recorded"),
    [
        ({}, True),
        ({"dynamic": True}, True),
        ({"options": {"epilogue_fusion": True}}, True),
        ({"options": {"triton.cudagraphs": False}}, False),
        ({"mode": "reduce-overhead"}, True),
        ({"mode": "default"}, False),
        ({"mode": "max-autotune-no-cudagraphs"}, False),
        ({"backend": "eager"}, False),
    ],
)
def test_a_step_is_recorded_unless_the_options_say_how_it_is_to_be_compiled(options: Any, recorded: bool) -> None:
    before = copy.deepcopy(options)
    assert records(with_cuda_graphs(options)) is recorded
    assert options == before
