"""Events: what the training loop tells its callbacks.

Declaring an event declares its pluggy hook specification: the class `StepEnd` is the hook
`on_step_end`, and a callback handles it with a method of that name. There are few events, and
they are never multiplied by phase: the phase is an argument.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import ClassVar, TypeVar

import pluggy

PROJECT = "treadle"


T = TypeVar("T")


hookspec = pluggy.HookspecMarker(PROJECT)


hookimpl = pluggy.HookimplMarker(PROJECT)


def snake_case(name: str) -> str:
    """The name in snake_case.

    Example:
        >>> snake_case("StepEnd"), snake_case("StopOnNaNLoss"), snake_case("LRFinder")
        ('step_end', 'stop_on_nan_loss', 'lr_finder')
    """
    name = name.replace("NaN", "Nan")
    name = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name)
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower()


class Hook:
    """Something of the loop that callbacks take part in: an `Event` or an `Operation`.

    Attributes:
        hook: The name of the method by which a callback takes part.
        arguments: The names of the arguments that the method may ask for.
        phased: Whether it happens in a phase.
        spec: Its pluggy hook specification.
    """

    hook: ClassVar[str]
    arguments: ClassVar[tuple[str, ...]]
    phased: ClassVar[bool] = True
    spec: ClassVar[Callable[..., object]]

    @classmethod
    def declare(cls, hook: str, arguments: tuple[str, ...], *, firstresult: bool) -> None:
        """Make this class the hook called `hook`."""
        cls.hook = hook
        cls.arguments = arguments
        cls.spec = staticmethod(specification(hook, arguments, cls.__doc__, firstresult=firstresult))


def specification(
    name: str, arguments: tuple[str, ...], doc: str | None, *, firstresult: bool
) -> Callable[..., object]:
    """A function that pluggy reads as the specification of the hook `name`."""
    namespace: dict[str, Callable[..., object]] = {}
    exec(f"def {name}({', '.join(arguments)}): ...", namespace)  # pluggy reads the names off the code
    spec = namespace[name]
    spec.__doc__ = doc
    marked: Callable[..., object] = hookspec(spec, firstresult=firstresult)
    return marked


class Event(Hook):
    """Something that happens in the loop. A subclass is a new event, with its own hook.

    The hook's name is `on_` and the class's name in snake_case; a handler may ask for `learner`
    and, unless the class is declared with `phased=False`, for `phase`.

    Args:
        phased: Whether the event happens in a phase. Default: True.
        always: Whether every handler runs, also after one of them raised. Default: False.

    Example:
        >>> class SampleDrawn(Event):
        ...     "A sample was drawn from the replay buffer."
        >>> SampleDrawn.hook
        'on_sample_drawn'
    """

    always: ClassVar[bool] = False

    def __init_subclass__(cls, *, phased: bool = True, always: bool = False) -> None:
        super().__init_subclass__()
        cls.phased, cls.always = phased, always
        arguments = ("learner", "phase") if phased else ("learner",)
        cls.declare(f"on_{snake_case(cls.__name__)}", arguments, firstresult=False)


class Init(Event, phased=False):
    """The callbacks of a learner were set; handled by `on_init`, which must be idempotent."""


class FitBegin(Event, phased=False):
    """`fit` begins.

    Example:
        >>> from treadle import CustomCallback, toy_learner
        >>> hello = CustomCallback(lambda learner: print("Off we go."), FitBegin)
        >>> result = toy_learner(hello).fit(3)
        Off we go.
    """


class EpochBegin(Event):
    """An epoch begins, before its first batch is asked for.

    Example:
        >>> from treadle import Callback, toy_learner
        >>> class Announcer(Callback):
        ...     def on_epoch_begin(self, phase):
        ...         print(phase)
        >>> result = toy_learner(Announcer()).fit(1)
        TrainingPhase()
        ValidationPhase()
    """


class StepBegin(Event):
    """A step begins; `step.xs` and `step.ys` are there.

    Example:
        >>> from treadle import CustomCallback, Read, TrainingPhase, toy_learner
        >>> look = CustomCallback(lambda learner: print(*learner.step), StepBegin, TrainingPhase, {"step": Read})
        >>> result = toy_learner(look, nbatches=1).fit(1)
        xs ys
    """


class LossBegin(Event):
    """The model has answered and the loss comes next; `step.yhats` is there.

    Example:
        >>> from treadle import CustomCallback, Read, TrainingPhase, toy_learner
        >>> look = CustomCallback(lambda learner: print(*learner.step), LossBegin, TrainingPhase, {"step": Read})
        >>> result = toy_learner(look, nbatches=1).fit(1)
        xs ys yhats
    """


class BackwardBegin(Event):
    """The loss is there as `step.loss`, the gradients come next. Training only.

    Example:
        >>> from treadle import CustomCallback, Read, toy_learner
        >>> look = CustomCallback(lambda learner: print(*learner.step), BackwardBegin, state_access={"step": Read})
        >>> result = toy_learner(look, nbatches=1).fit(1)
        xs ys yhats loss
    """


class BackwardEnd(Event):
    """The gradients are there as `step.grads`, the update comes next. Training only.

    Example:
        >>> from treadle import CustomCallback, Read, toy_learner
        >>> look = CustomCallback(lambda learner: print(*learner.step.grads), BackwardEnd,
        ...                       state_access={"step.grads": Read})
        >>> result = toy_learner(look, nbatches=1).fit(1)
        weight
    """


class StepEnd(Event):
    """A step came to its end; all of its state is there.

    Example:
        >>> from treadle import CustomCallback, Read, TrainingPhase, toy_learner
        >>> losses = []
        >>> keep = CustomCallback(lambda learner: losses.append(learner.step.loss.detach()), StepEnd, TrainingPhase,
        ...                       {"step.loss": Read})
        >>> result = toy_learner(keep).fit(100)
        >>> len(losses), bool(losses[-1] < losses[0])
        (1600, True)
    """


class EpochEnd(Event):
    """An epoch came to its end, or was cancelled by `CancelEpochException`.

    Example:
        >>> from treadle import CustomCallback, TrainingPhase, toy_learner
        >>> tell = CustomCallback(lambda learner: print("One more round done."), EpochEnd, TrainingPhase)
        >>> result = toy_learner(tell).fit(2)
        One more round done.
        One more round done.
    """


class FitEnd(Event, phased=False, always=True):
    """`fit` ends, in whatever way: at its end, by a cancel or by an error.

    Example:
        >>> from treadle import Callback, CustomCallback, toy_learner
        >>> class Breaker(Callback):
        ...     def on_epoch_begin(self):
        ...         raise RuntimeError("The disk is full.")
        >>> tidy = CustomCallback(lambda learner: print("Files closed."), FitEnd)
        >>> try:
        ...     result = toy_learner(Breaker(), tidy).fit(1)
        ... except RuntimeError as error:
        ...     print(error)
        Files closed.
        The disk is full.
    """


def known_events() -> dict[str, type[Event]]:
    """Every event that is declared by now, by the name of its hook."""
    return {event.hook: event for event in subclasses(Event)}


def subclasses(parent: type[T]) -> Iterator[type[T]]:
    """All subclasses of a class that exist, each once, parents before children."""
    seen: dict[type[T], None] = {}
    waiting = parent.__subclasses__()
    while waiting:
        cls = waiting.pop(0)
        if cls not in seen:
            seen[cls] = None
            waiting.extend(cls.__subclasses__())
    yield from seen
