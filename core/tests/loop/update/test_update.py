"""The update: which gradients it uses, what is dispatched around it, and what a cancel leaves."""

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
    CancelEpochException,
    CancelFittingException,
    CancelStepException,
    CancelUpdateException,
    CustomCallback,
    EpochBegin,
    EpochEnd,
    FitBegin,
    FitEnd,
    Learner,
    LossBegin,
    NoConflict,
    Read,
    StepBegin,
    StepEnd,
    TrainingPhase,
    UpdateBegin,
    UpdateEnd,
    ValidationPhase,
    Write,
    hookimpl,
    run_step,
    run_update,
    step,
    toy_learner,
)
from treadle.authoring import state_of_update, update_under_way
from treadle.errors import ArgumentValueError, CallbackError, CancelError
from treadle.operations import Accumulate, Backward, FinalizeGradients, Forward, Loss, Update


class Every(Callback):
    """Updates after every `n` batches."""

    def __init__(self, n: int) -> None:
        self.n = n

    def accumulate(self, learner, phase: AbstractTrainingPhase):
        return learner.progress.accumulated + 1 < self.n


class Tape(Callback):
    """Notes what is dispatched and done in training."""

    def __init__(self) -> None:
        self.lines: list[str] = []


for event in (StepBegin, BackwardEnd, UpdateBegin, UpdateEnd, StepEnd, EpochEnd):

    def handle(self, learner, phase: AbstractTrainingPhase, name=event.__name__):
        self.lines.append(name)

    setattr(Tape, event.hook, handle)
for operation in ("finalize_gradients", "update"):

    def wrap(self, learner, phase: AbstractTrainingPhase, name=operation):
        self.lines.append(name)
        return (yield)

    setattr(Tape, operation, hookimpl(wrapper=True)(wrap))


class Raiser(Callback):
    """Raises at the n-th call of a hook."""

    def __init__(self, hook: str, exception: type[Exception], n: int = 1) -> None:
        self.left, self.exception = n, exception
        self.hook = hook


def raiser(hook: type, exception: type[Exception], n: int = 1) -> Callback:
    def handle(self, learner):
        self.left -= 1
        if not self.left:
            raise self.exception("stop")

    return type("Raiser", (Raiser,), {hook.hook: handle})(hook.hook, exception, n)


UPDATE = ["finalize_gradients", "UpdateBegin", "update", "UpdateEnd"]


def test_a_step_that_accumulates_has_no_update() -> None:
    tape = Tape()
    toy_learner(tape, Every(2), nbatches=4).fit(1)
    one, other = ["StepBegin", "BackwardEnd", "StepEnd"], ["StepBegin", "BackwardEnd", *UPDATE, "StepEnd"]
    assert tape.lines == [*one, *other, *one, *other, "EpochEnd"]


def test_an_epoch_that_ends_inside_an_update_completes_it() -> None:
    tape, seen = Tape(), []

    def look(learner) -> None:
        state = learner.step
        seen.append((sorted(state), state.accumulating, learner.progress.accumulated, learner.progress.step))

    access = {"step": Read}
    after = CustomCallback(lambda learner: seen.append(sorted(learner.step)), EpochEnd, TrainingPhase, access)
    learner = toy_learner(tape, Every(3), CustomCallback(look, UpdateBegin, state_access=access), after, nbatches=4)
    result = learner.fit(1)
    assert tape.lines[-6:] == ["StepEnd", *UPDATE, "EpochEnd"]
    assert seen[-2:] == [
        (["accumulating", "grads"], False, 1, 4),
        ["accumulating", "grads", "loss", "xs", "yhats", "ys"],
    ]
    assert (result.steps, result.epochs, learner.progress.updates, learner.progress.accumulated) == (4, 1, 2, 0)


# What is cancelled.


