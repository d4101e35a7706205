from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from treadle import (
    AbstractTrainingPhase,
    AbstractValidationPhase,
    ArgumentTypeError,
    Callback,
    CancelEpochException,
    CancelFittingException,
    CancelStepException,
    CancelUpdateException,
    CustomCallback,
    DataError,
    Learner,
    Operation,
    Phase,
    Read,
    StepBegin,
    StepEnd,
    TrainingPhase,
    TreadleError,
    ValidationPhase,
    Write,
    epoch,
    hookimpl,
    phases,
    run_epoch,
    run_step,
    step,
    toy_learner,
)
from treadle.loop.update.training_step import by_parts

BATCH = (torch.ones(2, 1), torch.ones(2, 1))


def test_phases_import_from_treadle_and_from_its_phases() -> None:
    assert phases.__all__ == [
        "AbstractTrainingPhase",
        "AbstractValidationPhase",
        "EvaluationPhase",
        "Phase",
        "PredictionPhase",
        "TrainingPhase",
        "ValidationPhase",
    ]
    assert issubclass(TrainingPhase, AbstractTrainingPhase)
    assert issubclass(ValidationPhase, AbstractValidationPhase)
    assert issubclass(AbstractTrainingPhase, Phase)
    assert issubclass(AbstractValidationPhase, Phase)


@pytest.mark.parametrize(
    ("phase", "training", "data_name"),
    [(TrainingPhase, True, "training"), (ValidationPhase, False, "validation"), (Phase, None, None)],
)
def test_a_phase_says_what_it_does_to_the_model_and_where_its_data_are(phase, training, data_name) -> None:
    assert (phase.training, phase.data_name) == (training, data_name)


# The step of training and of validation: what happens in which order, and which state is there when.


HOOKS = ["on_step_begin", "accumulate", "forward", "on_loss_begin", "loss", "on_backward_begin", "backward"]
HOOKS += ["on_backward_end", "finalize_gradients", "on_update_begin", "update", "on_update_end", "on_step_end"]


class Recorder(Callback):
    """Notes each hook with the names that the step's state has by then."""

    state_access = {"step": Read}

    def __init__(self) -> None:
        self.log: list[tuple[str, list[str]]] = []


def noting(name: str):
    def handle(self, learner) -> None:
        self.log.append((name, sorted(learner.step)))

    return handle


for name in HOOKS:
    setattr(Recorder, name, noting(name))


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def test_a_step_of_training(recorder) -> None:
    step(toy_learner(recorder), TrainingPhase(), BATCH)
    assert recorder.log == [
        ("on_step_begin", ["xs", "ys"]),
        ("accumulate", ["xs", "ys"]),
        ("forward", ["accumulating", "xs", "ys"]),
        ("on_loss_begin", ["accumulating", "xs", "yhats", "ys"]),
        ("loss", ["accumulating", "xs", "yhats", "ys"]),
        ("on_backward_begin", ["accumulating", "loss", "xs", "yhats", "ys"]),
        ("backward", ["accumulating", "loss", "xs", "yhats", "ys"]),
        *[
            (name, ["accumulating", "grads", "loss", "xs", "yhats", "ys"])
            for name in (
                "on_backward_end",
                "finalize_gradients",
                "on_update_begin",
                "update",
                "on_update_end",
                "on_step_end",
            )
        ],
    ]


def test_a_step_of_validation(recorder) -> None:
    step(toy_learner(recorder), ValidationPhase(), BATCH)
    assert recorder.log == [
        ("on_step_begin", ["xs", "ys"]),
        ("forward", ["xs", "ys"]),
        ("on_loss_begin", ["xs", "yhats", "ys"]),
        ("loss", ["xs", "yhats", "ys"]),
        ("on_step_end", ["loss", "xs", "yhats", "ys"]),
    ]


def test_a_training_step_is_one_step_of_the_optimizer() -> None:
    learner = toy_learner()
    state = step(learner, TrainingPhase(), BATCH)
    assert (state.yhats.tolist(), state.loss.item()) == ([[0.0], [0.0]], 1.0)
    assert state.grads["weight"].tolist() == [[-1.0]]
    assert learner.model.weight.item() == pytest.approx(0.001)


def test_a_validation_step_changes_nothing() -> None:
    learner = toy_learner()
    step(learner, ValidationPhase(), BATCH)
    assert (learner.model.weight.item(), learner.model.weight.grad) == (0.0, None)


