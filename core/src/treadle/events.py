"""Events: what happens in the training loop, as hooks of callbacks.

The class `StepEnd` is the event, and the `def on_step_end` in it is its pluggy hook specification: a
callback handles the event with a method of that name. There are few events, and they are never
multiplied by phase: the phase is an argument.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, ClassVar, TypeVar

import pluggy

from treadle.arguments import instance_of
from treadle.errors import ArgumentTypeError

if TYPE_CHECKING:
    from treadle.learner import Learner
    from treadle.phases import Phase

PROJECT = "treadle"
T = TypeVar("T")
H = TypeVar("H", bound="Hook")

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
    """Something of the loop that callbacks can handle: an `Event` or an `Operation`.

    Attributes:
        hook: The name of the method with which a callback handles it.
        arguments: The names of the arguments that the method may ask for.
        phased: Whether it happens in a phase.
        spec: Its pluggy hook specification.
    """

    hook: ClassVar[str]
    arguments: ClassVar[tuple[str, ...]]
    phased: ClassVar[bool] = True
    spec: ClassVar[Callable[..., object]]

    @classmethod
    def declare(cls, name: str, default: Callable[..., object]) -> None:
        """Make this class the hook called `name`. Its specification is a `def` in the class, or else the default."""
        marker, arguments = f"{PROJECT}_spec", arguments_of(default)
        fix = f"    @staticmethod\n    @hookspec\n    def {name}({', '.join(arguments)}): ..."
        others = [other for other in vars(cls) if other != name and hasattr(getattr(cls, other), marker)]
        if others:
            raise ArgumentTypeError(
                f"{cls.__name__} defines the hook specification `{'`, `'.join(others)}`, and its hook is `{name}`.\n"
                f"Fix: define that one and no other:\n{fix}"
            )
        spec = getattr(cls, name) if name in vars(cls) else default
        if not callable(spec):
            raise ArgumentTypeError(
                f"{cls.__name__}.{name} is {spec!r}, not a hook specification.\nFix: define it:\n{fix}"
            )
        if arguments_of(spec) != arguments:
            raise ArgumentTypeError(
                f"{cls.__name__}.{name} takes ({', '.join(arguments_of(spec))}), and what is passed is "
                f"({', '.join(arguments)}).\nFix: take these arguments:\n{fix}"
            )
        if not hasattr(spec, marker):
            hookspec(spec, **getattr(default, marker))
        spec.__doc__ = spec.__doc__ or cls.__doc__
        cls.arguments, cls.spec, cls.hook = arguments, staticmethod(spec), name


def arguments_of(function: Callable[..., object]) -> tuple[str, ...]:
    """The names of a function's arguments."""
    return tuple(inspect.signature(function).parameters)


class Event(Hook):
    """Something that happens in the loop. A subclass is a new event, with its own hook.

    The hook's name is `on_` and the class's name in snake_case; a handler may ask for `learner`
    and, unless the class is declared with `phased=False`, for `phase`. The specification may be
    written in the class, so that a search for the hook's name finds it.

    Args:
        phased: Whether the event happens in a phase. Default: True.
        always: Whether every handler runs, also after one of them raised. Default: False.

    Raises:
        ArgumentTypeError: if the class defines a hook specification of another name, or with other
            arguments.

    Example:
        >>> class SampleDrawn(Event):
        ...     "A sample was drawn from the replay buffer."
        ...     @staticmethod
        ...     @hookspec
        ...     def on_sample_drawn(learner, phase): ...
        >>> SampleDrawn.hook
        'on_sample_drawn'
    """

    always: ClassVar[bool] = False

    def __init_subclass__(cls, *, phased: bool = True, always: bool = False) -> None:
        super().__init_subclass__()
        instance_of(phased, f"phased of {cls.__name__}", bool, f"class {cls.__name__}(Event, phased=False): ...")
        instance_of(always, f"always of {cls.__name__}", bool, f"class {cls.__name__}(Event, always=True): ...")
        cls.phased, cls.always = phased, always
        cls.declare(f"on_{snake_case(cls.__name__)}", on_event if phased else on_event_without_phase)


@hookspec
def on_event(learner: Learner, phase: Phase) -> None:
    """The specification of an event that does not write one."""


@hookspec
def on_event_without_phase(learner: Learner) -> None:
    """The specification of an event outside of all phases that does not write one."""


class Init(Event, phased=False):
    """The callbacks of a learner were set; handled by `on_init`, which must be idempotent."""

    @staticmethod
    @hookspec
    def on_init(learner: Learner) -> None: ...


class FitBegin(Event, phased=False):
    """`fit` begins.

    Example:
        >>> from treadle import CustomCallback, toy_learner
        >>> hello = CustomCallback(lambda learner: print("Off we go."), FitBegin)
        >>> result = toy_learner(hello).fit(3)
        Off we go.
    """

    @staticmethod
    @hookspec
    def on_fit_begin(learner: Learner) -> None: ...


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

    @staticmethod
    @hookspec
    def on_epoch_begin(learner: Learner, phase: Phase) -> None: ...


