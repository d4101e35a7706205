"""Modes and buffers, also those that no `state_dict` names, in the state of a run and after a trial."""

import pytest
import torch
from torch import nn
from treadle import Callback, Learner, TrainingPhase, Write, toy_learner
from treadle.errors import MismatchError
from treadle.state.run.capture import capture_run
from treadle.state.run.model_state import load_model_state, model_state
from treadle.state.run.objects.preserved import preserved_state


class Counts(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(1)
        self.linear = nn.Linear(1, 1)
        self.register_buffer("hidden", torch.zeros(1), persistent=False)
        self.register_buffer("cache", None, persistent=False)

    def forward(self, xs):
        self.hidden = self.hidden + 1
        return self.linear(self.norm(xs)) + self.hidden * 0.01


class Freezes(Callback):
    """Freezes a part of the model in the middle of an epoch."""

    state_access = {"model": Write}

    def on_step_end(self, learner, phase: TrainingPhase):
        if learner.progress.steps == 2:
            learner.model.norm.eval()
            learner.model.linear.bias.requires_grad_(False)


def learner_of(model=None):
    torch.manual_seed(0)
    xs = torch.rand(32, 1)
    data = [(xs[i : i + 8], 2 * xs[i : i + 8]) for i in range(0, 32, 8)]
    model = model or Counts()
    return Learner(model, nn.functional.mse_loss, data=(data,), callbacks=[Freezes()], use_default_callbacks=False)


def modes(model):
    return [module.training for module in model.modules()]


def test_modes_and_what_is_frozen_are_those_of_the_moment_and_outside_of_the_epoch_those_of_before() -> None:
    saved = []

    class Save(Callback):
        def on_step_end(self, phase: TrainingPhase):
            saved.append(capture_run(learner))

    learner = learner_of()
    learner.add_callback(Save())
    learner.fit(1)
    state = saved[2]
    again = learner_of()
    state.put_back(again)
    assert modes(again.model) == [True, False, True]
    state.put_back(again, moment="entry")
    assert modes(again.model) == [True, True, True]
    assert [parameter.requires_grad for parameter in again.model.parameters()] == [True, True, True, False]


def test_buffers_that_no_state_dict_names_are_put_back() -> None:
    learner = learner_of()
    learner.fit(1)
    learner.model.cache = torch.ones(3)
    state = capture_run(learner)
    assert "hidden" not in state.model
    again = learner_of()
    state.put_back(again)
    assert (again.model.hidden.item(), again.model.cache.tolist()) == (4, [1, 1, 1])
    learner.fit(1)
    again.fit(1)
    assert again.model.linear.weight.equal(learner.model.linear.weight)


def test_a_buffer_that_is_first_made_in_a_step_is_made_where_it_is_put_back() -> None:
    learner = toy_learner()
    learner.model.register_buffer("late", torch.ones(2), persistent=False)
    state = capture_run(learner)
    again = toy_learner()
    state.put_back(again)
    assert again.model.late.tolist() == [1, 1]
    assert "late" not in again.model.state_dict()


def test_the_best_weights_are_restored_with_all_buffers() -> None:
    model = Counts()
    best = model_state(model)
    model(torch.ones(4, 1))
    load_model_state(model, best)
    assert (model.hidden.item(), model.norm.num_batches_tracked.item()) == (0, 0)
    assert set(best) - set(model_state(model, persistent=True)) == {"hidden", "cache"}


def test_the_loss_functions_modes_and_buffers_count_as_well() -> None:
    class Loss(nn.Module):
        def __init__(self):
            super().__init__()
            self.dropout = nn.Dropout()
            self.register_buffer("scale", torch.ones(1), persistent=False)

        def forward(self, yhats, ys):
            return ((yhats - ys) * self.scale).abs().mean()

    def learner():
        made = learner_of()
        made.lossfn = Loss()
        return made

    first, again = learner(), learner()
    first.lossfn.dropout.eval()
    first.lossfn.scale.fill_(3.0)
    capture_run(first).put_back(again)
    assert (modes(again.lossfn), again.lossfn.scale.item()) == ([True, False], 3)


def test_a_lazy_model_can_be_saved_once_it_has_shapes_and_be_put_back_into_a_lazy_one() -> None:
    def lazy():
        return learner_of(LazyCounts())

    class LazyCounts(Counts):
        def __init__(self):
            super().__init__()
            self.norm = nn.LazyBatchNorm1d()

    learner, again = lazy(), lazy()
    learner.fit(1)
    capture_run(learner).put_back(again)
    assert torch.equal(again.model.norm.running_mean, learner.model.norm.running_mean)
    assert again.model.hidden.item() == 4


def test_a_loss_function_that_the_state_does_not_fit_leaves_everything_as_it_was() -> None:
    class Loss(nn.Module):
        def __init__(self, size):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(size))

        def forward(self, yhats, ys):
            return (yhats - ys).abs().mean() * self.weight.sum()

    def learner(size):
        made = learner_of()
        made.lossfn = Loss(size)
        return made

    first, again = learner(1), learner(2)
    first.fit(1)
    state, before = capture_run(first), model_state(again.model)
    with pytest.raises(MismatchError, match=r"It does not fit the loss function: weight has the shape \(1,\), in the"):
        state.check(again, where="It")
    with pytest.raises(MismatchError):
        state.put_back(again)
    assert all(
        torch.equal(before[name], value) for name, value in model_state(again.model).items() if value is not None
    )
    assert not again.optimizer.state
    with pytest.raises(MismatchError, match=r"has a state of the loss function \(weight\), .*\nFix: build the loss"):
        state.check(learner_of())