def test_what_a_callback_writes_into_the_step_is_what_the_loop_uses() -> None:
    class Shift(Callback):
        state_access = {"step": Write}

        def on_step_begin(self, learner):
            learner.step.xs = learner.step.xs + 1

        def on_loss_begin(self, learner):
            learner.step.yhats = learner.step.yhats + 10

        def on_backward_begin(self, learner):
            learner.step.loss = learner.step.loss * 5

    state = step(toy_learner(Shift()), TrainingPhase(), BATCH)
    assert (state.yhats.tolist(), state.loss.item(), state.grads["weight"].item()) == ([[10.0], [10.0]], 45.0, 10.0)


# Batches.


@pytest.mark.parametrize(
    ("batch", "got"),
    [
        (torch.ones(4, 3), r"got a Tensor of shape \(4, 3\)"),
        ((1, 2, 3), r"got a tuple of 3"),
        ([1], r"got a list of 1"),
        ({"xs": 1, "ys": 2}, r"got a dict of 'xs', 'ys'\."),
        (None, r"got a NoneType"),
        ("ab", r"got a str"),
    ],
)
@pytest.mark.parametrize("phase", [TrainingPhase(), ValidationPhase()], ids=["training", "validation"])
def test_a_batch_that_is_not_a_pair_is_refused(batch, got, phase) -> None:
    learner = toy_learner()
    with pytest.raises(
        DataError,
        match=rf"^{type(phase).__name__} needs batches that are pairs \(xs, ys\), {got}.*\n.*\n    Learner\(.*\)$",
    ):
        step(learner, phase, batch)
    assert learner.fit(1).steps == 16


def test_a_batch_is_a_pair_also_as_a_list() -> None:
    assert step(toy_learner(), TrainingPhase(), list(BATCH)).xs is BATCH[0]


# Equality.


class Named(TrainingPhase):
    def __init__(self, name: str) -> None:
        self.name = name


@dataclass(frozen=True)
class Frozen(TrainingPhase):
    name: str = "a"


@dataclass
class Loose(TrainingPhase):
    name: str = "a"


@dataclass
class Looser(Loose):
    size: int = 1


@pytest.mark.parametrize("kind", [Named, Frozen, Loose, Looser])
def test_phases_are_equal_by_type_and_fields(kind) -> None:
    assert kind("a") == kind("a")
    assert hash(kind("a")) == hash(kind("a"))
    assert kind("a") != kind("b")
    assert {kind("a"): 1}[kind("a")] == 1


def test_phases_of_different_types_differ() -> None:
    assert TrainingPhase() == TrainingPhase()
    assert hash(TrainingPhase()) == hash(TrainingPhase())
    assert TrainingPhase() != ValidationPhase()
    assert Named("a") != Frozen("a")
    assert TrainingPhase() != "TrainingPhase()"


def test_a_phase_is_shown_as_it_is_made() -> None:
    assert (repr(TrainingPhase()), repr(Named("a"))) == ("TrainingPhase()", "Named(name='a')")


def test_a_phase_that_cannot_be_hashed_is_refused() -> None:
    class Unlike(TrainingPhase):
        def __eq__(self, other: object) -> bool:
            return False

    with pytest.raises(
        ArgumentTypeError,
        match=r"^Unlike cannot be hashed.*: it defines __eq__ alone\.\nFix: delete Unlike\.__eq__, or",
    ):
        epoch(toy_learner(), Unlike())


def test_a_data_class_is_a_phase() -> None:
    learner = toy_learner()
    epoch(learner, Loose("b"))
    assert learner.progress.steps == 16


# Phases of one's own.


class Log(Phase):
    """Runs a step for each batch and notes it."""

    training = True
    data_name = "log"

    def step(self, learner, batch):
        with run_step(learner, self, batch=batch) as (_, state):
            state.doubled = 2 * batch


def test_a_phase_defined_elsewhere_runs_its_steps_with_unmodified_callbacks() -> None:
    seen = []
    watch = CustomCallback(lambda learner: seen.append(learner.step.doubled), StepEnd, Phase, {"step.doubled": Read})
    learner = toy_learner(watch, data={"log": [1, 2, 3]})
    epoch(learner, Log())
    assert (seen, learner.progress.steps, learner.progress.epochs) == ([2, 4, 6], 3, 1)