@pytest.mark.parametrize("hook", [BackwardBegin, BackwardEnd, FinalizeGradients, UpdateBegin, Update])
def test_a_cancelled_update_drops_its_gradients_and_the_step_goes_on(hook) -> None:
    tape = Tape()
    learner = toy_learner(tape, raiser(hook, CancelUpdateException), nbatches=2)
    before = learner.model.weight.item()
    state = step(learner, TrainingPhase(), learner.data.training[0])
    assert (tape.lines[-1], "UpdateEnd" in tape.lines) == ("StepEnd", False)
    assert (learner.model.weight.item(), learner.progress.updates, learner.progress.steps) == (before, 0, 1)
    step(learner, TrainingPhase(), learner.data.training[1])
    assert (learner.progress.updates, learner.progress.accumulated, "loss" in state) == (1, 0, True)


def test_a_cancelled_update_drops_the_gradients_of_earlier_batches_too() -> None:
    seen = []
    look = CustomCallback(lambda learner: seen.append(learner.progress.accumulated), BackwardEnd)
    toy_learner(Every(3), raiser(BackwardEnd, CancelUpdateException, 2), look, nbatches=5).fit(1)
    assert seen == [1, 2, 1, 2, 3]


def test_an_update_cancelled_from_its_own_end_is_counted() -> None:
    learner = toy_learner(raiser(UpdateEnd, CancelUpdateException), nbatches=2)
    assert (learner.fit(1).steps, learner.progress.updates) == (2, 2)


@pytest.mark.parametrize("kind", [CancelUpdateException, CancelStepException])
def test_an_update_that_completes_an_epoch_can_be_cancelled_also_as_in_a_step(kind) -> None:
    tape = Tape()
    learner = toy_learner(tape, Every(2), raiser(UpdateBegin, kind, 2), nbatches=3)
    result = learner.fit(1)
    assert tape.lines[-3:] == ["finalize_gradients", "UpdateBegin", "EpochEnd"]
    assert (result.epochs, learner.progress.updates, learner.progress.accumulated) == (1, 1, 0)


def test_an_epoch_cancelled_by_the_update_that_completes_it_is_not_counted() -> None:
    learner = toy_learner(Every(2), raiser(UpdateBegin, CancelEpochException, 2), nbatches=3)
    result = learner.fit(1)
    assert (result.epochs, result.steps, learner.progress.updates) == (0, 3, 1)


@pytest.mark.parametrize("event", [FitBegin, EpochBegin, StepBegin, LossBegin, StepEnd, EpochEnd, FitEnd])
def test_a_cancel_of_an_update_where_none_is_under_way_is_an_error_by_name(event) -> None:
    learner = toy_learner(Every(2), raiser(event, CancelUpdateException))
    with pytest.raises(
        CancelError, match=r"^CancelUpdateException was raised where no update was under way: stop\.\nFix: "
    ):
        learner.fit(1)
    assert learner.fit(1).epochs == 1


@pytest.mark.parametrize("kind", [CancelStepException, CancelEpochException, CancelFittingException])
def test_of_two_cancels_the_wider_counts(kind) -> None:
    tape = Tape()
    learner = toy_learner(tape, raiser(UpdateBegin, CancelUpdateException), raiser(UpdateBegin, kind), nbatches=2)
    result = learner.fit(1)
    assert ("update" in tape.lines, result.cancelled is not None) == (
        kind is CancelStepException,
        kind is CancelFittingException,
    )
    assert learner.progress.steps == (kind is CancelStepException)


# What `update` returns.


class Skip(Callback):
    """Updates in every second call alone."""

    calls = 0

    def update(self):
        self.calls += 1
        return False if self.calls % 2 else None


def test_an_update_that_changed_nothing_has_no_end_is_not_counted_and_uses_its_gradients_up() -> None:
    tape, seen = Tape(), []
    access = {"step.grads": Read}
    late = CustomCallback(
        lambda learner: seen.append(learner.step.grads["weight"].item()), StepEnd, TrainingPhase, access
    )
    ones = [(torch.full((1, 1), 1.0), torch.full((1, 1), 100.0))] * 4
    learner = toy_learner(tape, Skip(), late)
    learner.fit(1, (ones,))
    assert tape.lines.count("UpdateBegin") == 4
    assert (tape.lines.count("UpdateEnd"), learner.progress.updates) == (2, 2)
    assert seen == [-1.0] * 4


