import inspect
import textwrap

import pytest
import torch
import treadle
import treadle.operations
from torch import nn
from treadle import (
    ArgumentTypeError,
    Callback,
    CallbackConflictError,
    CallbackError,
    CancelStepException,
    Learner,
    LossError,
    Operation,
    PropDict,
    Read,
    TrainingPhase,
    ValidationPhase,
    Write,
    epoch,
    hookimpl,
    run_step,
    step,
    toy_learner,
)
from treadle.events import hookspec
from treadle.operations import (
    Accumulate,
    Backward,
    Epoch,
    FinalizeGradients,
    Forward,
    Loss,
    Step,
    Update,
    known_operations,
)

HOOKS = {
    "epoch": ("learner", "phase", "data"),
    "step": ("learner", "phase", "batch"),
    "forward": ("learner", "phase"),
    "loss": ("learner", "phase"),
    "backward": ("learner", "phase"),
    "update": ("learner", "phase"),
}
BATCH = (torch.ones(2, 1), torch.ones(2, 1))


@pytest.mark.parametrize(("hook", "arguments"), HOOKS.items())
def test_an_operation_is_a_hook_of_which_the_first_result_wins(hook, arguments) -> None:
    operation = known_operations()[hook]
    assert (operation.hook, operation.arguments) == (hook, arguments)
    assert operation.spec.treadle_spec["firstresult"] is True


def test_these_are_the_operations_of_the_core() -> None:
    assert [o.hook for o in (Epoch, Step, Forward, Loss, Backward, Update)] == list(HOOKS)


# Inputs come in three ways.


class Sum(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, left, right=0):
        return self.weight * left + 10 * right


@pytest.mark.parametrize(
    ("xs", "expected"),
    [
        (torch.tensor([1.0]), 1.0),
        ((torch.tensor([1.0]), torch.tensor([2.0])), 21.0),
        ([torch.tensor([1.0]), torch.tensor([2.0])], 21.0),
        ({"right": torch.tensor([1.0]), "left": torch.tensor([2.0])}, 12.0),
        (PropDict(left=torch.tensor([3.0])), 3.0),
        (2.0, 2.0),
    ],
    ids=["a tensor", "a tuple", "a list", "a mapping", "a PropDict", "anything else"],
)
@pytest.mark.parametrize("phase", [TrainingPhase(), ValidationPhase()], ids=["training", "validation"])
def test_inputs_are_passed_as_one_by_position_or_by_name(xs, expected, phase) -> None:
    learner = Learner(Sum(), lambda yhats, ys: (yhats - ys).abs().sum(), use_default_callbacks=False)
    assert step(learner, phase, (xs, torch.tensor([0.0]))).yhats.item() == expected


@pytest.mark.parametrize("xs", [torch.ones(1, 1), (torch.ones(1, 1),), {"input": torch.ones(1, 1)}])
def test_several_models_need_a_phase_that_says_what_each_does(xs) -> None:
    learner = Learner({"a": nn.Linear(1, 1), "b": nn.Linear(1, 1)}, nn.functional.l1_loss, use_default_callbacks=False)
    with pytest.raises(
        ArgumentTypeError, match=r"TrainingPhase\(\) applies one model.*several: a, b\.\nFix: write a phase"
    ):
        step(learner, TrainingPhase(), (xs, torch.ones(1, 1)))


# The loss is one number, with a gradient.


@pytest.mark.parametrize(
    ("lossfn", "message"),
    [
        (
            lambda yhats, ys: yhats - ys,
            r"<lambda> returned a tensor of shape \(2, 1\); a loss is one number.*\nFix: .*:\n    .*\.mean\(\)",
        ),
        (lambda yhats, ys: 0.5, r"returned 0\.5; a loss is one number in a tensor"),
        (lambda yhats, ys: None, r"returned None; a loss"),
        (nn.L1Loss(reduction="none"), r"The loss function L1Loss returned a tensor of shape \(2, 1\)"),
    ],
)
@pytest.mark.parametrize("phase", [TrainingPhase(), ValidationPhase()], ids=["training", "validation"])
def test_a_loss_that_is_not_one_number_is_refused(lossfn, message, phase) -> None:
    learner = Learner(nn.Linear(1, 1), lossfn, use_default_callbacks=False)
    with pytest.raises(LossError, match=message):
        step(learner, phase, BATCH)