def test_a_phase_may_say_how_to_run_an_epoch() -> None:
    class Backwards(Log):
        def epoch(self, learner, data):
            with run_epoch(learner, self):
                for batch in reversed(data):
                    step(learner, self, batch)

    seen = []
    watch = CustomCallback(lambda learner: seen.append(learner.step.batch), StepBegin, Backwards, {"step.batch": Read})
    epoch(toy_learner(watch), Backwards(), [1, 2, 3])
    assert seen == [3, 2, 1]


def test_handlers_of_a_type_of_phase_run_in_its_subtypes() -> None:
    seen = []

    class Watch(Callback):
        def on_step_begin(self, phase: AbstractTrainingPhase):
            seen.append("abstract")

        def on_step_end(self, phase: TrainingPhase):
            seen.append("training")

        def on_epoch_begin(self, phase: Log):
            seen.append("log")

        def on_epoch_end(self, phase: ValidationPhase):
            seen.append("validation")

    learner = toy_learner(Watch())
    epoch(learner, Named("a"), [BATCH])
    assert seen == ["abstract", "training"]
    epoch(learner, Log(), [1])
    assert seen == ["abstract", "training", "log"]


def test_a_handler_gets_the_phase_as_it_is() -> None:
    seen = []

    class Watch(Callback):
        def on_step_end(self, phase):
            seen.append(phase)

    learner = toy_learner(Watch())
    first, second = Named("a"), Named("b")
    for phase in (first, second, first):
        step(learner, phase, BATCH)
    assert [id(phase) for phase in seen] == [id(first), id(second), id(first)]


def test_a_phase_without_a_step_says_how_to_write_one() -> None:
    class Nothing(Phase):
        """Says nothing."""

    with pytest.raises(
        NotImplementedError, match=r"Nothing does not say how to run a step\.\nFix: define it:\n    def step\(self"
    ):
        epoch(toy_learner(), Nothing(), [1])


def test_a_phase_can_bring_operations_of_its_own() -> None:
    class Embed(Operation):
        """Embed the inputs."""

        @staticmethod
        def run(learner, phase):
            return learner.step.xs + 1

    class Embedding(AbstractTrainingPhase):
        def step(self, learner, batch):
            with run_step(learner, self, xs=batch) as (handle, state):
                state.embedded = handle(Embed)

    class Twice(Callback):
        state_access = {"step.xs": Read}

        def embed(self, learner):
            return 2 * learner.step.xs

    for learner, expected in ((toy_learner(), 6), (toy_learner(Twice()), 10)):
        epoch(learner, Embedding(), [5])
        assert learner.step.embedded == expected


def test_two_models_and_two_optimizers_in_a_custom_phase() -> None:
    class Both(AbstractTrainingPhase):
        def step(self, learner, batch):
            xs, ys = batch
            with run_step(learner, self, xs=xs, ys=ys) as (_, state):
                for name in ("a", "b"):
                    state[name] = learner.lossfn(learner.model[name](xs), ys)
                    state[name].backward()
                    learner.optimizer[name].step()
                state.grads = learner.grads

    models = {name: nn.Linear(1, 1, bias=False) for name in "ab"}
    for model in models.values():
        nn.init.zeros_(model.weight)
    learner = Learner(
        models,
        nn.functional.l1_loss,
        data=([BATCH] * 2,),
        optimizer={"a": lambda p: torch.optim.SGD(p, lr=0.1), "b": torch.optim.SGD(models["b"].parameters(), lr=0.2)},
        use_default_callbacks=False,
    )
    epoch(learner, Both())
    assert [round(model.weight.item(), 6) for model in models.values()] == [0.2, 0.4]
    assert {name: learner.step.grads[name]["weight"].item() for name in learner.step.grads} == {"a": -1.0, "b": -1.0}


# The gradients of a step.


def test_the_gradients_are_a_mapping_of_the_parameters_names() -> None:
    learner = Learner(nn.Linear(1, 1), nn.functional.l1_loss, use_default_callbacks=False)
    grads = step(learner, TrainingPhase(), BATCH).grads
    assert (sorted(grads), len(grads), "weight" in grads) == (["bias", "weight"], 2, True)
    assert grads["weight"] is learner.model.weight.grad
    assert repr(grads) == "Gradients(weight, bias)"


