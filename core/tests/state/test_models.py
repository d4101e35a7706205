import pytest
import torch
from torch import nn
from treadle import (
    ArgumentTypeError,
    Learner,
    PropDict,
)

BATCH = (torch.ones(2, 1), torch.ones(2, 1))
MODEL = nn.Linear(1, 1)
TWO = {"a": nn.Linear(1, 1), "b": nn.Linear(2, 2)}


def learner(model=MODEL, lossfn=nn.functional.l1_loss, **arguments) -> Learner:
    return Learner(model, lossfn, **{"use_default_callbacks": False, **arguments})


# Models.


def test_a_model_is_kept_as_it_is() -> None:
    made = learner()
    assert (made.model, made.models) == (MODEL, [MODEL])
    assert dict(made.params) == dict(MODEL.named_parameters())
    assert made.params.weight is MODEL.weight


def test_of_a_mapping_of_models_there_are_the_parameters_of_each() -> None:
    made = learner(TWO)
    assert type(made.model) is PropDict
    assert (made.model.a, made.model["b"]) == (TWO["a"], TWO["b"])
    assert made.params.a.weight is TWO["a"].weight
    assert sorted(made.params.b) == ["bias", "weight"]


def test_nested_names_of_parameters_are_items() -> None:
    assert learner(nn.Sequential(nn.Linear(1, 1))).params["0.weight"].shape == (1, 1)


@pytest.mark.parametrize("name", ["values", "items", "keys", "get", "update", "two words", "class"])
def test_a_model_may_have_any_name(name) -> None:
    made = learner({name: nn.Linear(1, 1), "other": nn.Linear(1, 1)}, optimizer={name: torch.optim.SGD})
    assert (len(made.models), list(made.optimizer), list(made.params)) == (2, [name], [name, "other"])


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (
            nn.Linear,
            ArgumentTypeError,
            r"^The model must be .*, got the class Linear\.\nFix: make an instance:\n    Linear\(\.\.\.\)$",
        ),
        (len, ArgumentTypeError, r", got a builtin_function_or_method\.\nFix: pass a torch\.nn\.Module\.$"),
        (None, ArgumentTypeError, r"got a NoneType\.\nFix: pass a torch\.nn\.Module"),
        ([nn.Linear(1, 1)], ArgumentTypeError, r"got a list\.\nFix: pass a torch"),
        (
            {},
            ArgumentTypeError,
            r"^A mapping of models must .*, got \{\}\.\nFix: .*:\n    \{'generator': nn\.Linear\(1, 1\)\}$",
        ),
        ({"a": 3}, ArgumentTypeError, r"A mapping of models must map names to modules, got \{.a.: 3\}"),
        ({1: nn.Linear(1, 1)}, ArgumentTypeError, r"A mapping of models must map names to modules"),
    ],
)
def test_what_is_not_a_model_is_refused(model, error, message) -> None:
    with pytest.raises(error, match=message):
        learner(model)


def test_a_model_without_parameters_beside_one_with_them_is_fine() -> None:
    assert len(learner({"a": nn.ReLU(), "b": nn.Linear(1, 1)}).models) == 2


def test_setting_the_model_sets_its_parameters_too_and_refuses_what_is_not_a_model() -> None:
    made, other = learner(), nn.Linear(3, 3)
    made.model = other
    assert (made.model, made.params.weight) == (other, other.weight)
    with pytest.raises(ArgumentTypeError, match="got a int"):
        made.model = 3
    assert made.model is other


# Optimizers.


def needy(params, rate):
    """Needs more than the parameters."""


def test_an_optimizer_is_kept_as_it_is() -> None:
    optimizer = torch.optim.SGD(MODEL.parameters(), lr=0.1)
    made = learner(optimizer=optimizer)
    assert (made.optimizer, made.optimizers) == (optimizer, [optimizer])


@pytest.mark.parametrize("maker", [torch.optim.Adam, torch.optim.AdamW, lambda params: torch.optim.SGD(params, lr=0.1)])
def test_of_a_function_of_the_parameters_the_learner_holds_what_it_made(maker) -> None:
    made = learner(optimizer=maker)
    assert isinstance(made.optimizer, torch.optim.Optimizer)
    assert made.optimizer.param_groups[0]["params"] == [MODEL.weight, MODEL.bias]