def test_a_loss_with_one_element_is_a_number() -> None:
    learner = Learner(nn.Linear(1, 1), lambda yhats, ys: yhats.sum().reshape(1, 1), use_default_callbacks=False)
    assert step(learner, TrainingPhase(), BATCH).loss.shape == (1, 1)


@pytest.mark.parametrize("frozen", ["parameters", "loss"])
def test_a_loss_that_needs_no_gradient_is_refused(frozen) -> None:
    learner = toy_learner()
    if frozen == "parameters":
        learner.model.requires_grad_(False)
    else:
        learner.lossfn = lambda yhats, ys: nn.functional.l1_loss(yhats.detach(), ys)
    with pytest.raises(
        LossError,
        match=r"needs no gradient, so nothing can be learned.*\n"
        r"Fix: look for `\.detach\(\)`",
    ):
        learner.fit(1)
    assert learner.progress.steps == 0


def test_in_validation_a_loss_needs_no_gradient() -> None:
    learner = toy_learner()
    assert not step(learner, ValidationPhase(), BATCH).loss.requires_grad


# A callback overrides an operation, or wraps it.


class Overrides(Callback):
    """Overrides the forward operation by a constant."""

    state_access = {"step.xs": Read}

    def __init__(self, value: float | None) -> None:
        self.value = value

    def forward(self, learner):
        return None if self.value is None else torch.full_like(learner.step.xs, self.value)


def test_a_result_that_is_not_none_wins() -> None:
    state = step(toy_learner(Overrides(7.0)), ValidationPhase(), BATCH)
    assert state.yhats.tolist() == [[7.0], [7.0]]


def test_none_leaves_it_to_the_core() -> None:
    assert step(toy_learner(Overrides(None)), ValidationPhase(), BATCH).yhats.tolist() == [[0.0], [0.0]]


def test_of_several_overrides_the_first_in_the_order_wins() -> None:
    first, second = Overrides(1.0), Overrides(2.0)
    first.name, second.name = "b", "a"
    second.run_after = ("b",)
    assert step(toy_learner(first, second), ValidationPhase(), BATCH).yhats[0].item() == 1.0
    second.run_after, first.run_after = (), ("a",)
    assert step(toy_learner(first, second), ValidationPhase(), BATCH).yhats[0].item() == 2.0


def test_two_overrides_that_nothing_orders_are_refused() -> None:
    first, second = Overrides(1.0), Overrides(2.0)
    first.name, second.name = "b", "a"
    with pytest.raises(CallbackConflictError, match=r"a and b both override `forward\(\)`, and nothing orders them"):
        toy_learner(first, second)


def test_two_overrides_in_different_phases_are_compatible() -> None:
    class InTraining(Callback):
        def loss(self, phase: TrainingPhase): ...
        def on_step_end(self): ...

    class InValidation(Callback):
        def loss(self, phase: ValidationPhase): ...
        def on_step_end(self): ...

    assert toy_learner(InTraining(), InValidation()).fit(1).epochs == 1


def test_an_override_and_a_wrapper_are_compatible() -> None:
    class Wraps(Callback):
        @hookimpl(wrapper=True)
        def forward(self):
            return 10 * (yield)

    assert step(toy_learner(Overrides(1.0), Wraps()), ValidationPhase(), BATCH).yhats[0].item() == 10.0


def test_a_result_of_an_override_that_is_not_a_loss_is_refused() -> None:
    class Number(Callback):
        def loss(self):
            return 0.5

    with pytest.raises(LossError, match=r"The operation `loss`, which a callback handles, returned 0\.5; a loss"):
        toy_learner(Number()).fit(1)


def test_an_override_holds_in_its_phase() -> None:
    class OnlyTraining(Callback):
        def loss(self, learner, phase: TrainingPhase):
            return torch.zeros((), requires_grad=True)

    learner = toy_learner(OnlyTraining())
    assert step(learner, TrainingPhase(), BATCH).loss.item() == 0.0
    assert step(learner, ValidationPhase(), BATCH).loss.item() == 1.0


def test_an_override_gets_the_arguments_that_it_asks_for() -> None:
    asked = {}

    class Everything(Callback):
        def epoch(self, data, learner, phase):
            asked["epoch"] = (phase, data)

        def step(self, batch):
            asked["step"] = batch

    learner, phase = toy_learner(Everything()), ValidationPhase()
    data = [BATCH]
    epoch(learner, phase, data)
    assert asked == {"epoch": (phase, data), "step": BATCH}