def test_a_parameter_without_a_gradient_is_not_among_them() -> None:
    model = nn.Linear(1, 1)
    model.bias.requires_grad_(False)
    learner = Learner(model, nn.functional.l1_loss, use_default_callbacks=False)
    grads = step(learner, TrainingPhase(), BATCH).grads
    assert list(grads) == ["weight"]
    with pytest.raises(
        KeyError, match=r"The parameter bias has no gradient: it is frozen, or the loss does not depend on it\."
    ):
        grads["bias"]


def test_setting_one_replaces_it() -> None:
    class Double(Callback):
        state_access = {"step.grads": Write}

        def on_backward_end(self, learner):
            learner.step.grads["weight"] = 2 * learner.step.grads["weight"]

    learner = toy_learner(Double())
    step(learner, TrainingPhase(), BATCH)
    assert learner.model.weight.item() == pytest.approx(0.002)


def test_a_parameter_called_like_a_method_is_one_among_others() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.items = nn.Parameter(torch.ones(1))
            self.values = nn.Parameter(torch.ones(1))

        def forward(self, xs):
            return self.items * xs + self.values

    learner = Learner(Odd(), nn.functional.l1_loss, data=([BATCH],), use_default_callbacks=False)
    learner.fit(1)
    assert sorted(learner.step.grads) == ["items", "values"]


@dataclass
class Rated(Phase):
    rate: float = 0.5


def test_a_phase_has_a_key_for_files_and_a_label_for_people() -> None:
    assert phases.phase_key(TrainingPhase()) == phases.phase_key(TrainingPhase) == "treadle.phases:TrainingPhase"
    assert phases.phase_label(TrainingPhase()) == "TrainingPhase"
    assert phases.phase_key(Rated()) == f"{__name__}:Rated(rate=0.5)"
    assert phases.phase_key(Rated) == f"{__name__}:Rated"
    assert phases.phase_label(Rated()) == "Rated(rate=0.5)"


# Bad input: each is a typed error that names the thing and the fix.


def with_phase(**attributes) -> None:
    toy_learner(nbatches=1).fit(1, phases=[type("Mine", (TrainingPhase,), attributes)()])


BAD = {
    "Phase.training = 3": (lambda: with_phase(training=3), "Mine\\.training is 3"),
    "Phase.training = 'yes'": (lambda: with_phase(training="yes"), "Mine\\.training is 'yes'"),
    "Phase.training = 1": (lambda: with_phase(training=1), "Mine\\.training is 1"),
    "Phase.training = torch.ones(2)": (lambda: with_phase(training=torch.ones(2)), "Mine\\.training is tensor"),
    "Phase.training = []": (lambda: with_phase(training=[]), "Mine\\.training is \\[\\]"),
    "Phase.data_name = 3": (lambda: with_phase(data_name=3), "Mine\\.data_name is 3"),
    "Phase.data_name = []": (lambda: with_phase(data_name=[]), "Mine\\.data_name is \\[\\]"),
    "Phase.data_name = True": (lambda: with_phase(data_name=True), "Mine\\.data_name is True"),
    "Phase.data_name = 'trainig'": (lambda: with_phase(data_name="trainig"), "has no such data"),
    "Phase.data_name = None": (lambda: with_phase(data_name=None), "has no data of its own"),
    "Phase.step = 3": (lambda: with_phase(step=3), "Mine\\.step must be a function, got 3"),
    "Phase.step = None": (lambda: with_phase(step=None), "Mine\\.step must be a function"),
    "Phase.step = lambda self: 0": (
        lambda: with_phase(step=lambda self: 0),
        "Mine\\.step is called with \\(self, learner, batch\\), and <lambda> takes \\(self\\)",
    ),
    "Phase.step = lambda self, batch: 0": (lambda: with_phase(step=lambda self, batch: 0), "takes \\(self, batch\\)"),
    "Phase.step = lambda self, learner, batch, more: 0": (
        lambda: with_phase(step=lambda self, learner, batch, more: 0),
        "takes \\(self, learner, batch, more\\)",
    ),
    "Phase.step = staticmethod(lambda batch: 0)": (
        lambda: with_phase(step=staticmethod(lambda batch: 0)),
        "is called with \\(learner, batch\\)",
    ),
    "Phase.epoch = 3": (lambda: with_phase(epoch=3), "Mine\\.epoch must be a function"),
    "Phase.epoch = lambda self, learner: 0": (
        lambda: with_phase(epoch=lambda self, learner: 0),
        "Mine\\.epoch is called with \\(self, learner, data\\)",
    ),
    "Phase.epoch = lambda: 0": (lambda: with_phase(epoch=lambda: 0), "takes \\(\\)"),
    "Phase.__hash__ = None": (lambda: with_phase(__hash__=None), "cannot be hashed"),
    "phase_key(None)": (lambda: phases.phase_key(None), "The phase must be an instance of Phase"),
    "phase_key(3)": (lambda: phases.phase_key(3), "The phase must be an instance of Phase"),
    "phase_key('training')": (lambda: phases.phase_key("training"), "The phase must be an instance of Phase"),
    "phase_label(None)": (lambda: phases.phase_label(None), "The phase must be an instance of Phase"),
    "phase_label(3)": (lambda: phases.phase_label(3), "The phase must be an instance of Phase"),
    "phase_label('training')": (lambda: phases.phase_label("training"), "The phase must be an instance of Phase"),
}


