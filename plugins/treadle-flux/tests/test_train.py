"""The loop: what is computed of each data point, what changes, what callbacks and losses may say."""

import math
from collections.abc import Callable

import pytest
import torch
from loguru import logger
from torch import nn
from treadle import CustomCallback, Learner, StepEnd
from treadle.errors import ArgumentTypeError, ArgumentValueError, DataError, LossError
from treadle_flux import DataLoader, DomainError, ObjectivePhase, epochs, params, skip, stop, train


def pair(rows: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.linspace(-1, 1, rows).reshape(-1, 1)
    return x, 2 * x


def linear() -> nn.Linear:
    model = nn.Linear(1, 1)
    with torch.no_grad():
        model.weight.fill_(1)
        model.bias.fill_(0)
    return model


def mse(yhats: torch.Tensor, ys: torch.Tensor) -> torch.Tensor:
    return (yhats - ys).square().mean()


def sgd(model: nn.Module, lr: float = 0.1) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=lr)


def by_hand(model: nn.Module, optimizer: torch.optim.Optimizer, data: list) -> None:
    for x, y in data:
        optimizer.zero_grad()
        mse(model(x), y).backward()
        optimizer.step()


def weights(model: nn.Module) -> list[float]:
    return [value for parameter in model.parameters() for value in parameter.flatten().tolist()]


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_both_styles_are_the_loop_by_hand_bit_by_bit(optimizer: Callable) -> None:
    data = [(torch.randn(4, 1), torch.randn(4, 1)) for _ in range(5)]
    models = [linear() for _ in range(3)]
    optimizers = [optimizer(model.parameters(), lr=0.01) for model in models]
    for _ in range(3):  # the optimizer's state goes on from call to call
        by_hand(models[0], optimizers[0], data)
        train(lambda model, x, y: mse(model(x), y), models[1], data, optimizers[1])
        train(lambda x, y: mse(models[2](x), y), params(models[2]), data, optimizers[2])
    assert weights(models[1]) == weights(models[0])
    assert weights(models[2]) == weights(models[0])


@pytest.mark.parametrize(
    ("point", "arguments"),
    [
        ((1, 2, 3), (1, 2, 3)),
        ([1, 2], (1, 2)),  # as torch's loaders make them
        ((1,), (1,)),
        ({"x": 1}, ({"x": 1},)),
        (7, (7,)),
        (None, (None,)),
    ],
)
def test_a_tuple_is_passed_item_by_item_and_anything_else_as_it_is(point, arguments) -> None:
    model, seen = linear(), []

    def implicit(*items: object) -> torch.Tensor:
        seen.append(items)
        return model.weight.sum()

    def explicit(passed: nn.Module, *items: object) -> torch.Tensor:
        assert passed is model
        return implicit(*items)

    train(implicit, params(model), [point], sgd(model))
    train(explicit, model, [point], sgd(model))
    assert seen == [arguments, arguments]


@pytest.mark.parametrize("data", [[pair()] * 3, zip([pair()[0]] * 3, [pair()[1]] * 3, strict=True), (pair(), pair())])
def test_data_are_any_iterable_of_points(data) -> None:
    model = linear()
    assert train(lambda x, y: mse(model(x), y), params(model), data, sgd(model)).steps in (2, 3)


def test_a_loader_gives_data_points() -> None:
    model, (x, y) = linear(), pair(60)
    result = train(lambda model, x, y: mse(model(x), y), model, DataLoader((x, y), 8, shuffle=True), sgd(model))
    assert (result.epochs, result.steps, result.cancelled) == (1, 8, None)


def test_several_models_are_a_mapping() -> None:
    models = {"first": nn.Linear(1, 2), "second": nn.Linear(2, 1)}
    optimizer = torch.optim.SGD([p for model in models.values() for p in model.parameters()], lr=0.1)
    before = weights(models["first"])
    train(lambda models, x, y: mse(models["second"](models["first"](x)), y), models, [pair()], optimizer)
    assert weights(models["first"]) != before