def test_an_epoch_that_is_overridden_runs_no_step() -> None:
    class Skip(Callback):
        def epoch(self, phase: ValidationPhase):
            return "skipped"

    seen = []

    class Count(Callback):
        def on_step_end(self, phase: ValidationPhase):
            seen.append(phase)

    result = toy_learner(Skip(), Count()).fit(2)
    assert (result.epochs, seen) == (2, [])


class Wraps(Callback):
    """Notes what goes on around forward."""

    def __init__(self, name: str, log: list[str], *after: str) -> None:
        self.name, self.log, self.run_after = name, log, after

    @hookimpl(wrapper=True)
    def forward(self, learner, phase):
        self.log.append(f"{self.name} in")
        try:
            result = yield
        except BaseException as error:
            self.log.append(f"{self.name} saw {type(error).__name__}")
            raise
        self.log.append(f"{self.name} out")
        return result + 1


def test_a_wrapper_runs_around_and_changes_the_result() -> None:
    log: list[str] = []
    state = step(toy_learner(Wraps("w", log)), ValidationPhase(), BATCH)
    assert (log, state.yhats[0].item()) == (["w in", "w out"], 1.0)


@pytest.mark.parametrize("swap", [False, True])
def test_of_several_wrappers_the_first_in_the_order_is_outermost(swap) -> None:
    log: list[str] = []
    callbacks = [Wraps("a", log), Wraps("b", log), Wraps("0", log, "b")]
    state = step(toy_learner(*(reversed(callbacks) if swap else callbacks)), ValidationPhase(), BATCH)
    assert log == ["a in", "b in", "0 in", "0 out", "b out", "a out"]
    assert state.yhats[0].item() == 3.0


def test_a_wrapper_goes_around_an_override_too() -> None:
    log: list[str] = []
    state = step(toy_learner(Wraps("w", log), Overrides(5.0)), ValidationPhase(), BATCH)
    assert (log, state.yhats[0].item()) == (["w in", "w out"], 6.0)


@pytest.mark.parametrize("error", [ValueError("inside"), KeyboardInterrupt(), CancelStepException("enough")])
def test_wrappers_unwind_from_the_inside_on_every_exception(error) -> None:
    log: list[str] = []

    class Raises(Callback):
        def forward(self):
            raise error

    learner = toy_learner(Wraps("a", log), Wraps("b", log), Raises())
    if isinstance(error, CancelStepException):
        step(learner, ValidationPhase(), BATCH)
    else:
        with pytest.raises(type(error)) as raised:
            step(learner, ValidationPhase(), BATCH)
        assert raised.value is error
    kind = type(error).__name__
    assert log == ["a in", "b in", f"b saw {kind}", f"a saw {kind}"]


def test_a_wrapper_can_return_a_result_instead_of_an_error() -> None:
    class Rescue(Callback):
        @hookimpl(wrapper=True)
        def forward(self):
            try:
                return (yield)
            except ValueError:
                return torch.zeros(2, 1)

    class Raises(Callback):
        def forward(self):
            raise ValueError("inside")

    assert step(toy_learner(Rescue(), Raises()), ValidationPhase(), BATCH).yhats.tolist() == [[0.0], [0.0]]


def test_what_a_wrapper_changes_around_an_epoch_it_puts_back_whatever_happens() -> None:
    class Swap(Callback):
        state_access = {"model": Write}

        @hookimpl(wrapper=True)
        def epoch(self, learner, phase: ValidationPhase):
            with torch.no_grad():
                before = learner.model.weight.clone()
                learner.model.weight.fill_(3.0)
                try:
                    return (yield)
                finally:
                    learner.model.weight.copy_(before)

    class Raises(Callback):
        state_access = {"model": Read}

        def on_step_end(self, learner, phase: ValidationPhase):
            assert learner.model.weight.item() == 3.0
            raise ValueError("in validation")

    learner = toy_learner(Swap(), Raises())
    with pytest.raises(ValueError, match="in validation"):
        epoch(learner, ValidationPhase())
    assert learner.model.weight.item() == 0.0


def test_update_is_overridden_by_a_callback_that_steps_by_itself() -> None:
    class Adds(Callback):
        state_access = {"model": Write}

        def update(self, learner):
            with torch.no_grad():
                learner.model.weight.add_(1.0)
            return True

    learner = toy_learner(Adds())
    learner.fit(1)
    assert learner.model.weight.item() == 16.0