@pytest.mark.parametrize("result", ["yes", 3, torch.tensor(True)])
@pytest.mark.parametrize("name", ["update", "accumulate"])
def test_a_result_that_is_no_answer_is_refused_by_name(name, result) -> None:
    cls = type("Odd", (Callback,), {name: lambda self: result})
    with pytest.raises(CallbackError, match=rf"^The operation `{name}`, which a callback handles, returned .*\nFix: "):
        toy_learner(cls()).fit(1)


def test_gradients_can_be_read_until_the_next_backward_pass_begins() -> None:
    seen = []

    class Late(Callback):
        state_access = {"params": Read}

        def on_loss_begin(self, learner, phase: TrainingPhase):
            seen.append(learner.params["weight"].grad)

        @hookimpl(wrapper=True)
        def backward(self, learner):
            seen.append(learner.params["weight"].grad)
            return (yield)

    toy_learner(Late(), nbatches=2).fit(1)
    assert seen[:2] == [None, None]
    assert seen[2] is not None
    assert seen[3] is None


# The same as by hand, whatever is drawn.


@st.composite
def scripts(draw):
    """For each step whether it accumulates, and what happens in it."""
    happens = st.sampled_from([None, None, None, "step early", "step late", "update", "skip", "validate", "train"])
    return draw(st.lists(st.tuples(st.booleans(), happens), min_size=1, max_size=12))


class Follow(Callback):
    """Follows a script."""

    state_access = {"loop": Write}

    def __init__(self, script) -> None:
        self.script = script

    def now(self, learner):
        return self.script[learner.progress.step - 1]

    def accumulate(self, learner, phase: TrainingPhase):
        return self.now(learner)[0]

    def on_loss_begin(self, learner, phase: TrainingPhase):
        if self.now(learner)[1] == "step early":
            raise CancelStepException

    def on_backward_end(self, learner, phase: TrainingPhase):
        happens = self.now(learner)[1]
        if happens == "validate":
            learner.loop.step(ValidationPhase(), BATCH)
        if happens in ("step late", "update"):
            raise CancelStepException if happens == "step late" else CancelUpdateException

    def on_step_end(self, learner, phase: TrainingPhase):
        if self.now(learner)[1] == "train":
            learner.loop.step(Inner(), BATCH)

    def update(self, learner, phase: TrainingPhase):
        # An epoch that completes an update does so as its last step would have.
        return False if self.now(learner)[1] == "skip" else None


class Inner(AbstractTrainingPhase):
    """Trains with a batch, inside of a step of training."""

    def step(self, learner, batch):
        TrainingPhase.step(self, learner, batch)


BATCH = (torch.full((2, 1), 0.5), torch.full((2, 1), 4.0))


def by_hand(script, data) -> tuple[float, int]:
    weight = torch.zeros(1, 1, requires_grad=True)
    updates = 0

    def add(xs, ys) -> None:
        nn.functional.l1_loss(xs @ weight, ys).backward()

    def change() -> None:
        nonlocal updates
        with torch.no_grad():
            weight.sub_(weight.grad, alpha=0.001)
        weight.grad = None
        updates += 1

    for (accumulates, happens), (xs, ys) in zip(script, data, strict=True):
        if happens == "step early":
            continue
        add(xs, ys)
        if happens in ("step late", "update"):
            weight.grad = None
        elif not accumulates:
            if happens == "skip":
                weight.grad = None
            else:
                change()
        if happens == "train":
            kept, weight.grad = weight.grad, None
            add(*BATCH)
            change()
            weight.grad = kept
    if weight.grad is not None and script[-1][1] != "skip":
        change()
    return weight.item(), updates