class StepBegin(Event):
    """A step begins; `step.xs` and `step.ys` are there.

    Example:
        >>> from treadle import CustomCallback, Read, TrainingPhase, toy_learner
        >>> look = CustomCallback(lambda learner: print(*learner.step), StepBegin, TrainingPhase, {"step": Read})
        >>> result = toy_learner(look, nbatches=1).fit(1)
        xs ys
    """

    @staticmethod
    @hookspec
    def on_step_begin(learner: Learner, phase: Phase) -> None: ...


class LossBegin(Event):
    """The model was applied and the loss comes next; `step.yhats` is there.

    Example:
        >>> from treadle import CustomCallback, Read, TrainingPhase, toy_learner
        >>> look = CustomCallback(lambda learner: print(*learner.step), LossBegin, TrainingPhase, {"step": Read})
        >>> result = toy_learner(look, nbatches=1).fit(1)
        xs ys accumulating yhats
    """

    @staticmethod
    @hookspec
    def on_loss_begin(learner: Learner, phase: Phase) -> None: ...


class BackwardBegin(Event):
    """The loss is there as `step.loss`, the gradients come next. Training only.

    Example:
        >>> from treadle import CustomCallback, Read, toy_learner
        >>> look = CustomCallback(lambda learner: print(*learner.step), BackwardBegin, state_access={"step": Read})
        >>> result = toy_learner(look, nbatches=1).fit(1)
        xs ys accumulating yhats loss
    """

    @staticmethod
    @hookspec
    def on_backward_begin(learner: Learner, phase: Phase) -> None: ...


class BackwardEnd(Event):
    """The gradients of this batch are there as `step.grads`, as the backward pass left them. Training only.

    They may be scaled, or those of a part of an update; where they are whole, there is `UpdateBegin`.

    Example:
        >>> from treadle import CustomCallback, Read, toy_learner
        >>> look = CustomCallback(lambda learner: print(*learner.step.grads), BackwardEnd,
        ...                       state_access={"step.grads": Read})
        >>> result = toy_learner(look, nbatches=1).fit(1)
        weight
    """

    @staticmethod
    @hookspec
    def on_backward_end(learner: Learner, phase: Phase) -> None: ...


class UpdateBegin(Event):
    """The gradients of an update are whole: of every batch, unscaled, reduced. The update comes next. Training only.

    Whoever changes or reads the gradients stands here: clipping, noise, norms, histograms.

    Example:
        >>> from treadle import CustomCallback, Write, toy_learner
        >>> def clip(learner):
        ...     learner.step.grads["weight"].clamp_(-1, 1)
        >>> learner = toy_learner(CustomCallback(clip, UpdateBegin, state_access={"step.grads": Write}))
        >>> result = learner.fit(1)
        >>> round(learner.model.weight.item(), 3)  # 16 updates with a learning rate of 0.001
        0.016
    """

    @staticmethod
    @hookspec
    def on_update_begin(learner: Learner, phase: Phase) -> None: ...


class UpdateEnd(Event):
    """The parameters were changed. Not dispatched where they were not: by a cancel, or if `update` returned False.

    What follows the parameters stands here: averages, schedules that count updates.

    Example:
        >>> from treadle import CustomCallback, toy_learner
        >>> show = CustomCallback(lambda learner: print(learner.progress.updates), UpdateEnd)
        >>> result = toy_learner(show, nbatches=2).fit(1)
        1
        2
    """

    @staticmethod
    @hookspec
    def on_update_end(learner: Learner, phase: Phase) -> None: ...


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

    @staticmethod
    @hookspec
    def on_step_end(learner: Learner, phase: Phase) -> None: ...


class EpochEnd(Event):
    """An epoch came to its end, or was cancelled by `CancelEpochException`.

    Example:
        >>> from treadle import CustomCallback, TrainingPhase, toy_learner
        >>> tell = CustomCallback(lambda learner: print("One more round done."), EpochEnd, TrainingPhase)
        >>> result = toy_learner(tell).fit(2)
        One more round done.
        One more round done.
    """

    @staticmethod
    @hookspec
    def on_epoch_end(learner: Learner, phase: Phase) -> None: ...


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

    @staticmethod
    @hookspec
    def on_fit_end(learner: Learner) -> None: ...


def known_events() -> dict[str, type[Event]]:
    """Every event that is declared by now, by the name of its hook."""
    return declared(Event)


def declared(parent: type[H]) -> dict[str, type[H]]:
    """Every subclass of a hook that is declared by now, by the name of its hook; not one that was refused."""
    return {cls.hook: cls for cls in subclasses(parent) if "hook" in vars(cls)}


def subclasses(parent: type[T]) -> Iterator[type[T]]:
    """All subclasses of a class that exist, without repetition, parents before children."""
    seen: dict[type[T], None] = {}
    waiting = parent.__subclasses__()
    while waiting:
        cls = waiting.pop(0)
        if cls not in seen:
            seen[cls] = None
            waiting.extend(cls.__subclasses__())
    yield from seen
