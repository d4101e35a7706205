from typing import Any

import pytest
import torch
from torch import nn
from treadle import Callback, Learner, toy_learner
from treadle.errors import NotResumableError, NotSaveableError
from treadle.state.run.capture import capture_run, refuse_unsaveable_model, refuse_unsaveable_run


def test_what_is_not_copied_changes_with_the_run() -> None:
    learner = toy_learner()
    copied, shared = capture_run(learner), capture_run(learner, copy=False)
    learner.fit(1)
    assert copied.model["weight"].item() == 0
    assert shared.model["weight"].item() == learner.model.weight.item() != 0


class Keeps(Callback):
    def __init__(self, kept: Any) -> None:
        self.kept = kept

    def state_dict(self) -> dict[str, Any]:
        return {"kept": self.kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.kept = state["kept"]


def test_what_cannot_be_saved_is_named_with_its_place() -> None:
    with pytest.raises(NotSaveableError, match=r"cannot hold callbacks/Keeps/state/kept, a builtin_function"):
        capture_run(toy_learner(Keeps(print)))


def test_a_parameter_that_belongs_to_no_model_is_refused() -> None:
    learner = toy_learner()
    learner.optimizer.add_param_group({"params": [nn.Parameter(torch.ones(2, 3))]})
    with pytest.raises(NotResumableError, match=r"holds a parameter of shape \(2, 3\) .*\nFix: make it a parameter of"):
        capture_run(learner)


class Extra(nn.Linear):
    """Keeps what no file can hold in its extra state."""

    def get_extra_state(self) -> Any:
        return print


def waves() -> nn.Module:
    model = nn.Linear(1, 1)
    model.register_buffer("waves", torch.zeros(2, dtype=torch.complex128))
    return model


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (Extra(1, 1), "_extra_state, a builtin_function"),
        (waves(), "waves, a tensor of torch.complex128"),
        ({"encoder": nn.Linear(1, 1), "decoder": waves()}, "decoder.waves, a tensor of torch.complex128"),
        ({"encoder": nn.Linear(1, 1), "decoder": Extra(1, 1)}, "decoder._extra_state, a builtin_function"),
    ],
)
def test_a_model_of_which_a_file_could_not_hold_something_is_refused_alone_and_in_a_run(model, names) -> None:
    with pytest.raises(NotSaveableError, match=rf"cannot hold {names}.*\nFix: let the state_dict"):
        refuse_unsaveable_model(model)
    with pytest.raises(NotSaveableError, match=rf"cannot hold {names}.*\nFix: let the state_dict"):
        refuse_unsaveable_run(Learner(model, nn.functional.mse_loss, use_default_callbacks=False))


def test_a_parameter_without_a_shape_passes_since_it_may_get_one() -> None:
    refuse_unsaveable_model({"lazy": nn.LazyLinear(1), "norm": nn.LazyBatchNorm1d()})