@settings(deadline=None, max_examples=60)
@given(scripts())
def test_any_sequence_of_steps_changes_the_weights_as_the_loop_by_hand_does(script) -> None:
    torch.manual_seed(0)
    data = [(torch.rand(4, 1), 3 * torch.rand(4, 1)) for _ in script]
    learner = toy_learner(Follow(script))
    learner.fit(1, (data,))
    assert (learner.model.weight.item(), learner.progress.updates) == by_hand(script, data)


# Several models.


class Adversarial(AbstractTrainingPhase):
    """Two losses, each for one of two models."""

    def step(self, learner, batch):
        xs, ys = batch
        model = learner.model
        with run_step(learner, self, xs=xs, ys=ys) as (_, state):
            state.loss_critic = nn.functional.mse_loss(model.critic(model.maker(xs)), ys)
            run_update(learner, self, loss="loss_critic", models="critic")
            state.loss_maker = -model.critic(model.maker(xs)).mean()
            run_update(learner, self, loss="loss_maker", models=["maker"])


def pair() -> dict[str, nn.Module]:
    torch.manual_seed(3)
    return {"critic": nn.Linear(2, 1), "maker": nn.Linear(1, 2)}


def adversarial(*callbacks: Callback, **options) -> Learner:
    torch.manual_seed(0)
    data = [(torch.rand(4, 1), torch.rand(4, 1)) for _ in range(5)]
    options = {"optimizer": {"critic": torch.optim.Adam, "maker": torch.optim.Adam}} | options
    return Learner(
        pair(),
        nn.functional.mse_loss,
        data=(data,),
        callbacks=callbacks,
        use_default_callbacks=False,
        **options,
    )


