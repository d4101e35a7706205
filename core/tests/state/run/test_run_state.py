import copy
from typing import Any

import pytest
import torch
from torch import nn
from treadle import Callback, Learner, PropDict, Series, TrainingPhase, Write, step, toy_learner
from treadle.errors import MismatchError
from treadle.state.run.capture import capture_run
from treadle.state.run.run_state import RunState


class Accumulate(Callback):
    """Updates at every third step, and records its steps."""

    state_access = {"cbstate.seen": Write}

    def __init__(self) -> None:
        self.count = 0

    def on_init(self, learner: Any) -> None:
        learner.cbstate.seen = PropDict(series=Series(), last=None)

    def on_step_end(self, learner: Any, phase: TrainingPhase) -> None:
        learner.cbstate.seen.series.push(self.count, float(torch.rand(())))
        learner.cbstate.seen.last = (self.count, torch.rand(2))

    def accumulate(self) -> bool:
        self.count += 1
        return self.count % 3 != 0

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.count = state["count"]


def learner_of(seed: int = 0) -> Learner:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(1, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))
    model[0].requires_grad_(False)
    data = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(torch.rand(32, 1), torch.rand(32, 1)),
        batch_size=8,
        shuffle=True,
        generator=torch.Generator().manual_seed(seed),
    )
    return Learner(model, nn.functional.mse_loss, data=(data,), callbacks=[Accumulate()], use_default_callbacks=False)


def content(learner: Learner) -> list[Any]:
    """What a run has come to."""
    seen = learner.cbstate.seen
    return [
        {name: value.tolist() for name, value in learner.model.state_dict().items()},
        {name: None if value.grad is None else value.grad.tolist() for name, value in learner.params.items()},
        [state["exp_avg"].tolist() for state in learner.optimizer.state.values()],
        [parameter.requires_grad for parameter in learner.model.parameters()],
        [learner.callbacks[0].count, seen.last[0], seen.last[1].tolist(), list(seen.series.values)],
        [getattr(learner.progress, name) for name in ("epoch", "epochs", "steps", "updates", "accumulated")],
        torch.get_rng_state().tolist(),
        learner.data.training.generator.get_state().tolist(),
    ]


def test_put_back_into_another_learner_the_run_goes_on_as_if_it_had_never_stopped() -> None:
    learner = learner_of()
    learner.fit(1)
    go_on(learner)  # into an update of which there are batches to come
    assert learner.progress.accumulated == 1
    state = capture_run(learner)
    captured = copy.deepcopy(content(learner))
    go_on(learner)
    learner.fit(2)
    expected = content(learner)
    again = learner_of(seed=7)
    vars(again.data).update(training=copy_of_data(learner, again))
    for _ in range(2):  # as often as needed
        state.check(again)
        state.put_back(again)
        assert content(again) == captured
    go_on(again)
    again.fit(2)
    assert content(again) == expected


def go_on(learner: Learner) -> None:
    """Run one step alone, which ends no update."""
    step(learner, TrainingPhase(), (torch.ones(8, 1), torch.ones(8, 1)))


def copy_of_data(learner: Learner, again: Learner) -> Any:
    """The data of one learner with the generator of another."""
    dataset, generator = learner.data.training.dataset, again.data.training.generator
    return torch.utils.data.DataLoader(dataset, batch_size=8, shuffle=True, generator=generator)


def test_it_consists_of_plain_values_and_tensors_of_which_another_process_can_make_one() -> None:
    learner = toy_learner()
    learner.fit(1)
    state = capture_run(learner)
    again = toy_learner()
    RunState(state.model, state.parts, state.tensors).put_back(again)
    assert again.model.weight.equal(learner.model.weight)


class Keeps(Callback):
    def __init__(self, kept: Any) -> None:
        self.kept = kept

    def state_dict(self) -> dict[str, Any]:
        return {"kept": self.kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.kept = state["kept"]


def test_a_learner_that_it_does_not_fit_is_refused() -> None:
    state = capture_run(toy_learner(Keeps(1)))
    with pytest.raises(MismatchError, match=r"it has the state of Keeps, which the learner does not have"):
        state.check(toy_learner())
    state.check(toy_learner(), without=["Keeps"])
    with pytest.raises(MismatchError, match=r"The optimizer was saved as SGD and is Adam\.\nFix: .*\n    optimizer="):
        state.check(toy_learner(Keeps(1), optimizer=torch.optim.Adam))


def test_a_callback_that_refuses_its_state_leaves_the_learner_as_it_was() -> None:
    class Picky(Keeps):
        def load_state_dict(self, state: dict[str, Any]) -> None:
            if state["kept"] == 5:
                raise KeyError("not mine")

    first, picky = Keeps(5), Picky(5)
    first.name, picky.name = "A", "Z"
    learner = toy_learner(first, picky)
    learner.fit(1)
    learner.cbstate.made = 1
    state = capture_run(learner)
    first, picky = Keeps(0), Picky(0)
    first.name, picky.name = "A", "Z"
    again = toy_learner(first, picky)
    with pytest.raises(KeyError, match="not mine"):
        state.put_back(again)
    assert (first.kept, again.model.weight.item(), dict(again.cbstate)) == (0, 0, {})