def test_the_default_is_adam() -> None:
    assert type(learner().optimizer) is torch.optim.Adam


def test_one_optimizer_for_several_models_holds_the_parameters_of_all_each_once() -> None:
    shared = nn.Linear(1, 1)
    made = learner({"a": shared, "b": nn.Sequential(shared, nn.Linear(1, 1))})
    assert len(made.optimizer.param_groups[0]["params"]) == 4


def test_each_model_may_have_its_own_optimizer_or_none() -> None:
    made = learner(TWO, optimizer={"b": torch.optim.SGD})
    assert type(made.optimizer) is PropDict
    assert list(made.optimizer) == ["b"]
    assert made.optimizer.b.param_groups[0]["params"] == [TWO["b"].weight, TWO["b"].bias]


def test_an_optimizer_that_two_models_share_steps_once() -> None:
    models = {"a": nn.Linear(1, 1), "b": nn.Linear(1, 1)}
    optimizer = torch.optim.SGD([*models["a"].parameters(), *models["b"].parameters()], lr=0.1)
    assert learner(models, optimizer={"a": optimizer, "b": optimizer}).optimizers == [optimizer]


@pytest.mark.parametrize(
    ("model", "optimizer", "message"),
    [
        (
            MODEL,
            None,
            r"^The optimizer must be .*, got None\.\nFix: write, for example:\n    optimizer=torch\.optim\.Adam$",
        ),
        (MODEL, "adam", r"The optimizer must be an instance or a function of the parameters, got 'adam'"),
        (MODEL, 0.1, r"got 0\.1\.\nFix"),
        (
            MODEL,
            {"a": torch.optim.SGD},
            r"There are several optimizers and one model\.\nFix: pass one optimizer, or a mapping of models",
        ),
        (
            TWO,
            {"c": torch.optim.SGD},
            r"There is an optimizer for 'c', and no such model\. There is: a, b\.\nFix: give the",
        ),
        (TWO, {"a": 3}, r"The optimizer must be an instance or a function of the parameters, got 3"),
        (MODEL, len, r"len made 2 of the parameters, which is not a torch optimizer\.\nFix: pass"),
        (MODEL, lambda params: None, r"<lambda> made None of the parameters, which is not a torch optimizer"),
    ],
)
def test_what_is_not_an_optimizer_is_refused(model, optimizer, message) -> None:
    with pytest.raises(ArgumentTypeError, match=message):
        learner(model, optimizer=optimizer)


def test_a_function_that_needs_more_than_the_parameters_is_shown_with_them() -> None:
    with pytest.raises(
        ArgumentTypeError,
        match=r"^optimizer is called with \(parameters\), and needy takes \(params, rate\)\.\n"
        r"Fix: write, for example:\n    optimizer=functools\.partial\(needy, lr=0\.1\)$",
    ):
        learner(optimizer=needy)


# Loss function, runner, defaults.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"lossfn": nn.MSELoss},
            r"^lossfn must be a function of .*, got the class MSELoss\.\nFix: make an instance:\n    MSELoss\(\)$",
        ),
        (
            {"lossfn": torch.ones(1)},
            r"^lossfn must be a function, got tensor.*\nFix: .*:\n    Learner\(model, torch\.nn\.functional\.mse",
        ),
        ({"runner": "threads"}, r"^runner must be an instance of CallbackRunner, got 'threads'\."),
        ({"runner": type}, r"^runner must be an instance of CallbackRunner, got the class type"),
        (
            {"use_default_callbacks": None},
            r"^use_default_callbacks must be True, False or a list of names, got None\.",
        ),
        ({"use_default_callbacks": "no"}, r"^use_default_callbacks must be True, False or a list of names, got 'no'"),
    ],
)
def test_a_wrong_type_is_refused(arguments, message) -> None:
    with pytest.raises(ArgumentTypeError, match=message):
        learner(**arguments)