class Closure(Callback):
    """Lets an optimizer compute the loss itself, as often as it wants."""

    state_access = {"model": Write, "optimizer": Write, "step": Read, "lossfn": Read}

    def update(self, learner):
        def closure():
            learner.optimizer.zero_grad()
            loss = learner.lossfn(learner.model(learner.step.xs), learner.step.ys)
            loss.backward()
            return loss

        learner.optimizer.step(closure)
        return True


def lbfgs(parameters):
    return torch.optim.LBFGS(parameters, lr=1.0)


def test_an_optimizer_that_needs_a_closure_is_an_error_with_the_fix() -> None:
    with pytest.raises(TypeError, match="closure") as raised:
        toy_learner(optimizer=lbfgs).fit(1)
    note, place = raised.value.__notes__
    assert place == "Raised in TrainingPhase, epoch 1, step 1."
    what, fix, code = note.split("\n", 2)
    assert what == "LBFGS computes the loss itself, several times in a step."
    assert fix == "Fix: override `update` in a callback, by the operations, to which all other callbacks belong:"
    names = {**vars(treadle), **vars(treadle.operations)}
    exec(textwrap.dedent(code), names)
    learner = toy_learner(names["Closure"](), optimizer=lambda parameters: torch.optim.LBFGS(parameters, lr=0.01))
    learner.fit(2)
    assert learner.model.weight.item() == pytest.approx(3.0, abs=0.5)


def test_an_optimizer_that_needs_a_closure_gets_it_from_a_callback() -> None:
    learner = Learner(
        nn.Linear(1, 1, bias=False),
        nn.functional.mse_loss,
        data=([(torch.ones(1, 1), 3 * torch.ones(1, 1))],),
        optimizer=lbfgs,
        callbacks=[Closure()],
        use_default_callbacks=False,
    )
    learner.fit(1)
    assert learner.model.weight.item() == pytest.approx(3.0, abs=1e-4)


def test_another_type_error_of_an_optimizer_is_left_alone() -> None:
    class Broken(torch.optim.SGD):
        def step(self, closure=None):
            raise TypeError("inside")

    with pytest.raises(TypeError, match="inside") as raised:
        toy_learner(optimizer=Broken).fit(1)
    assert raised.value.__notes__ == ["Raised in TrainingPhase, epoch 1, step 1."]


# Custom operations.


class Mix(Operation):
    """Mix the rows of a batch."""

    @staticmethod
    def run(learner, phase, amount):
        return learner.step.xs * amount


def test_a_custom_operation_runs_unless_a_callback_overrides_it() -> None:
    class Mixes(Callback):
        def mix(self, amount):
            return "mixed" if amount > 1 else None

    phase = TrainingPhase()
    for learner, expected in ((toy_learner(), [2, 4]), (toy_learner(Mixes()), [2, "mixed"])):
        with run_step(learner, phase, xs=2) as (handle, _):
            assert [handle(Mix, 1), handle(Mix, 2)] == expected
    assert (Mix.hook, Mix.arguments) == ("mix", ("learner", "phase", "amount"))


def test_an_operation_without_run_is_refused() -> None:
    with pytest.raises(
        TypeError,
        match=r"The operation Nothing has no `run`\.\n"
        r"Fix: .*:\n    @staticmethod\n    def run\(learner, phase\)",
    ):

        class Nothing(Operation):
            """Does nothing."""


def test_the_result_of_an_override_is_checked() -> None:
    heard = []

    class Rate(Operation):
        """Rate a step."""

        @staticmethod
        def run(learner, phase):
            return 0

        @staticmethod
        def check_result(learner, result):
            heard.append(result)

    class Rates(Callback):
        def rate(self):
            return 5

    with run_step(toy_learner(Rates()), TrainingPhase()) as (handle, _):
        assert handle(Rate) == 5
    assert heard == [5]


@pytest.mark.parametrize("hook", HOOKS)
def test_a_search_for_the_hook_finds_its_definition(hook) -> None:
    operation = known_operations()[hook]
    assert f"    @hookspec(firstresult=True)\n    def {hook}(learner: Learner" in inspect.getsource(operation)
    assert operation.spec is getattr(operation, hook)


class Turn(Operation):
    """Turn an image; its specification is written."""

    @staticmethod
    @hookspec(firstresult=True)
    def turn(learner, phase, degrees): ...

    @staticmethod
    def run(learner, phase, degrees):
        return degrees


