"""Phases: what kind of epoch is run. A phase knows how to run its epoch and its step."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, ClassVar

from treadle.arguments import function, instance_of, list_of, subclass_of
from treadle.errors import ArgumentTypeError, ArgumentValueError
from treadle.events import LossBegin
from treadle.loop.data.split import state_of_batch, state_of_inputs
from treadle.loop.loop import over_batches, run_step
from treadle.loop.update.training_step import training_step
from treadle.operations import Forward, Loss

if TYPE_CHECKING:
    from treadle.learner import Learner


__all__ = [
    "AbstractTrainingPhase",
    "AbstractValidationPhase",
    "EvaluationPhase",
    "Phase",
    "PredictionPhase",
    "TrainingPhase",
    "ValidationPhase",
]


class Phase:
    """A kind of epoch. A subclass says how to run a step, and may say how to run an epoch.

    Two phases are equal if their types and fields are; a phase can be the key of a mapping.

    Attributes:
        training: Whether the models are set to training mode (True), or to eval mode and without
            gradients (False), or are left alone (None). Default: None.
        data_name: The name of the phase's data in `learner.data`. Default: none.
        observed: Whether it is a part of the run, which callbacks observe. In one that is not, as `EvaluationPhase`, a
            handler that names no phase runs only if it takes part in what is computed: it handles an operation inside
            of a step, or its callback declares a Write of something else than `cbstate`. Default: True.

    Example:
        >>> from treadle import epoch, run_step, toy_learner
        >>> class Inspection(Phase):
        ...     "Go through the batches without any model."
        ...     data_name = "training"
        ...     def step(self, learner, batch):
        ...         with run_step(learner, self, xs=batch[0]) as (handle, state):
        ...             state.largest = state.xs.max()
        >>> learner = toy_learner()
        >>> epoch(learner, Inspection())
        >>> sorted(learner.step)
        ['largest', 'xs']
    """

    training: ClassVar[bool | None] = None
    data_name: ClassVar[str | None] = None
    observed: ClassVar[bool] = True

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if vars(cls).keys().isdisjoint(("__eq__", "__hash__")):
            cls.__hash__ = cls.__hash__  # type: ignore[method-assign]  # defined here, or @dataclass would remove it

    def epoch(self, learner: Learner, data: Any) -> None:
        """Run an epoch: a step for each batch.

        Raises:
            DataError: if there is no batch in the data.
        """
        over_batches(learner, self, data)

    def step(self, learner: Learner, batch: Any) -> Any:
        """Run a step. Every phase defines its own, with `run_step`."""
        raise NotImplementedError(
            f"{type(self).__name__} does not say how to run a step.\nFix: define it:\n"
            f"    def step(self, learner, batch):\n"
            f"        with run_step(learner, self, xs=batch) as (handle, state): ..."
        )

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), tuple(vars(self))))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({_fields(self)})"


class AbstractTrainingPhase(Phase):
    """Phases in which parameters are changed.

    Example:
        >>> from treadle import LossBegin, run_step, run_update, toy_learner
        >>> from treadle.operations import Forward, Loss
        >>> class Autoencoding(AbstractTrainingPhase):
        ...     "Train a model to give back its inputs."
        ...     def step(self, learner, batch):
        ...         with run_step(learner, self, xs=batch[0], ys=batch[0]) as (handle, state):
        ...             state.yhats = handle(Forward)
        ...             handle(LossBegin)
        ...             state.loss = handle(Loss)
        ...             run_update(learner, self)
        >>> learner = toy_learner()
        >>> result = learner.fit(150, phases=[Autoencoding()])
        >>> round(learner.model.weight.item(), 1)
        1.0
    """

    training = True
    data_name = "training"


class AbstractValidationPhase(Phase):
    """Phases in which no parameter is changed; they leave no trace in the random generators.

    Example:
        >>> from treadle import epoch, run_step, toy_learner
        >>> from treadle.operations import Forward
        >>> class Prediction(AbstractValidationPhase):
        ...     "Apply the model, without targets and loss."
        ...     def step(self, learner, batch):
        ...         with run_step(learner, self, xs=batch[0]) as (handle, state):
        ...             state.yhats = handle(Forward)
        >>> learner = toy_learner()
        >>> epoch(learner, Prediction())
        >>> learner.step.yhats.requires_grad
        False
    """

    training = False
    data_name = "validation"


class TrainingPhase(AbstractTrainingPhase):
    """Supervised training: the parameters are changed by the gradients of each batch's loss.

    The events of a step, and the state that is there from each of them on: `StepBegin` (`xs`,
    `ys`), `LossBegin` (`accumulating`, `yhats`), `BackwardBegin` (`loss`), `BackwardEnd` (`grads`); unless the step
    accumulates, `UpdateBegin` and `UpdateEnd`; `StepEnd`.

    Example:
        >>> from treadle import epoch, toy_learner
        >>> learner = toy_learner()
        >>> epoch(learner, TrainingPhase())
        >>> sorted(learner.step)
        ['accumulating', 'grads', 'loss', 'xs', 'yhats', 'ys']
    """

    step = training_step


class ValidationPhase(AbstractValidationPhase):
    """Validation: the loss of each batch, in eval mode and without gradients.

    The events of a step, and the state that is there from each of them on: `StepBegin` (`xs`,
    `ys`), `LossBegin` (`yhats`), `StepEnd` (`loss`).

    Example:
        >>> from treadle import epoch, toy_learner
        >>> learner = toy_learner()
        >>> epoch(learner, ValidationPhase())
        >>> sorted(learner.step)
        ['loss', 'xs', 'yhats', 'ys']
    """

    def step(self, learner: Learner, batch: Any) -> None:
        """Evaluate a batch: a pair (inputs, targets), or what the learner's `split` makes one of."""
        with run_step(learner, self, **state_of_batch(learner, batch, self)) as (handle, state):
            state.yhats = handle[Forward]()
            handle[LossBegin]()
            state.loss = handle[Loss]()


