"""`infer_access`: what it finds passes the contract, and with one line less it does not."""

from itertools import permutations

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from treadle import (
    AbstractTrainingPhase,
    Callback,
    CustomCallback,
    EvaluationPhase,
    Read,
    StepEnd,
    TrainingPhase,
    Write,
    throttle,
    toy_learner,
)
from treadle.authoring import named_tensors
from treadle.errors import ArgumentTypeError
from treadle.testing import CallbackCheckError, check_callback, infer_access
from treadle.testing.contract import CHECKS

#: The checks that are about declarations, in few steps.
OF_DECLARATIONS = ("declarations", "handlers", "training", "access", "audit", "setups")
SMALL = {"nbatches": 3}
LEFT_OUT = dict.fromkeys(CHECKS.keys() - set(OF_DECLARATIONS), "not about declarations")


def scale_gradients(learner):
    for _, gradient in named_tensors(learner.step.grads):
        gradient.mul_(0.5)


def shrink(learner):
    for _, parameter in named_tensors(learner.params):
        parameter.data.mul_(0.99)


def count(learner):
    learner.cbstate.count = learner.cbstate.get("count", 0) + 1


def list_models(learner):
    return [type(learner.model), learner.optimizer, learner.lossfn]


def replace_inputs(learner):
    learner.step.xs = learner.step.xs + 0.5


#: What a handler does, and what it has to declare for that.
USES = {
    "the loss": (lambda learner: learner.step.loss, {"step.loss": Read}),
    "whether there is a loss": (lambda learner: "loss" in learner.step, {"step.loss": Read}),
    "the inputs": (replace_inputs, {"step.xs": Write}),
    "the outputs": (lambda learner: learner.step["yhats"].sum(), {"step.yhats": Read}),
    "all of the step": (lambda learner: list(learner.step), {"step": Read}),
    "the norm": (lambda learner: [g.norm() for _, g in named_tensors(learner.step.grads)], {"step.grads": Read}),
    "the gradients": (scale_gradients, {"step.grads": Write}),
    "the weights": (lambda learner: [p.norm() for _, p in named_tensors(learner.params)], {"params": Read}),
    "smaller weights": (shrink, {"params": Write}),
    "the data": (lambda learner: len(learner.data.training), {"data.training": Read}),
    "the models": (list_models, {"model": Read, "optimizer": Read, "lossfn": Read}),
    "the callbacks": (lambda learner: len(list(learner.callbacks)), {"callbacks": Read}),
    "an entry": (count, {"cbstate.count": Write}),
    "another entry": (lambda learner: setattr(learner.cbstate, "seen", 1), {"cbstate.seen": Write}),
    "the loop": (lambda learner: learner.loop, {"loop": Write}),
}


class Drawn(Callback):
    """Uses what was drawn, and declares what it is given."""

    def __init__(self, uses, access=()):
        self.uses, self.state_access = uses, dict(access)

    def on_backward_end(self, learner):
        for use in self.uses:
            USES[use][0](learner)


def expected(uses):
    """What a callback declares for its uses, without what is said already by a line above."""
    access = {}
    for use in uses:
        for path, permission in USES[use][1].items():
            access[path] = Write if Write in (permission, access.get(path)) else Read
    if "step" in access:
        access = {path: kind for path, kind in access.items() if not path.startswith("step.") or kind is Write}
        if access.get("params") is Write:  # which may change the gradients, that `step` may read
            access.pop("step.grads", None)
    return access


@settings(max_examples=5, deadline=None)
@given(uses=st.lists(st.sampled_from(sorted(USES)), unique=True, min_size=1, max_size=4))
def test_what_is_inferred_passes_the_contract_and_with_one_line_less_it_does_not(uses) -> None:
    found = infer_access(lambda: Drawn(uses), **SMALL)
    assert dict(found.state_access) == expected(uses)
    assert check_callback(lambda: Drawn(uses, found.state_access), skip=LEFT_OUT, **SMALL).failed == 0
    for path in found.state_access:
        fewer = {other: kind for other, kind in found.state_access.items() if other != path}
        with pytest.raises(CallbackCheckError):
            check_callback(lambda fewer=fewer: Drawn(uses, fewer), skip=LEFT_OUT, **SMALL)


OF_WEIGHTS = ("all of the step", "the gradients", "the weights", "smaller weights")


@pytest.mark.parametrize("uses", [*permutations(OF_WEIGHTS[:3]), *permutations((*OF_WEIGHTS[:2], OF_WEIGHTS[3]))])
def test_the_order_of_the_uses_does_not_matter(uses) -> None:
    assert dict(infer_access(lambda: Drawn(uses), **SMALL).state_access) == expected(uses)


@pytest.mark.parametrize("use", USES)
def test_each_use_is_found(use: str) -> None:
    assert dict(infer_access(lambda: Drawn([use]), **SMALL).state_access) == USES[use][1]


def test_it_reads_as_a_declaration_in_the_order_of_the_learners_fields() -> None:
    found = infer_access(lambda: Drawn(["an entry", "the norm", "the loss"]), **SMALL)
    assert str(found) == repr(found)
    assert str(found) == (
        'state_access = {\n    "step.grads": Read,\n    "step.loss": Read,\n    "cbstate.count": Write,\n}'
    )