def test_only_the_parameters_that_are_passed_are_changed_and_get_a_gradient() -> None:
    model = nn.Sequential(nn.Linear(1, 3), nn.Linear(3, 1))
    optimizer, last = torch.optim.Adam(model.parameters(), weight_decay=0.1), weights(model[1])
    first = weights(model[0])
    train(lambda x, y: mse(model(x), y), params(model[:1]), [pair()] * 2, optimizer)
    assert weights(model[1]) == last
    assert weights(model[0]) != first
    assert model[1].weight.grad is None


def test_gradients_of_what_no_optimizer_holds_are_left_as_they_are() -> None:
    model, other = linear(), linear()
    train(lambda model, x, y: mse(other(model(x)), y), model, [pair()], sgd(model))
    assert other.weight.grad is None


def test_tensors_alone_can_be_trained() -> None:
    weight = torch.tensor([1.0], requires_grad=True)
    train(lambda x, y: mse(weight * x, y), params(weight), [pair()] * 50, torch.optim.SGD([weight], lr=0.5))
    assert weight.item() == pytest.approx(2)


def test_frozen_parameters_stay_as_they_are() -> None:
    model = linear()
    model.bias.requires_grad_(requires_grad=False)
    train(lambda model, x, y: mse(model(x), y + 1), model, [pair()], sgd(model))
    assert model.bias.item() == 0


def test_callbacks_are_called_in_order_after_each_update() -> None:
    model, seen = linear(), []
    calls = [lambda: seen.append(model.weight.item()), lambda: seen.append("second")]
    train(lambda model, x, y: mse(model(x), y), model, [pair()] * 2, sgd(model), cb=calls)
    assert seen[1::2] == ["second", "second"]
    assert 1 < seen[0] < seen[2] == model.weight.item()


def test_one_callback_needs_no_list() -> None:
    model, seen = linear(), []
    train(lambda x, y: mse(model(x), y), params(model), [pair()] * 3, sgd(model), cb=lambda: seen.append(1))
    assert seen == [1, 1, 1]