class EvaluationPhase(Phase):
    """What `learner.evaluate` runs: the loss of each batch, in eval mode and without gradients.

    It is not a part of the run: nothing that looks at validation sees it, and nothing is recorded. See
    `Phase.observed` for who takes part. The events of a step and its state are those of `ValidationPhase`.

    Example:
        >>> from treadle import toy_learner
        >>> learner = toy_learner()
        >>> learner.evaluate(learner.data.validation) == learner.evaluate()
        True
    """

    training = False
    data_name = "test"
    observed = False

    def step(self, learner: Learner, batch: Any) -> None:
        """Evaluate a batch: a pair (inputs, targets), or what the learner's `split` makes one of."""
        ended = False
        with run_step(learner, self, **state_of_batch(learner, batch, self)) as (handle, state):
            state.yhats = handle[Forward]()
            handle[LossBegin]()
            state.loss = handle[Loss]()
            ended = True
        if ended:
            learner.position.collect(learner)


class PredictionPhase(Phase):
    """What `learner.predict` runs: the model is applied, in eval mode and without gradients, targets or a loss.

    Like `EvaluationPhase` it is not a part of the run. The events of a step, and the state that is there from each of
    them on: `StepBegin` (`xs`, and `ys` if the batch has any), `StepEnd` (`yhats`).

    Example:
        >>> import torch
        >>> from treadle import toy_learner
        >>> toy_learner().predict([torch.ones(2, 1), torch.ones(1, 1)])
        tensor([[0.],
                [0.],
                [0.]])
    """

    training = False
    data_name = "prediction"
    observed = False

    def step(self, learner: Learner, batch: Any) -> None:
        """Apply the model to a batch: inputs alone, or a pair (inputs, targets)."""
        ended = False
        with run_step(learner, self, **state_of_inputs(learner, batch, self)) as (handle, state):
            state.yhats = handle[Forward]()
            ended = True
        if ended:
            learner.position.collect(learner)