def test_a_callback_that_uses_nothing_declares_nothing() -> None:
    assert str(infer_access(lambda: CustomCallback(lambda learner: None, StepEnd), **SMALL)) == "state_access = {}"


def test_what_it_declares_does_not_matter_and_stays() -> None:
    class Wrong(Drawn):
        state_access = {"step.xs": Write, "model": Write}

        def __init__(self):
            self.uses = ["the loss"]

    assert dict(infer_access(Wrong, **SMALL).state_access) == {"step.loss": Read}
    assert Wrong().state_access == {"step.xs": Write, "model": Write}


def test_a_refusal_that_the_handler_catches_is_found() -> None:
    class Cautious(Callback):
        def on_step_end(self, learner):
            try:
                self.loss = float(learner.step.loss)
            except Exception:
                self.loss = None

    assert dict(infer_access(Cautious, **SMALL).state_access) == {"step.loss": Read}


def test_an_entry_below_an_entry_needs_no_line_of_the_one_above() -> None:
    class Deep(Callback):
        def on_init(self, learner):
            learner.cbstate.deep = {"count": 0}

        def on_step_end(self, learner):
            learner.cbstate.deep["count"] += 1

    assert dict(infer_access(Deep, **SMALL).state_access) == {"cbstate.deep": Write}


class Mean(Callback):
    """Writes an entry that others read."""

    state_access = {"step.loss": Read, "cbstate.mean": Write}

    def on_init(self, learner):
        learner.cbstate.mean = 0.0

    def on_step_end(self, learner):
        learner.cbstate.mean = 0.9 * learner.cbstate.mean + 0.1 * learner.step.loss.item()


class Show(Callback):
    """Reads an entry of another callback."""

    def on_epoch_end(self, learner):
        self.shown = f"{learner.cbstate.mean:.2f}"


def test_an_entry_of_a_partner_is_read() -> None:
    assert dict(infer_access(Show, partners=[Mean], **SMALL).state_access) == {"cbstate.mean": Read}


def test_an_entry_that_nobody_writes_is_an_error_with_what_was_found() -> None:
    with pytest.raises(AttributeError, match="There is no `mean` here") as raised:
        infer_access(Show, **SMALL)
    assert raised.value.__notes__[-1] == (
        "Fix: pass the callbacks that it needs beside it:\n    infer_access(MyCallback, partners=[Recorder])"
    )


def test_a_throttled_callback_is_as_the_callback() -> None:
    found = infer_access(lambda: throttle(Mean(), StepEnd, freq=2), **SMALL)
    assert dict(found.state_access) == Mean.state_access


def test_handlers_that_no_training_calls_are_named() -> None:
    class Later(Callback):
        def on_step_end(self, learner, phase: TrainingPhase):
            return learner.step.loss

        def on_epoch_end(self, learner, phase: EvaluationPhase):
            return learner.step.yhats

    found = infer_access(Later, **SMALL)
    assert found.not_called == ("on_epoch_end",)
    assert str(found) == (
        'state_access = {\n    "step.loss": Read,\n}\n# on_epoch_end was not called: add what it uses.'
    )


def test_a_kind_of_learner_that_it_does_not_work_with_is_named_and_adds_nothing() -> None:
    class OneModel(Callback):
        def on_step_end(self, learner, phase: AbstractTrainingPhase):
            if "decoder" in learner.params:
                raise ValueError("one model, please")

    found = infer_access(OneModel, **SMALL)
    assert dict(found.not_tried) == {"two models": "ValueError: one model, please"}
    assert str(found).splitlines()[-1] == "# It does not work with: two models. ValueError: one model, please"


def test_an_error_of_the_callback_reaches_its_author_as_it_is() -> None:
    class Broken(Callback):
        def on_step_end(self, learner):
            return 1 / (0 * learner.progress.step)

    with pytest.raises(ZeroDivisionError) as raised:
        infer_access(Broken, **SMALL)
    assert any(
        note.startswith("Raised while infer_access trained it with state_access = {}.")
        for note in raised.value.__notes__
    )


def test_with_a_learner_of_its_author_the_data_and_models_are_his() -> None:
    made = []

    def make(*callbacks, **options):
        made.append(toy_learner(*callbacks, nbatches=2, **options))
        return made[-1]

    found = infer_access(lambda: Drawn(["the loss"]), learner=make)
    assert dict(found.state_access) == {"step.loss": Read}
    assert len(made) == 4  # once more than there are kinds, since a line was missing


def test_what_no_declaration_allows_is_refused() -> None:
    class Counts(Callback):
        def on_step_end(self, learner):
            learner.progress.steps = 3

    with pytest.raises(Exception, match="writes `progress`, which only the loop does"):
        infer_access(Counts, **SMALL)


def test_bad_input_is_refused_by_its_name() -> None:
    with pytest.raises(
        ArgumentTypeError, match=r"infer_access was given .*\n.*\n    infer_access\(lambda: Mean\(\.\.\.\)\)"
    ):
        infer_access(Mean())