def test_a_custom_operation_may_write_its_specification() -> None:
    class Turns(Callback):
        def turn(self, degrees):
            return degrees + 1 if degrees else None

    handle = toy_learner(Turns()).handle(TrainingPhase())
    assert (handle(Turn, 90), handle(Turn, 0)) == (91, 0)
    assert (Turn.hook, Turn.arguments, Turn.spec) == ("turn", ("learner", "phase", "degrees"), Turn.turn)


@pytest.mark.parametrize("operation", [Mix, Turn])
def test_its_handlers_are_held_to_its_arguments(operation) -> None:
    method = {operation.hook: lambda self, learner, other: None}
    with pytest.raises(CallbackError, match=rf"^Asks\.{operation.hook} does not match .*'other'"):
        toy_learner(type("Asks", (Callback,), method)())


def test_a_specification_with_other_arguments_than_run_is_refused() -> None:
    with pytest.raises(
        ArgumentTypeError,
        match=r"^Crop\.crop takes \(learner, phase\), and what is passed is \(learner, phase, size\)\.\n"
        r"Fix: take these arguments:\n    @staticmethod\n    @hookspec\n    def crop\(learner, phase, size\): \.\.\.$",
    ):

        class Crop(Operation):
            @staticmethod
            @hookspec(firstresult=True)
            def crop(learner, phase): ...

            @staticmethod
            def run(learner, phase, size): ...

    assert "crop" not in known_operations()


def test_a_specification_of_another_name_is_refused() -> None:
    with pytest.raises(ArgumentTypeError, match=r"^Crop defines the hook specification `cut`, and its hook is `crop`"):

        class Crop(Operation):
            @staticmethod
            @hookspec(firstresult=True)
            def cut(learner, phase): ...

            @staticmethod
            def run(learner, phase): ...


@pytest.mark.parametrize(
    ("run", "shown"),
    [
        (lambda self, learner, phase: None, r"\(self, learner, phase\)"),
        (lambda phase, learner: None, r"\(phase, learner\)"),
        (lambda learner, phase, size=3: None, r"\(learner, phase, size=3\)"),
        (lambda learner, phase, *sizes: None, r"\(learner, phase, \*sizes\)"),
        (lambda learner, phase, *, size: None, r"\(learner, phase, \*, size\)"),
    ],
)
def test_run_begins_with_learner_and_phase_and_is_called_by_position(run, shown) -> None:
    with pytest.raises(
        ArgumentTypeError,
        match=rf"^Crop\.run takes {shown}; an operation is called with the learner, the phase, .*\.\n"
        r"Fix: begin with these two, in a static method:\n    @staticmethod\n    def run\(learner, phase\): \.\.\.$",
    ):
        type("Crop", (Operation,), {"run": staticmethod(run)})


class Grow(Operation):
    """Grow by an amount, and report it."""

    reported: list[object] = []

    @staticmethod
    def run(learner, phase, amount):
        return amount

    @staticmethod
    def check_result(learner, result):
        Grow.reported.append(("checked", result))

    @staticmethod
    def after(learner, result):
        Grow.reported.append(("after", result))


def test_after_is_called_for_every_operation_and_check_result_where_a_callback_handles_it() -> None:
    class Grows(Callback):
        def grow(self, amount):
            return 10 * amount

    Grow.reported.clear()
    assert toy_learner().handle(TrainingPhase())(Grow, 1) == 1
    assert toy_learner(Grows()).handle(TrainingPhase())(Grow, 2) == 20
    assert Grow.reported == [("after", 1), ("checked", 20), ("after", 20)]


@pytest.mark.parametrize("operation", [Accumulate, FinalizeGradients])
def test_what_stands_in_for_an_operation_that_does_nothing_gives_the_same(operation) -> None:
    learner, phase = toy_learner(), TrainingPhase()
    assert operation.idle is not None
    assert learner.handle(phase)(operation) is operation.run(learner, phase)
    with pytest.raises(ArgumentTypeError, match="takes no arguments beside learner and phase, and 1 was passed"):
        learner.handle(phase)(operation, 1)


def test_a_subclass_of_an_operation_that_does_nothing_does_what_its_own_run_does() -> None:
    class AccumulateAlways(Accumulate):
        @staticmethod
        def run(learner, phase):
            return True

    assert toy_learner().handle(TrainingPhase())(AccumulateAlways) is True
