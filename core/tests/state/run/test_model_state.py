import pytest
import torch
from torch import nn
from treadle import PropDict
from treadle.errors import ArgumentTypeError, MismatchError, NotSaveableError
from treadle.state.run.model_state import load_model_state, match_model_state, model_state, models_by_name


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.out = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
        self.out.weight = self.embed.weight


def test_a_copy_is_not_changed_by_training_and_what_is_not_copied_is() -> None:
    model = nn.Linear(2, 1)
    copied, shared = model_state(model), model_state(model, copy=False)
    nn.init.constant_(model.weight, 5.0)
    assert (copied["weight"].sum() == 10, shared["weight"].sum() == 10) == (False, True)


def test_a_tensor_with_several_names_is_copied_once() -> None:
    state = model_state(Tied())
    assert state["embed.weight"] is state["out.weight"]


@pytest.mark.parametrize("kind", [dict, PropDict, nn.ModuleDict])
def test_several_models_go_by_their_names(kind) -> None:
    models = kind({"one": nn.Linear(1, 1), "two": nn.Linear(1, 1)})
    state = model_state(models)
    assert list(state) == ["one.weight", "one.bias", "two.weight", "two.bias"]
    nn.init.constant_(models["two"].weight, 100.0)
    load_model_state(models, state)
    assert torch.equal(models["two"].weight, state["two.weight"])


def test_names_and_shapes_that_differ_are_named_and_nothing_is_loaded() -> None:
    model, other = nn.Linear(2, 1), nn.Linear(3, 1, bias=False)
    before = other.weight.clone()
    with pytest.raises(
        MismatchError,
        match=r"^The best weights does not fit the model: weight has the shape \(1, 2\), in the model \(1, 3\); "
        r"it has bias, which the model does not have\.\nFix: build the model as it was when it was saved",
    ):
        load_model_state(other, model_state(model), "The best weights")
    assert torch.equal(other.weight, before)


def test_another_type_of_numbers_is_converted_unless_it_has_to_be_exact() -> None:
    state, model = model_state(nn.Linear(1, 1)), nn.Linear(1, 1).double()
    load_model_state(model, state)
    assert model.weight.dtype is torch.float64
    with pytest.raises(MismatchError, match=r"weight is torch.float32, in the model torch.float64"):
        match_model_state(model, state, "The file", exact=True)


def test_what_is_not_a_model_and_what_has_no_shape_yet_are_refused() -> None:
    with pytest.raises(ArgumentTypeError, match=r"A model is a module or a mapping of modules, got list\.\nFix: pass"):
        models_by_name([nn.Linear(1, 1)])
    with pytest.raises(NotSaveableError, match=r"weight has no shape yet\.\nFix: show the model a batch .*\n    model"):
        model_state(nn.LazyLinear(1))
