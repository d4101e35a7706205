"""`DDP` in a single process."""

import pytest
import torch
from treadle import Callback, CallbackConflictError, Learner, Write, toy_learner
from treadle.errors import ArgumentValueError
from treadle_distributed import DDP


def test_in_a_single_process_it_changes_no_bit() -> None:
    def trained(*callbacks: DDP) -> tuple[torch.Tensor, torch.Tensor, object]:
        torch.manual_seed(0)
        learner = toy_learner(*callbacks)
        result = learner.fit(2)
        return learner.model.weight.detach(), torch.get_rng_state(), result

    plain, with_ddp = trained(), trained(DDP())
    assert torch.equal(plain[0], with_ddp[0])
    assert torch.equal(plain[1], with_ddp[1])
    assert plain[2] == with_ddp[2]


def test_two_of_them_are_refused() -> None:
    with pytest.raises(CallbackConflictError, match="A run has one engine for its processes"):
        toy_learner(DDP(), DDP())


def test_several_models_are_refused() -> None:
    models = {"first": torch.nn.Linear(1, 1), "second": torch.nn.Linear(1, 1)}
    with pytest.raises(ArgumentValueError, match="DDP trains one model with many processes, and the learner has 2"):
        Learner(models, None, callbacks=[DDP()], use_default_callbacks=False)


def test_a_model_without_parameters_is_refused() -> None:
    with pytest.raises(ArgumentValueError, match="parameters, and ReLU has none"):
        Learner(torch.nn.ReLU(), None, callbacks=[DDP()], use_default_callbacks=False)


class OwnForward(Callback):
    state_access = {"model": Write}

    def forward(self, learner):
        return learner.model(learner.step.xs)


def test_who_overrides_the_forward_pass_is_refused() -> None:
    with pytest.raises(CallbackConflictError, match="OwnForward overrides `forward`, which DDP does"):
        toy_learner(DDP(), OwnForward())


class Halves(Callback):
    state_access = {"step.grads": Write}

    def accumulate(self, learner):
        return learner.progress.accumulated == 0


def test_steps_that_accumulate_are_refused_beside_a_static_graph() -> None:
    with pytest.raises(CallbackConflictError, match="Halves exchanges gradients in some steps only, and with `static_"):
        toy_learner(DDP(static_graph=True), Halves())
    toy_learner(DDP(), Halves())


def test_parameters_whose_shape_is_not_known_are_refused() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.LazyLinear(1))
    optimizer = torch.optim.SGD(model[0].parameters(), lr=0.1)
    with pytest.raises(ArgumentValueError, match="Sequential has parameters whose shape is not known before its first"):
        Learner(model, None, optimizer=optimizer, callbacks=[DDP()], use_default_callbacks=False)