@pytest.mark.parametrize(("make", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_a_typed_error_that_names_the_thing_and_the_fix(make, message):
    with pytest.raises(TreadleError, match=message) as caught:
        make()
    assert "Fix: " in str(caught.value)


# A training step is written twice: by its parts, and in one function for the steps of an epoch.


class ByParts(TrainingPhase):
    step = by_parts


HOOKS = (
    "on_step_begin", "accumulate", "forward", "on_loss_begin", "loss", "on_backward_begin", "backward",
    "on_backward_end", "finalize_gradients", "on_update_begin", "update", "on_update_end", "on_step_end",
)  # fmt: skip
EXCEPTIONS = (
    CancelUpdateException, CancelStepException, CancelEpochException, CancelFittingException, RuntimeError,
    KeyboardInterrupt,
)  # fmt: skip


class Script(Callback):
    """Notes at each hook how things stand there, accumulates as it is written, and raises where it is written."""

    def __init__(self, raised: dict[tuple[str, int], type[BaseException]], accumulating: list[bool]) -> None:
        self.raised, self.accumulating = raised, accumulating
        self.learner: Learner | None = None
        self.calls = dict.fromkeys(HOOKS, 0)
        self.lines: list[object] = []

    def note(self, hook: str) -> None:
        learner = self.learner
        updates, slots = learner.position.updates, ("open", "began", "cancelled", "ran", "undecided", "batches")
        self.lines.append((hook, sorted(learner.step), *(getattr(updates, slot) for slot in slots)))
        self.lines.append((repr(learner.progress).replace("ByParts", "TrainingPhase"), learner.position.stepping))
        self.lines.append([None if p.grad is None else p.grad.item() for p in learner.params.values()])
        self.calls[hook] += 1
        if (hook, self.calls[hook]) in self.raised:
            raise self.raised[hook, self.calls[hook]](hook)


def scripted(hook: str):
    if hook.startswith("on_"):
        return lambda self, phase: self.note(hook)

    def wrap(self, phase):
        self.note(hook)
        result = yield
        return self.accumulating[(self.calls[hook] - 1) % len(self.accumulating)] if hook == "accumulate" else result

    return hookimpl(wrapper=True)(wrap)


for hook in HOOKS:
    setattr(Script, hook, scripted(hook))


def run(phase: Phase, script: Script, batches: int) -> list[object]:
    """All that can be seen of two fits."""
    learner = script.learner = toy_learner(script, nbatches=batches)
    for _ in range(2):
        try:
            result = learner.fit(2, phases=[phase])
            script.lines.append((result.epochs, result.steps, repr(result.cancelled)))
        except BaseException as error:
            notes = [note.replace("ByParts", "TrainingPhase") for note in getattr(error, "__notes__", ())]
            script.lines.append((type(error), str(error), notes))
        script.lines.append((learner.model.weight.item(), sorted(learner.step), repr(learner.progress)[-60:]))
    return script.lines


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(st.tuples(st.sampled_from(HOOKS), st.integers(1, 6)), st.sampled_from(EXCEPTIONS), max_size=4),
    st.lists(st.booleans(), min_size=1, max_size=3),
    st.integers(1, 4),
)
def test_a_training_step_in_one_function_does_what_it_does_by_its_parts(raised, accumulating, batches) -> None:
    by_one = run(TrainingPhase(), Script(raised, accumulating), batches)
    assert by_one == run(ByParts(), Script(raised, accumulating), batches)