def phase_key(phase: Phase | type[Phase]) -> str:
    """A phase as a string that is the same in every process, for files.

    Args:
        phase: A phase; or a type of phase, whose key leaves out the fields.

    Example:
        >>> phase_key(ValidationPhase()), phase_key(ValidationPhase)
        ('treadle.phases:ValidationPhase', 'treadle.phases:ValidationPhase')
    """
    if isinstance(phase, type):
        subclass_of(phase, "The phase", Phase, "phase_key(TrainingPhase)")
    else:
        instance_of(phase, "The phase", Phase, "phase_key(TrainingPhase())")
    cls = phase if isinstance(phase, type) else type(phase)
    fields = "" if isinstance(phase, type) else _fields(phase)
    return f"{cls.__module__}:{cls.__qualname__}" + (f"({fields})" if fields else "")


def phase_label(phase: Phase) -> str:
    """A phase as people read it: the name of its type, and its fields if it has any.

    Example:
        >>> phase_label(TrainingPhase())
        'TrainingPhase'
    """
    fields = _fields(instance_of(phase, "The phase", Phase, "phase_label(TrainingPhase())"))
    return type(phase).__name__ + (f"({fields})" if fields else "")


def _fields(phase: Phase) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in vars(phase).items())


def as_phases(phases: Any) -> tuple[Phase, ...]:
    """Phases, as `fit` and `plan` take them.

    Raises:
        ArgumentTypeError: if it is not a list of phases.
        ArgumentValueError: if it is empty.
    """
    example = repr(phases) if isinstance(phases, Phase) else "TrainingPhase()"
    found: tuple[Phase, ...] = list_of(phases, "phases", Phase, f"phases=[{example}]")
    if not found:
        raise ArgumentValueError("phases is empty.\nFix: write, for example:\n    phases=[TrainingPhase()]")
    for phase in found:
        check_phase(phase)
    return found


def check_phase(phase: Any) -> None:
    """Refuse what is not an instance of a phase, or cannot be hashed."""
    instance_of(phase, "The phase", Phase, "TrainingPhase()")
    if type(phase).__hash__ is None:
        name = type(phase).__name__
        raise ArgumentTypeError(
            f"{name} cannot be hashed, so nothing can be kept for it: it defines __eq__ alone.\n"
            f"Fix: delete {name}.__eq__, or define __hash__ as well."
        )
    if phase.training is not True and phase.training is not False and phase.training is not None:
        raise ArgumentTypeError(
            f"{type(phase).__name__}.training is {phase.training!r}, not True, False or None.\n"
            f"Fix: write, for training mode, eval mode, or the models as they are:\n    training = True"
        )
    if phase.observed is not True and phase.observed is not False:
        raise ArgumentTypeError(
            f"{type(phase).__name__}.observed is {phase.observed!r}, not True or False.\n"
            f"Fix: write, for a phase that is not a part of the run:\n    observed = False"
        )
    if phase.data_name is not None and not isinstance(phase.data_name, str):
        raise ArgumentTypeError(
            f"{type(phase).__name__}.data_name is {phase.data_name!r}, not the name of data.\n"
            f'Fix: write, for example:\n    data_name = "training"'
        )
    check_methods(type(phase))  # type: ignore[arg-type]  # a class with a hash of its own can be hashed itself


@functools.lru_cache(maxsize=256)
def check_methods(cls: type[Phase]) -> None:
    """Refuse a type of phase whose `step` or `epoch` does not take what it is called with."""
    for name, argument in (("step", "batch"), ("epoch", "data")):
        method = getattr(cls, name)
        is_static = isinstance(inspect.getattr_static(cls, name), (staticmethod, classmethod))
        takes = ("learner", argument) if is_static else ("self", "learner", argument)
        function(method, f"{cls.__name__}.{name}", f"def {name}(self, learner, {argument}): ...", takes=takes)