def test_whatever_refuses_its_state_in_the_middle_leaves_everything_as_it_was() -> None:
    class Picky(torch.optim.Adam):
        def load_state_dict(self, state):
            raise KeyError("not mine")

    def learner():
        made = learner_of()
        made.optimizer = Picky(made.model.parameters())
        return made

    first, again = learner(), learner()
    first.fit(1)
    first.model.norm.eval()
    state, before = capture_run(first), capture_run(again)
    with pytest.raises(KeyError, match="not mine"):
        state.put_back(again)
    after = capture_run(again)
    assert all(torch.equal(after.model[name], value) for name, value in before.model.items())
    assert after.parts == before.parts
    assert all(torch.equal(after.tensors[name], value) for name, value in before.tensors.items())


def scripted() -> nn.Module:
    torch.manual_seed(0)
    return torch.jit.script(ScriptedCounts())


class ScriptedCounts(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(1)
        self.linear = nn.Linear(1, 1)
        self.dropout = nn.Dropout(0.5)
        self.calls: int = 0
        self.register_buffer("hidden", torch.zeros(1))

    def forward(self, xs):
        self.calls += 1
        self.hidden = self.hidden + 1
        return self.linear(self.dropout(self.norm(xs)))


def content(model):
    return modes(model), model.calls, {name: value.tolist() for name, value in model.state_dict().items()}


@pytest.mark.filterwarnings("ignore:.*jit")
def test_a_torchscript_model_is_left_as_it_was_found() -> None:
    model = scripted()
    model.dropout.eval()
    before, buffer = content(model), model.hidden
    with preserved_state([model]):
        model.train()
        model(torch.rand(4, 1)).sum().backward()
        model.eval()
        model.linear.weight.data.zero_()
    assert content(model) == before
    assert model.hidden.data_ptr() == buffer.data_ptr()
    with preserved_state([model], parameters=False):
        model.train()(torch.rand(4, 1))
        model.eval()
    assert content(model) == before


@pytest.mark.filterwarnings("ignore:.*jit")
def test_a_torchscript_model_keeps_its_modes_over_phases_and_is_captured_with_them() -> None:
    model = scripted()
    model.norm.eval()
    xs = torch.rand(8, 1)
    data = [(xs, 2 * xs)] * 4
    learner = Learner(model, nn.functional.mse_loss, data=(data, data), use_default_callbacks=False)
    learner.fit(2)
    assert modes(model) == [True, False, True, True]
    again = Learner(scripted(), nn.functional.mse_loss, data=(data, data), use_default_callbacks=False)
    capture_run(learner).put_back(again)
    assert content(again.model)[0::2] == content(model)[0::2]