@pytest.mark.parametrize("n", [1, 2, 3])
def test_each_model_is_changed_by_its_own_loss_alone(n) -> None:
    learner = adversarial(Every(n))
    learner.fit(2, phases=[Adversarial()])

    models = pair()
    optimizers = {name: torch.optim.Adam(model.parameters()) for name, model in models.items()}
    critic, maker = models["critic"], models["maker"]
    grads = dict.fromkeys(models)

    def add(name, loss) -> None:
        new = torch.autograd.grad(loss, list(models[name].parameters()))
        grads[name] = new if grads[name] is None else [a + b for a, b in zip(grads[name], new, strict=True)]

    def change(name) -> None:
        for parameter, gradient in zip(models[name].parameters(), grads[name], strict=True):
            parameter.grad = gradient
        optimizers[name].step()
        grads[name] = None

    for _ in range(2):
        for i, (xs, ys) in enumerate(learner.data.training, 1):
            last = i % n == 0 or i == 5
            add("critic", nn.functional.mse_loss(critic(maker(xs)), ys))
            if i % n == 0:
                change("critic")
            add("maker", -critic(maker(xs)).mean())
            if i % n == 0:
                change("maker")
            elif last:
                change("critic")
                change("maker")
    for name, model in models.items():
        for key, value in model.state_dict().items():
            assert torch.equal(learner.model[name].state_dict()[key], value), (name, key)
    assert learner.progress.updates == 2 * 2 * -(-5 // n)


def test_its_gradients_and_optimizers_are_those_of_the_models_that_it_names() -> None:
    seen = []

    def look(learner) -> None:
        target = update_under_way(learner)
        optimizers = [learner.optimizer[name] for name in target.models]
        assert target.optimizers(learner) == optimizers
        seen.append((sorted(learner.step.grads), sorted(target.params(learner)), learner.progress.accumulated))

    access = {"step.grads": Read, "params": Read, "optimizer": Read}
    learner = adversarial(CustomCallback(look, UpdateBegin, state_access=access), Every(2))
    step(learner, Adversarial(), learner.data.training[0])
    assert seen == []
    step(learner, Adversarial(), learner.data.training[1])
    assert seen == [(["critic"], ["critic"], 2), (["maker"], ["maker"], 2)]


class Twice(AbstractTrainingPhase):
    """Runs two updates in a step, each with the models and the loss of one of the arguments."""

    def __init__(self, *arguments, decides: bool = False) -> None:
        self.arguments, self.decides = arguments, decides

    def step(self, learner, batch):
        with run_step(learner, self, xs=batch[0], ys=batch[1]) as (handle, state):
            if self.decides:
                state.accumulating = handle(Accumulate)
            for arguments in self.arguments:
                state.loss = sum(p.sum() for model in learner.models for p in model.parameters())
                run_update(learner, self, **arguments)

    def __hash__(self) -> int:
        return id(self)


def test_each_of_several_updates_in_a_step_accumulates_batches_of_its_own() -> None:
    """The maker has a batch in every second step alone, and an update in every fourth."""

    class EverySecond(AbstractTrainingPhase):
        def step(self, learner, batch):
            xs, ys = batch
            model = learner.model
            with run_step(learner, self, xs=xs, ys=ys) as (_, state):
                state.loss_critic = nn.functional.mse_loss(model.critic(model.maker(xs)), ys)
                run_update(learner, self, loss="loss_critic", models="critic")
                if learner.progress.step % 2:
                    state.loss_maker = -model.critic(model.maker(xs)).mean()
                    run_update(learner, self, loss="loss_maker", models="maker")

    seen = []

    def look(learner) -> None:
        seen.append((learner.progress.step, *update_under_way(learner).models, learner.progress.accumulated))

    learner = adversarial(CustomCallback(look, UpdateBegin), Every(2))
    learner.fit(1, phases=[EverySecond()])
    assert seen == [(2, "critic", 2), (3, "maker", 2), (4, "critic", 2), (5, "critic", 1), (5, "maker", 1)]


def test_a_cancelled_update_leaves_the_batches_of_another_one() -> None:
    seen = []

    def look(learner) -> None:
        seen.append((*update_under_way(learner).models, learner.progress.accumulated))

    cancel = raiser(BackwardEnd, CancelUpdateException, 3)  # of the critic, in the second step
    adversarial(cancel, CustomCallback(look, UpdateBegin), Every(3)).fit(1, phases=[Adversarial()])
    assert seen == [("maker", 3), ("critic", 3), ("maker", 2)]


def test_a_step_can_run_an_update_twice() -> None:
    seen = []
    look = CustomCallback(lambda learner: seen.append(learner.progress.accumulated), UpdateBegin)
    toy_learner(Every(3), look, nbatches=4).fit(1, phases=[Twice({}, {})])
    assert seen == [3, 3, 2]


@pytest.mark.parametrize(
    ("phase", "which"),
    [
        (Twice({}, {}, decides=True), "all models, then all models"),
        (Twice({"models": "critic"}, {}), "critic, then all models"),
        (Twice({"models": "critic"}, {"models": ["critic", "maker"]}), "critic, then critic, maker"),
    ],
)
def test_two_sums_of_gradients_for_the_same_parameters_are_refused(phase, which) -> None:
    adversarial().fit(1, phases=[phase])
    match = rf"called run_update twice for the same parameters \({which}\).*\nFix: "
    with pytest.raises(ArgumentValueError, match=match):
        adversarial(Every(2)).fit(1, phases=[phase])


class Keep(Callback):
    """Keeps the numbers of the batches with their gradients."""

    state_access = {"loop": Write}

    def __init__(self, *, nested: bool = False) -> None:
        self.nested, self.seen = nested, []

    def on_backward_end(self, learner, phase: TrainingPhase):
        state_of_update(learner).setdefault("steps", []).append(learner.progress.step)

    def on_update_begin(self, learner, phase: TrainingPhase):
        self.seen.append(state_of_update(learner)["steps"])

    def on_step_end(self, learner, phase: TrainingPhase):
        if self.nested:
            self.nested = False  # it is not for the step inside, whose own update has one batch and is dropped
            learner.loop.step(TrainingPhase(), BATCH)


@pytest.mark.parametrize(
    ("cancels", "seen"),
    [
        ([], [[1, 2, 3], [4, 5, 6], [7]]),
        ([(BackwardEnd, CancelUpdateException, 2)], [[3, 4, 5], [6, 7]]),
        ([(BackwardEnd, CancelStepException, 2)], [[3, 4, 5], [6, 7]]),
        ([(LossBegin, CancelStepException, 2)], [[1, 3, 4], [5, 6, 7]]),
        ([(UpdateBegin, CancelUpdateException, 2)], [[1, 2, 3], [4, 5, 6], [7]]),
        ([(BackwardEnd, CancelEpochException, 2)], []),
    ],
)
def test_what_a_callback_keeps_with_the_gradients_is_dropped_with_them(cancels, seen) -> None:
    keep = Keep()
    toy_learner(keep, Every(3), *(raiser(*cancel) for cancel in cancels), nbatches=7).fit(1)
    assert keep.seen == seen


def test_what_a_callback_keeps_with_the_gradients_is_not_that_of_a_step_inside() -> None:
    keep = Keep(nested=True)
    toy_learner(keep, Every(3), nbatches=7).fit(1)
    assert keep.seen == [[1, 2, 3], [4, 5, 6], [7]]


def test_each_callback_keeps_a_state_of_its_own_with_the_gradients() -> None:
    keep, another = Keep(), Keep()
    another.name = "Another"
    toy_learner(keep, another, Every(2), resolve=lambda first, second: NoConflict(), nbatches=4).fit(1)
    assert keep.seen == another.seen == [[1, 2], [3, 4]]


def phase_of(**arguments) -> AbstractTrainingPhase:
    class Asks(AbstractTrainingPhase):
        def step(self, learner, batch):
            with run_step(learner, self, xs=batch[0], ys=batch[1]) as (_, state):
                state.loss = sum(p.sum() for model in learner.models for p in model.parameters())
                run_update(learner, self, **arguments)

    return Asks()


def both() -> Learner:
    """One optimizer for two models, under the name of one of them."""
    models = pair()
    parameters = [p for model in models.values() for p in model.parameters()]
    batch = [(torch.rand(4, 1), torch.rand(4, 1))]
    return Learner(models, nn.functional.mse_loss, data=(batch,), optimizer={"critic": torch.optim.SGD(parameters)})


BAD = {
    "loss='los'": (lambda: adversarial(), {"loss": "los"}, "got the loss 'los', .* Did you mean `loss`"),
    "loss=3": (lambda: adversarial(), {"loss": 3}, "got the loss 3"),
    "models='critik'": (lambda: adversarial(), {"models": "critik"}, "has the models critic, maker"),
    "models=[]": (lambda: adversarial(), {"models": []}, r"models=\[\], and the learner has the models"),
    "models='critic', one model": (lambda: toy_learner(), {"models": "critic"}, "has one model, without a name"),
    "models='maker', no optimizer": (both, {"models": "maker"}, "have no optimizer of their own"),
    "models='critic', an optimizer of both": (both, {"models": "critic"}, "holds parameters of maker as well"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_a_typed_error_that_names_the_thing_and_the_fix(case) -> None:
    make, arguments, match = BAD[case]
    with pytest.raises(ArgumentValueError, match=rf"(?s)run_update.*{match}.*\nFix: "):
        make().fit(1, phases=[phase_of(**arguments)])


def test_outside_of_a_step_it_is_refused() -> None:
    with pytest.raises(CallbackError, match=r"^run_update was called outside of a step\.\nFix: "):
        run_update(toy_learner(), TrainingPhase())


def test_operations_by_hand_are_counted_and_use_their_gradients_up_too() -> None:
    class ByHand(AbstractTrainingPhase):
        def step(self, learner, batch):
            with run_step(learner, self, xs=batch[0], ys=batch[1]) as (handle, state):
                state.yhats = handle(Forward)
                state.loss = handle(Loss)
                handle(Backward)
                handle(Update)

    one, other = toy_learner(), toy_learner()
    one.fit(1)
    other.fit(1, phases=[ByHand()])
    assert one.model.weight.equal(other.model.weight)
    assert (one.progress.updates, one.progress.accumulated) == (other.progress.updates, other.progress.accumulated)
