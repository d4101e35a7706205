"""Does it work in other setups: without validation, by accumulated gradients, in phases of one's own?"""

from __future__ import annotations

from collections.abc import Iterator

from treadle.callback import Callback
from treadle.errors import ProtectedException, TreadleError
from treadle.events import BackwardEnd, StepEnd
from treadle.ordering.handlers import handlers, handles
from treadle.phases import AbstractTrainingPhase, AbstractValidationPhase, Phase, TrainingPhase, ValidationPhase
from treadle.testing.kinds import ACCUMULATION, OWN_PHASE, TWO_MODELS, WITHOUT_VALIDATION, Kind
from treadle.testing.report import Checked, Finding, message_of
from treadle.testing.subject import Subject, seeded

#: The kinds that differ in data and callbacks, and all; phases and models are the author's where the learner is.
KINDS_OF_DATA = (WITHOUT_VALIDATION, ACCUMULATION)
KINDS = (*KINDS_OF_DATA, OWN_PHASE, TWO_MODELS)

#: The core's phases, and what else is of that sort.
GENERAL: dict[type[Phase], type[Phase]] = {
    TrainingPhase: AbstractTrainingPhase,
    ValidationPhase: AbstractValidationPhase,
}
REFUSAL = 'raise ArgumentValueError("what is missing\\nFix: ...")'


def check(subject: Subject) -> Checked:
    """It works without validation data, with accumulated gradients, in phases of other authors, with several models.

    How: A training of each kind. Remarks are: a refusal by an error of `treadle.errors`; `step.grads` used at
        `BackwardEnd` or `StepEnd`, where they may be of a part of an update; several models that are not supported;
        handlers for `TrainingPhase` alone.
    Guarantee: 8, the gradients are what they are called; and a callback works with phases of other authors.
    Message: It fails ...
    """
    remarks = [*exact_phases(subject.callback), *partial_gradients(subject.callback)]
    kinds = KINDS if subject.learner is None else KINDS_OF_DATA
    covered = []
    for kind in kinds:
        refusal = trained(subject, kind)
        if refusal is None:
            covered.append(kind.name)
        else:
            remarks.append(refusal)
    return Checked(len(kinds), "kinds of learner", remarks, covered)


def trained(subject: Subject, kind: Kind) -> str | None:
    """A remark if it refuses a kind, as it may; an error of another kind is a finding but for several models."""
    try:
        with seeded():
            subject.train(kind)
    except Exception as error:
        text = message_of(error)
        refused = isinstance(error, TreadleError) and not isinstance(error, ProtectedException)
        if kind is TWO_MODELS:
            return (
                f"Several models are not supported:\n{text}\n"
                "Fix: `params`, `step.grads` and `model` are mappings by the models' names then; "
                "go through all parameters or gradients alike:\n"
                "    from treadle.authoring import named_tensors\n"
                "    for name, parameter in named_tensors(learner.params): ..."
            )
        if refused:
            return f"It refuses to work {kind.setup}:\n{text}"
        fix = (
            ""
            if "Fix:" in text
            else f"\nFix: let it work {kind.setup}, or refuse it before the first step:\n    {REFUSAL}"
        )
        raise Finding(f"It fails {kind.setup}:\n{text}{fix}") from error
    return None


def exact_phases(callback: Callback) -> Iterator[str]:
    """A remark if a handler is called in the core's own phases alone."""
    found: dict[str, list[str]] = {}
    for name, handler in handlers(callback).items():
        for kind, general in GENERAL.items():
            if kind in handler.phases and general not in handler.phases:
                found.setdefault(kind.__name__, []).append(name)
    for kind_name, names in found.items():
        yield (
            f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} called in {kind_name} and its subclasses, and "
            f"not in phases of other authors.\nFix: where any phase of that sort would do, annotate:\n"
            f"    phase: Abstract{kind_name}"
        )


def partial_gradients(callback: Callback) -> Iterator[str]:
    """A remark if it uses the gradients where they may be scaled, or of a part of an update."""
    declared = [path for path in callback.state_access if path == "step.grads" or path.startswith("step.grads.")]
    seen = [hook.hook for hook in (BackwardEnd, StepEnd) if handles(callback, hook, TrainingPhase)]
    if declared and seen:
        yield (
            f"{' and '.join(seen)} of a callback that uses `{declared[0]}` {'is' if len(seen) == 1 else 'are'} called "
            f"where the gradients may be scaled, or those of a part of an update; callbacks that accumulate or scale "
            f"refuse it.\n"
            f"Fix: use them where they are whole, before each update:\n    def on_update_begin(self, learner): ..."
        )
