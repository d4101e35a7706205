"""`Accumulate`: every update is the mean over its batches, as in the loop that is written by hand."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from treadle import (
    AbstractTrainingPhase,
    BackwardBegin,
    BackwardEnd,
    Callback,
    CallbackConflictError,
    CallbackError,
    CancelEpochException,
    CancelStepException,
    CancelUpdateException,
    CustomCallback,
    Learner,
    LossBegin,
    Read,
    RunFirst,
    StepEnd,
    TrainingPhase,
    UpdateBegin,
    ValidationPhase,
    Write,
    callback_graph,
    hookimpl,
    run_step,
    run_update,
    toy_learner,
)
from treadle.authoring import keep_gradients, position_of
from treadle.errors import ArgumentTypeError, ArgumentValueError, DataError
from treadle.operations import Backward, FinalizeGradients, Forward, Loss, Update
from treadle_checkpoint import Checkpointer, checkpoints, resume
from treadle_optim import SAM, Accumulate, CentraliseGradients, ClipGradients

Batches = list[tuple[torch.Tensor, torch.Tensor]]


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(0.3), nn.Linear(5, 1))


def batches(sizes: list[int]) -> Batches:
    generator = torch.Generator().manual_seed(1)
    inputs = [torch.randn(size, 3, generator=generator) for size in sizes]
    return [(xs, xs.sum(1, keepdim=True)) for xs in inputs]


def sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.05, momentum=0.9)


def learner_with(*callbacks: Callback, model: nn.Module | None = None, **options: Any) -> Learner:
    settings = {"optimizer": sgd, "callbacks": callbacks, "use_default_callbacks": False, **options}
    return Learner(model or network(), nn.MSELoss(), **settings)


def same(first: nn.Module, second: nn.Module) -> bool:
    states = first.state_dict(), second.state_dict()
    return all(torch.equal(states[0][name], states[1][name]) for name in states[0])


# The loops that an expert writes by hand.


def mean_by_hand(n: int, epochs: int, data: Batches) -> nn.Module:
    """The mean over the batches of each update; the last one of an epoch may have fewer."""
    model, lossfn = network(), nn.MSELoss()
    optimizer = sgd(model.parameters())
    torch.manual_seed(7)
    for _ in range(epochs):
        k = 0
        for i, (xs, ys) in enumerate(data, 1):
            if k == 0:
                optimizer.zero_grad()
            loss = lossfn(model(xs), ys)
            (loss / n).backward()
            k += 1
            if k == n or i == len(data):
                if k < n:
                    for parameter in model.parameters():
                        parameter.grad *= n / k
                optimizer.step()
                k = 0
    return model


def weighted_by_hand(n: int, epochs: int, data: Batches, weight: Callable[[Any, Any], float]) -> nn.Module:
    """The mean over all rows, or whatever the weights count, of each update."""
    model, lossfn = network(), nn.MSELoss()
    optimizer = sgd(model.parameters())
    torch.manual_seed(7)
    for _ in range(epochs):
        total, k = 0.0, 0
        for i, (xs, ys) in enumerate(data, 1):
            if k == 0:
                optimizer.zero_grad()
            loss = lossfn(model(xs), ys)
            (loss * weight(xs, ys)).backward()
            total, k = total + weight(xs, ys), k + 1
            if k == n or i == len(data):
                for parameter in model.parameters():
                    parameter.grad /= total
                optimizer.step()
                total, k = 0.0, 0
    return model


SIZES = st.lists(st.integers(2, 6), min_size=1, max_size=9)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 5), st.integers(1, 3), SIZES)
def test_every_update_is_the_mean_over_its_batches(n, epochs, sizes) -> None:
    data = batches(sizes)
    learner = learner_with(Accumulate(n))
    torch.manual_seed(7)
    learner.fit(epochs, (data,))
    assert same(learner.model, mean_by_hand(n, epochs, data))
    assert (learner.progress.steps, learner.progress.updates) == (epochs * len(data), epochs * -(-len(data) // n))


def tokens(step: Any) -> Any:
    return (step.ys > 0).sum() + 1


WEIGHTS = {
    "rows": ("rows", lambda xs, ys: len(xs)),
    "a number": (lambda step: 0.5 + step.xs.shape[0], lambda xs, ys: 0.5 + xs.shape[0]),
    "a tensor": (tokens, lambda xs, ys: (ys > 0).sum().item() + 1),
}


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 5), st.integers(1, 3), SIZES, st.sampled_from(sorted(WEIGHTS)))
def test_with_weights_every_update_is_the_mean_over_all_that_they_count(n, epochs, sizes, name) -> None:
    data, (weight, by_hand) = batches(sizes), WEIGHTS[name]
    learner = learner_with(Accumulate(n, weight=weight))
    torch.manual_seed(7)
    learner.fit(epochs, (data,))
    assert same(learner.model, weighted_by_hand(n, epochs, data, by_hand))


@settings(deadline=None, max_examples=25)
@given(st.integers(2, 4), st.lists(st.integers(1, 6), min_size=1, max_size=7))
def test_by_rows_the_gradients_are_those_of_the_big_batches(n, sizes) -> None:
    data = batches(sizes)
    groups = [data[i : i + n] for i in range(0, len(data), n)]
    big = [(torch.cat([xs for xs, _ in group]), torch.cat([ys for _, ys in group])) for group in groups]
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1)).double()
    whole = learner_with(model=copy.deepcopy(model))
    parts = learner_with(Accumulate(n, weight="rows"), model=model)
    for learner, part in ((whole, big), (parts, data)):
        learner.fit(1, ([(xs.double(), ys.double()) for xs, ys in part],))
    for name, parameter in whole.params.items():
        assert torch.allclose(parameter, parts.params[name], rtol=0, atol=1e-12)


class OfNoLength:
    """Batches of a length that nobody knows."""

    def __init__(self, data: Batches) -> None:
        self.data = data

    def __iter__(self) -> Iterator[Any]:
        return iter(self.data)


def test_the_last_update_of_an_epoch_is_right_where_nobody_knows_how_long_the_data_are() -> None:
    data = batches([4, 3, 5, 2, 4])
    learner = learner_with(Accumulate(3))
    torch.manual_seed(7)
    learner.fit(2, (OfNoLength(data),))
    assert same(learner.model, mean_by_hand(3, 2, data))


def test_of_one_batch_it_does_nothing() -> None:
    assert Accumulate(1).state_access == {}
    learner, plain = learner_with(Accumulate(1, weight=lambda step: 0)), learner_with()
    for one in (learner, plain):
        torch.manual_seed(7)
        one.fit(2, (batches([4, 3, 5]),))
    assert same(learner.model, plain.model)


# Resumed.


@pytest.mark.parametrize("weight", [None, "rows"])
def test_resumed_after_any_step_it_ends_as_the_run_that_never_stopped(weight, tmp_path) -> None:
    data = batches([4, 3, 5, 2, 4, 6, 3])
    saved = Checkpointer(tmp_path, every_steps=1)
    whole = learner_with(Accumulate(3, weight=weight), saved)
    torch.manual_seed(7)
    whole.fit(2, (data,))
    points = checkpoints(tmp_path)
    assert {point.steps for point in points} == set(range(1, 15))
    for point in points:
        rest = learner_with(Accumulate(3, weight=weight))
        resume(rest, point.path)
        rest.fit(2, (data,))
        assert same(rest.model, whole.model), point.steps
        assert rest.progress.updates == whole.progress.updates == 6


@pytest.mark.parametrize("other", [Accumulate(4), Accumulate(3, weight="rows")])
def test_an_update_that_was_begun_otherwise_is_refused(other, tmp_path) -> None:
    data = batches([4] * 5)
    learner_with(Accumulate(3), Checkpointer(tmp_path, every_steps=1)).fit(1, (data,))
    inside, *_ = checkpoints(tmp_path)
    rest = learner_with(other)
    resume(rest, inside.path)
    with pytest.raises(
        CallbackError, match=r"^Accumulate goes on with an update that was begun with another .*\nFix: "
    ):
        rest.fit(1, (data,))


# What is cancelled.


class Raise(Callback):
    """Raises in certain steps of training, at an event."""

    def __init__(self, event: Any, exception: type[Exception], steps: set[int]) -> None:
        self.exception, self.steps = exception, steps
        setattr(self, event.hook, self.handler)

    def handler(self, learner: Any, phase: AbstractTrainingPhase) -> None:
        if learner.progress.step in self.steps:
            raise self.exception("not this one")


CANCELS = st.sampled_from(
    [(LossBegin, CancelStepException), (BackwardEnd, CancelStepException), (BackwardEnd, CancelUpdateException)]
)


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 4), st.integers(1, 9), st.sets(st.integers(1, 9)), CANCELS, st.booleans())
def test_what_is_cancelled_is_in_no_mean(n, count, steps, cancel, weighted) -> None:
    """What is cancelled before its backward pass is one batch less, later it drops those before it too."""
    event, exception = cancel
    data = batches([3 + i % 3 for i in range(count)])
    model, lossfn = network().eval(), nn.MSELoss()
    optimizer = sgd(model.parameters())

    def update(group: Batches) -> None:
        optimizer.zero_grad()
        weights = [float(len(xs)) if weighted else 1.0 for xs, _ in group]
        for (xs, ys), weight in zip(group, weights, strict=True):
            loss = lossfn(model(xs), ys)
            (loss * weight if weighted else loss / n).backward()
        for parameter in model.parameters():
            if weighted:
                parameter.grad /= sum(weights)
            elif len(group) != n:
                parameter.grad *= n / len(group)
        optimizer.step()

    group: Batches = []
    for i, batch in enumerate(data, 1):
        if i in steps:
            group = group if event is LossBegin else []
            continue
        group = [*group, batch]
        if len(group) == n:
            update(group)
            group = []
    if group:
        update(group)

    accumulate = Accumulate(n, weight="rows" if weighted else None)
    learner = learner_with(accumulate, Raise(event, exception, steps), Evaluates(), model=network())
    learner.fit(1, (data,))
    assert same(learner.model, model)


class Evaluates(Callback):
    """Trains in eval mode, in which a forward pass that is cancelled leaves no trace."""

    state_access = {"model": Write}

    def on_epoch_begin(self, learner: Any, phase: AbstractTrainingPhase) -> None:
        learner.model.eval()


def test_a_cancelled_epoch_drops_what_was_accumulated() -> None:
    data = batches([4] * 4)
    learner = learner_with(Accumulate(3), Raise(StepEnd, CancelEpochException, {2}))
    before = copy.deepcopy(learner.model.state_dict())
    learner.fit(3, (data,))
    assert torch.equal(learner.model.state_dict()["0.weight"], before["0.weight"])
    assert (learner.progress.updates, learner.progress.accumulated) == (0, 0)


class Inner(Callback):
    """Trains with a batch after every step of the training."""

    state_access = {"loop": Write}
    inside = False

    def on_step_end(self, learner: Any, phase: TrainingPhase) -> None:
        if not self.inside:
            self.inside = True
            learner.loop.step(TrainingPhase(), (torch.ones(2, 1), torch.ones(2, 1)))
            self.inside = False


def test_training_inside_of_an_update_leaves_it_as_it_is() -> None:
    one = toy_learner(Accumulate(3, weight="rows"), nbatches=7)
    other = toy_learner(Accumulate(3, weight="rows"), Inner(), nbatches=7)
    for learner in (one, other):  # a step inside accumulates, and its epoch is not there to complete its update
        learner.fit(1)
    assert same(one.model, other.model)
    assert (one.progress.updates, other.progress.updates) == (3, 3)


# What others see.


def test_the_loss_is_scaled_for_its_backward_pass_alone() -> None:
    seen = []

    def look(learner: Any) -> None:
        seen.append(learner.step.loss)

    class Inside(Callback):
        state_access = {"step.loss": Read}
        run_after = ("accumulate",)

        @hookimpl(wrapper=True)
        def backward(self, learner: Any) -> Iterator[None]:
            scaled.append(learner.step.loss)
            return (yield)

    scaled: list[torch.Tensor] = []
    access = {"step.loss": Read}
    watchers = [CustomCallback(look, event, TrainingPhase, access) for event in (BackwardBegin, BackwardEnd, StepEnd)]
    toy_learner(Accumulate(4), *watchers, Inside(), nbatches=3).fit(1)
    assert [first is second is third for first, second, third in zip(*[iter(seen)] * 3, strict=True)] == [True] * 3
    assert [4 * loss.item() for loss in scaled] == [loss.item() for loss in seen[::3]]


def test_the_loss_is_put_back_after_an_error_in_the_backward_pass() -> None:
    class Fails(Callback):
        def backward(self) -> None:
            raise RuntimeError("broken")

    learner, seen = toy_learner(Accumulate(4), Fails()), []
    keep = CustomCallback(lambda learner: seen.append(learner.step), BackwardBegin, state_access={"step": Read})
    learner.add_callback(keep)
    with pytest.raises(RuntimeError, match="broken"):
        learner.fit(1)
    xs, ys = learner.data.training[0]
    assert seen[0].loss.item() == learner.lossfn(learner.model(xs), ys).item()


@pytest.mark.parametrize("event", [BackwardEnd, StepEnd])
@pytest.mark.parametrize("access", [{"step.grads": Read}, {"step.grads": Write}, {"step.grads.weight": Read}])
def test_who_uses_gradients_where_they_are_a_part_is_refused_and_told_where_they_are_whole(event, access) -> None:
    early = CustomCallback(lambda learner: None, event, TrainingPhase, access)
    with pytest.raises(
        CallbackConflictError,
        match=rf"CustomCallback uses `step\.grads` at {event.__name__}, where they are a part .*let it use them at "
        r"UpdateBegin, where they are whole",
    ):
        toy_learner(Accumulate(2), early)
    assert toy_learner(Accumulate(1), early).fit(1).epochs == 1


@pytest.mark.parametrize(
    ("event", "phase", "access"),
    [
        (UpdateBegin, TrainingPhase, {"step.grads": Write}),
        (StepEnd, TrainingPhase, {"params": Read}),
        (StepEnd, TrainingPhase, {"step.loss": Read}),
        (StepEnd, ValidationPhase, {"step.grads": Read}),
    ],
)
def test_others_are_not_refused(event, phase, access) -> None:
    watch = CustomCallback(lambda learner: None, event, phase, access)
    assert toy_learner(Accumulate(2), watch).fit(1).epochs == 1


def test_two_of_them_are_refused() -> None:
    with pytest.raises(CallbackConflictError, match=r"An update has one number of batches\. Keep one of them"):
        callback_graph([Accumulate(2), Accumulate(3)])


def test_a_phase_that_does_not_run_updates_is_refused() -> None:
    class ByHand(AbstractTrainingPhase):
        def step(self, learner: Any, batch: Any) -> None:
            with run_step(learner, self, xs=batch[0], ys=batch[1]) as (handle, state):
                state.yhats = handle(Forward)
                state.loss = handle(Loss)
                handle(Backward)
                handle(Update)

    with pytest.raises(CallbackError, match=r"^Accumulate is a guard and handles `accumulate`, `finalize_gradients`, "):
        toy_learner(Accumulate(2)).fit(1, phases=[ByHand()])


# Several models, several passes.


class Adversarial(AbstractTrainingPhase):
    """Two models, each with a loss of its own; the maker is trained in every second step."""

    def step(self, learner: Any, batch: Any) -> None:
        xs, ys = batch
        model = learner.model
        with run_step(learner, self, xs=xs, ys=ys) as (_, state):
            state.critic_loss = nn.functional.mse_loss(model.critic(model.maker(xs)), ys)
            run_update(learner, self, loss="critic_loss", models="critic")
            if learner.progress.step % 2:
                state.maker_loss = -model.critic(model.maker(xs)).mean()
                run_update(learner, self, loss="maker_loss", models="maker")


def pair() -> dict[str, nn.Module]:
    torch.manual_seed(3)
    return {"critic": nn.Linear(2, 1), "maker": nn.Linear(3, 2)}


@pytest.mark.parametrize("weight", [None, "rows"])
@pytest.mark.parametrize("n", [2, 3, 4])
def test_each_of_several_models_is_updated_by_the_mean_over_its_own_batches(n, weight) -> None:
    data = batches([4, 3, 5, 2, 4, 6, 3])
    models = pair()
    critic, maker = models["critic"], models["maker"]
    optimizers = {name: sgd(model.parameters()) for name, model in models.items()}
    grads: dict[str, list[Any]] = {"critic": [], "maker": []}

    def add(name: str, loss: torch.Tensor, rows: int) -> None:
        part = loss * float(rows) if weight else loss / n
        grads[name].append((torch.autograd.grad(part, list(models[name].parameters())), rows))

    def change(name: str) -> None:
        k, total = len(grads[name]), float(sum(rows for _, rows in grads[name]))
        for i, parameter in enumerate(models[name].parameters()):
            gradient = sum(parts[i] for parts, _ in grads[name])
            parameter.grad = gradient / total if weight else gradient * (n / k) if k < n else gradient
        optimizers[name].step()
        grads[name].clear()

    for _ in range(2):
        for i, (xs, ys) in enumerate(data, 1):
            add("critic", nn.functional.mse_loss(critic(maker(xs)), ys), len(xs))
            if len(grads["critic"]) == n:
                change("critic")
            if i % 2:
                add("maker", -critic(maker(xs)).mean(), len(xs))
                if len(grads["maker"]) == n:
                    change("maker")
        for name in [name for name in grads if grads[name]]:
            change(name)
    optimizer = {"critic": sgd, "maker": sgd}
    learner = learner_with(Accumulate(n, weight=weight), model=pair(), optimizer=optimizer)
    learner.fit(2, (data,), phases=[Adversarial()])
    for name, model in models.items():
        assert same(learner.model[name], model), name


class Anew(Callback):
    """Computes the gradients of all batches of an update anew, and makes them whole again."""

    state_access = {"loop": Write, "step": Write}

    def __init__(self) -> None:
        self.batches: list[Any] = []
        self.inside = False

    def resolve_conflict(self, other: Callback) -> Any:
        return RunFirst(self)

    @hookimpl(wrapper=True)
    def backward(self, learner: Any) -> Iterator[None]:
        if not self.inside:
            self.batches.append((learner.step.xs, learner.step.ys))
        return (yield)

    @hookimpl(wrapper=True)
    def finalize_gradients(self, learner: Any) -> Iterator[None]:
        result = yield
        if not self.inside:
            self.inside = True
            for i, (learner.step.xs, learner.step.ys) in enumerate(self.batches):
                learner.step.yhats = learner.loop.perform(Forward)
                learner.step.loss = learner.loop.perform(Loss)
                if i:
                    keep_gradients(learner)
                learner.loop.perform(Backward)
            learner.loop.perform(FinalizeGradients)
            self.batches.clear()
            self.inside = False
        return result


@pytest.mark.parametrize("weight", [None, "rows"])
@pytest.mark.parametrize("n", [2, 3])
def test_gradients_that_are_computed_anew_are_made_whole_anew(n, weight) -> None:
    data = batches([4, 3, 5, 2, 4])
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    once = learner_with(Accumulate(n, weight=weight), model=copy.deepcopy(model))
    twice = learner_with(Accumulate(n, weight=weight), Anew(), model=model)
    for learner in (once, twice):
        learner.fit(2, (data,))
    assert same(once.model, twice.model)


def test_parameters_that_only_an_optimizer_holds_are_averaged_as_well() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, yhats: torch.Tensor, ys: torch.Tensor) -> torch.Tensor:
            return ((self.scale * yhats - ys) ** 2).mean()

    def train(*callbacks: Callback, data: Batches) -> float:
        torch.manual_seed(0)
        model, lossfn = nn.Linear(3, 1), Scaled()
        optimizer = torch.optim.SGD([*model.parameters(), *lossfn.parameters()], lr=0.1)
        settings = {"optimizer": optimizer, "callbacks": callbacks, "use_default_callbacks": False}
        Learner(model, lossfn, **settings).fit(1, (data,))
        return lossfn.scale.item()

    (one,) = batches([4])
    assert train(Accumulate(4), data=[one]) == train(data=[one]) != 1.0


# Weights.


def test_an_update_whose_weights_are_all_zero_is_cancelled_and_warned_about_once(warnings) -> None:
    weights = iter([0, 0, 2, 0, 0, 0])
    learner = learner_with(Accumulate(2, weight=lambda step: next(weights)))
    result = learner.fit(1, (batches([4] * 6),))
    assert (result.steps, learner.progress.updates) == (6, 1)
    assert warnings == [
        "Accumulate: the weights of the batches of an update sum to 0, so it was cancelled. "
        "More of them are not warned about."
    ]


def test_an_update_that_completes_an_epoch_without_weight_is_cancelled(warnings) -> None:
    weights = iter([1, 2, 0])
    learner = learner_with(Accumulate(2, weight=lambda step: next(weights)))
    assert (learner.fit(1, (batches([4] * 3),)).epochs, learner.progress.updates, len(warnings)) == (1, 1, 1)


@pytest.mark.parametrize("xs", ["a tensor", "a tuple", "a mapping"])
def test_rows_are_those_of_the_first_tensor(xs) -> None:
    totals: list[float] = []

    class Sum(nn.Linear):
        def forward(self, first: Any = None, second: Any = None) -> torch.Tensor:
            return super().forward(first)

    def inputs(rows: int) -> Any:
        tensor = torch.ones(rows, 3)
        return {"a tensor": tensor, "a tuple": (tensor, torch.ones(9)), "a mapping": {"first": tensor}}[xs]

    data = [(inputs(rows), torch.ones(rows, 1)) for rows in (2, 3)]
    learner_with(Accumulate(2, weight="rows"), Sums(totals), model=Sum(3, 1)).fit(1, (data,))
    assert totals == [5.0]


class Sums(Callback):
    """Notes the sum of the weights of each update."""

    def __init__(self, sums: list[float]) -> None:
        self.sums = sums

    def on_update_begin(self, learner: Any) -> None:
        self.sums.append(position_of(learner).updates.states["Accumulate"]["weight"])


BAD_WEIGHTS = {
    "negative": (lambda step: -1, ArgumentValueError, "The weight of a batch must be a finite number of at least 0"),
    "NaN": (lambda step: torch.tensor(torch.nan), ArgumentValueError, "The weight of a batch must be a finite number"),
    "infinite": (lambda step: float("inf"), ArgumentValueError, "The weight of a batch must be a finite number"),
    "a text": (lambda step: "rows", ArgumentTypeError, "The weight of a batch must be a finite number"),
    "None": (lambda step: None, ArgumentTypeError, "The weight of a batch must be a finite number"),
    "several": (lambda step: step.ys > 0, ArgumentTypeError, r"must be a number, got a tensor of shape \(8, 1\), bool"),
}


@pytest.mark.parametrize("name", BAD_WEIGHTS)
def test_a_weight_that_cannot_be_used_is_refused_in_the_step(name) -> None:
    weight, error, match = BAD_WEIGHTS[name]
    with pytest.raises(error, match=rf"{match}.*\nFix: "):
        toy_learner(Accumulate(2, weight=weight)).fit(1)


def test_rows_of_no_tensor_are_refused_in_the_step() -> None:
    class Odd(nn.Linear):
        def forward(self, xs: Any) -> torch.Tensor:
            return super().forward(torch.ones(len(xs), 1))

    learner = learner_with(Accumulate(2, weight="rows"), model=Odd(1, 1))
    with pytest.raises(DataError, match=r'weight="rows".*first tensor of `step\.xs`, and there is none\.\nFix: '):
        learner.fit(1, ([("text", torch.ones(4, 1))],))


BAD_ARGUMENTS = {
    "n=0": ((0,), {}, ArgumentValueError, r"Accumulate\(n\) must be a whole number of at least 1, got 0"),
    "n=-3": ((-3,), {}, ArgumentValueError, r"Accumulate\(n\) must be a whole number of at least 1, got -3"),
    "n=1.5": ((1.5,), {}, ArgumentTypeError, r"Accumulate\(n\) must be a whole number of at least 1, got 1\.5"),
    "n=True": ((True,), {}, ArgumentTypeError, r"Accumulate\(n\) must be a whole number"),
    "n='4'": (("4",), {}, ArgumentTypeError, r"Accumulate\(n\) must be a whole number"),
    "weight='row'": ((2,), {"weight": "row"}, ArgumentValueError, r"Accumulate\(weight\) has an invalid value: 'row'"),
    "weight=3": ((2,), {"weight": 3}, ArgumentTypeError, r"Accumulate\(weight\) must be a function, got 3"),
    "weight of nothing": (
        (2,),
        {"weight": lambda: 1},
        ArgumentTypeError,
        r"Accumulate\(weight\) is called with \(step\)",
    ),
}


@pytest.mark.parametrize("name", BAD_ARGUMENTS)
def test_a_bad_argument_is_a_typed_error_with_a_fix(name) -> None:
    arguments, options, error, match = BAD_ARGUMENTS[name]
    with pytest.raises(error, match=rf"^{match}.*\nFix: "):
        Accumulate(*arguments, **options)


def test_it_is_shown_with_its_arguments() -> None:
    assert repr(Accumulate(4, weight="rows")) == "<Accumulate(4, weight='rows')>"


@pytest.mark.parametrize(
    ("callback", "reason"),
    [
        (Accumulate(2), "may compute the gradients itself, of the last batch alone"),
        (ClipGradients(norm=1), "may compute the gradients anew there, without ClipGradients"),
        (CentraliseGradients(), "may compute the gradients anew there, without CentraliseGradients"),
    ],
    ids=repr,
)
def test_an_optimizer_that_computes_the_gradients_itself_is_refused(callback, reason) -> None:
    class Closure(Callback):
        state_access = {"loop": Write, "step": Write, "model": Write, "optimizer": Write}

        def update(self, learner, phase: AbstractTrainingPhase):
            raise AssertionError

    with pytest.raises(CallbackConflictError, match=reason):
        toy_learner(callback, Closure())


@pytest.mark.parametrize("callback", [Accumulate(2), ClipGradients(norm=1), CentraliseGradients(), SAM()], ids=repr)
def test_one_that_does_so_behind_the_learners_back_is_refused_in_its_first_update(callback) -> None:
    class Closure(Callback):
        state_access = {"model": Write, "optimizer": Write, "step": Read, "lossfn": Read}

        def update(self, learner, phase: AbstractTrainingPhase):
            def closure():
                learner.optimizer.zero_grad()
                loss = learner.lossfn(learner.model(learner.step.xs), learner.step.ys)
                loss.backward()
                return loss

            learner.optimizer.step(closure)
            return True

    learner = toy_learner(callback, Closure())
    with pytest.raises(CallbackError, match=rf"^Closure computed gradients anew in `update`, .* {callback.name} \(at"):
        learner.fit(1)
    assert learner.progress.updates == 0