@pytest.mark.parametrize("style", ["explicit", "implicit"])
def test_models_train_in_training_mode_and_callbacks_evaluate_them(style: str) -> None:
    model = nn.Sequential(nn.Linear(1, 1), nn.Dropout(0.5), nn.BatchNorm1d(1)).eval()
    modes = []

    def loss(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        modes.append(("loss", model.training, model[1].training))
        return mse(model(x), y)

    def evaluate() -> None:
        modes.append(("cb", model.training, model[1].training))

    if style == "explicit":
        train(lambda _, x, y: loss(x, y), model, [pair()] * 2, sgd(model), cb=evaluate)
    else:
        train(loss, params(model), [pair()] * 2, sgd(model), cb=evaluate)
    assert modes == [("loss", True, True), ("cb", False, False)] * 2
    assert not model.training


def test_the_modes_are_put_back_when_a_callback_fails() -> None:
    model = linear()

    def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        train(lambda model, x, y: mse(model(x), y), model, [pair()], sgd(model), cb=fail)
    assert model.training


def test_stop_in_a_callback_ends_the_pass_after_the_update() -> None:
    model, seen = linear(), []

    def enough() -> None:
        seen.append(model.weight.item())
        if len(seen) == 2:
            stop("accurate enough")

    result = train(lambda model, x, y: mse(model(x), y), model, [pair()] * 9, sgd(model), cb=enough)
    assert (result.epochs, result.steps, result.cancelled.args) == (0, 2, ("accurate enough",))
    assert seen[1] == model.weight.item()


def test_stop_ends_the_train_under_way_and_not_the_epochs_around_it() -> None:
    model = linear()
    results = [train(lambda model, x, y: mse(model(x), y), model, [pair()] * 9, sgd(model), cb=stop) for _ in epochs(2)]
    assert [(result.steps, str(result.cancelled)) for result in results] == [(1, "stop() was called")] * 2


def test_stop_in_the_loss_ends_the_pass_before_the_update() -> None:
    model, seen = linear(), []

    def loss(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return stop("no more") if seen else mse(model(x), y)

    result = train(loss, params(model), [pair()] * 9, sgd(model), cb=lambda: seen.append(model.weight.item()))
    assert (result.steps, result.cancelled.args, [model.weight.item()]) == (1, ("no more",), seen)


def test_skip_in_the_loss_leaves_out_the_update_and_the_callbacks() -> None:
    model, seen = linear(), []

    def loss(i: int) -> torch.Tensor:
        return skip() if i == 1 else mse(model(pair()[0]), pair()[1])

    result = train(loss, params(model), [0, 1, 2], sgd(model), cb=lambda: seen.append(model.weight.item()))
    assert (result.epochs, result.steps, len(seen), seen[-1]) == (1, 2, 2, model.weight.item())


def test_skip_in_a_callback_leaves_out_the_callbacks_after_it() -> None:
    model, seen = linear(), []
    result = train(
        lambda model, x, y: mse(model(x), y),
        model,
        [pair()] * 3,
        sgd(model),
        cb=[lambda: seen.append(1), skip, lambda: seen.append(2)],
    )
    assert (result.epochs, seen) == (1, [1, 1, 1])


@pytest.mark.parametrize("style", ["explicit", "implicit"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_updates_nothing_and_names_the_data_point(style: str, bad: float) -> None:
    model = linear()
    optimizer, seen = torch.optim.Adam(model.parameters()), []

    def loss(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return mse(model(x), y)

    x, y = pair()
    data = [(x, y), (x, y + bad), (x, y)]
    arguments = (lambda _, x, y: loss(x, y), model) if style == "explicit" else (loss, params(model))
    shown = "nan" if math.isnan(bad) else "inf"
    with pytest.raises(
        DomainError, match=f"^The loss is {shown} on data point 2, so the parameters were not"
    ) as raised:
        train(*arguments, data, optimizer, cb=lambda: seen.append(weights(model)))
    assert (raised.value.step, len(seen), seen[-1]) == (2, 1, weights(model))


def test_the_random_numbers_are_those_of_the_loop_by_hand() -> None:
    def run(step: Callable[[nn.Module, torch.optim.Optimizer], object]) -> list[float]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(1, 8), nn.Dropout(0.5), nn.Linear(8, 1))
        step(model, sgd(model))
        return weights(model)

    data = [pair()] * 4
    assert run(lambda model, optimizer: by_hand(model, optimizer, data)) == run(
        lambda model, optimizer: train(lambda model, x, y: mse(model(x), y), model, data, optimizer)
    )


def test_epochs_are_counted_and_logged() -> None:
    messages: list[str] = []
    sink = logger.add(lambda text: messages.append(text.strip()), format="{message}", level="INFO")
    try:
        assert list(epochs(2)) == [1, 2]
    finally:
        logger.remove(sink)
    assert messages == ["Epoch 1", "Epoch 2"]


@pytest.mark.parametrize(("n", "error"), [(1.5, ArgumentTypeError), (-1, ArgumentValueError)])
def test_a_number_of_epochs_that_is_none_is_refused_at_once(n, error) -> None:
    with pytest.raises(error, match=f"n must be a whole number of at least 0, got {n}"):
        epochs(n)


def train_with(**options: object) -> None:
    model = linear()
    defaults = {"loss": lambda model, x, y: mse(model(x), y), "model": model, "data": [pair()], "optimizer": sgd(model)}
    train(**{**defaults, **options})


OTHER = linear()

WRONG = [
    ({"loss": 3}, ArgumentTypeError, "loss must be a function, got 3"),
    (
        {"loss": lambda x, y: x},
        ArgumentTypeError,
        r"loss function is called with \(Linear, Tensor, Tensor\), and .*x, y",
    ),
    ({"loss": lambda model, x, y: 0.5}, LossError, r"returned 0.5; a loss is one number in a tensor.\nFix: reduce it"),
    ({"loss": lambda model, x, y: model(x)}, LossError, r"returned a tensor of shape \(4, 1\)"),
    ({"loss": lambda model, x, y: mse(x, y)}, LossError, "depends on none of the parameters .*\nFix: compute it from"),
    ({"loss": lambda model, x, y: mse(OTHER(x), y)}, LossError, "depends on none of the parameters that are trained"),
    ({"model": 3}, ArgumentTypeError, "must be a model or parameters, got a int"),
    ({"model": [linear()]}, ArgumentTypeError, "is a list of modules.\nFix: pass their parameters"),
    ({"model": params()}, ArgumentValueError, "There is no parameter to be trained.\nFix: pass some"),
    ({"model": linear()}, ArgumentValueError, r"does not hold 2 of the parameters.*\(1, 1\), \(1,\).\nFix: make it"),
    ({"model": params(linear())}, ArgumentValueError, "does not hold 2 of the parameters"),
    ({"model": nn.ReLU()}, ArgumentValueError, "Every parameter of the ReLU is frozen"),
    ({"optimizer": torch.optim.Adam}, ArgumentTypeError, "must be an instance, .* got Adam.\nFix: make it once"),
    (
        {"data": pair()},
        ArgumentTypeError,
        r"got a tuple of 2 tensors, which looks like one data point.\nFix: pass a list",
    ),
    ({"data": pair()[0]}, ArgumentTypeError, "got a Tensor, which looks like one data point"),
    ({"data": {"x": 1}}, ArgumentTypeError, "got a dict, which looks like one data point"),
    ({"data": 3}, DataError, "needs an iterable of batches, got 3"),
    ({"cb": 3}, ArgumentTypeError, "cb must be a function without arguments or a list of these, got 3"),
    ({"cb": [3]}, ArgumentTypeError, "cb must be a function, got 3"),
    ({"cb": lambda learner: 0}, ArgumentTypeError, r"cb is called with \(\), and <lambda> takes \(learner\)"),
]


@pytest.mark.parametrize(("options", "error", "message"), WRONG)
def test_what_cannot_be_trained_is_refused(options, error, message: str) -> None:
    with pytest.raises(error, match=f"(?s){message}"):
        train_with(**options)


@pytest.mark.parametrize("wrap", [lambda callback: callback, lambda callback: [callback]])
def test_a_callback_of_a_learner_is_refused_with_the_learner_that_takes_it(wrap) -> None:
    message = r"cb got CustomCallback, a callback of a learner.*\nFix: .*\n    learner = Learner\(model, loss,"
    with pytest.raises(ArgumentTypeError, match=f"(?s){message}"):
        train_with(cb=wrap(CustomCallback(print, StepEnd)))


@pytest.mark.parametrize("data", [list, lambda: iter([]), lambda: zip([], [], strict=True), lambda: DataLoader(pair())])
@pytest.mark.parametrize("implicit", [True, False])
def test_data_without_a_data_point_leave_everything_as_it_is(data, implicit) -> None:
    model, called = linear(), []
    before, optimizer, points = weights(model), sgd(model), data()
    if isinstance(points, DataLoader):
        points = (point for point in points if len(point) > 2)  # which nobody can know before
    trained = params(model) if implicit else model
    result = train(lambda *_: 1 / 0, trained, points, optimizer, cb=lambda: called.append(1))
    assert (result.steps, result.cancelled, called) == (0, None, [])
    assert weights(model) == before
    assert not optimizer.state


def test_an_error_of_a_loss_is_passed_on() -> None:
    def loss(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        raise TypeError("inside")

    with pytest.raises(TypeError, match="inside"):
        train_with(loss=loss)


def test_a_learner_trains_by_an_objective_as_train_does() -> None:
    data = [(torch.randn(4, 1), torch.randn(4, 1)) for _ in range(5)]
    first, second = linear(), linear()
    by_hand(first, sgd(first), data * 2)
    learner = Learner(
        second, lambda model, x, y: mse(model(x), y), data=(data,), optimizer=sgd(second), use_default_callbacks=False
    )
    assert learner.fit(2, phases=[ObjectivePhase()]).steps == 10
    assert weights(second) == weights(first)
