"""`Callback`: what everything optional is; and how two of them settle a conflict."""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

from treadle.access import Permission, checked
from treadle.arguments import function, instance_of, shown_arguments
from treadle.errors import CallbackError
from treadle.events import Event
from treadle.phases import Phase

if TYPE_CHECKING:
    import torch

    from treadle.learner import Learner
    from treadle.loop.data.processes import Part, Processes


class ConflictResolution:
    """How two callbacks that use the same state can be used together. See `resolve_conflict`."""


@dataclass(frozen=True)
class NotDefined(ConflictResolution):
    """It is left open, to the other callback, to plugins, and then to the data flow; the default.

    Example:
        >>> Callback().resolve_conflict(Callback())
        NotDefined()
    """


@dataclass(frozen=True)
class NoConflict(ConflictResolution):
    """They use the same state, and any order of the two is right.

    Example:
        >>> from treadle import Write, toy_learner
        >>> class Tally(Callback):
        ...     "Count on from what others have counted."
        ...     state_access = {"cbstate.tally": Write}
        ...     def on_step_end(self, learner):
        ...         learner.cbstate.tally = learner.cbstate.get("tally", 0) + 1
        ...     def resolve_conflict(self, other):
        ...         return NoConflict() if isinstance(other, Tally) else NotDefined()
        >>> class TallyToo(Tally): ...
        >>> learner = toy_learner(Tally(), TallyToo())
        >>> result = learner.fit(1)
        >>> learner.cbstate.tally
        64
    """


@dataclass(frozen=True)
class Unresolvable(ConflictResolution):
    """They must not be used together.

    Args:
        reason: A sentence; it becomes part of the error. Default: none.

    Example:
        >>> from treadle import CallbackConflictError, Write, toy_learner
        >>> class Halve(Callback):
        ...     state_access = {"model": Write}
        ...     def on_epoch_end(self, learner): ...
        ...     def resolve_conflict(self, other):
        ...         return Unresolvable("Half a half is a quarter.")
        >>> class HalveToo(Halve): ...
        >>> try:
        ...     learner = toy_learner(Halve(), HalveToo())
        ... except CallbackConflictError as error:
        ...     print(error.problems[0].what)
        Halve and HalveToo cannot be used together (from Halve.resolve_conflict): Half a half is a quarter.
    """

    reason: str = ""

    def __post_init__(self) -> None:
        instance_of(self.reason, "reason", str, 'Unresolvable("Both scale the loss.")')


@dataclass(frozen=True)
class RunFirst(ConflictResolution):
    """One of the two, `callback`, has to run before the other.

    Example:
        >>> from treadle import Write, toy_learner
        >>> class Start(Callback):
        ...     "Set a value, before anyone changes it."
        ...     state_access = {"cbstate.value": Write}
        ...     def on_fit_begin(self, learner):
        ...         learner.cbstate.value = 1
        ...     def resolve_conflict(self, other):
        ...         return RunFirst(self)
        >>> class Double(Callback):
        ...     state_access = {"cbstate.value": Write}
        ...     def on_fit_begin(self, learner):
        ...         learner.cbstate.value *= 2
        >>> learner = toy_learner(Double(), Start())
        >>> result = learner.fit(0)
        >>> learner.cbstate.value
        2
    """

    callback: Callback


class Measure(Protocol):
    """What measures an evaluation; see `Callback.measure`."""

    def step(self, learner: Any, phase: Phase) -> None:
        """Measure a step that has ended."""

    def values(self) -> Mapping[str, float | torch.Tensor]:
        """The values of all steps by their names; a number on a device stays there."""

    def added_up(self, learner: Any, phase: Phase) -> Iterable[Part]:
        """What it has added up; in a run of several processes what all have is combined before `values`."""


class Callback:
    """Something optional in a training: it handles events, and can wrap or override operations.

    A subclass declares what state of the learner it uses and handles events with methods named
    for them. A handler asks for any of `learner` and `phase` by name; an annotation of `phase`
    restricts it to that type of phase, and without one it means every phase of the run (see
    `Phase.observed`). Two callbacks are equal only if they are the same object.

    A callback works for the learner that it joined last. It starts there from the state in which it
    joined its first one: from what `state_dict` returned then; all else it resets in `on_init`.

    What others may ask of a callback stands here, as class attributes that a subclass sets, or
    defines as properties. They are checked when a learner gets the callback.

    Attributes:
        name: What error messages and `run_after` call it. Default: the class's name.
        state_access: Maps dotted paths of the learner to `Read` or `Write`. Default: nothing.
        run_after: Callback classes, or entry-point or class names, that run before this one.
        guard: Whether training must not go on without it: a phase whose steps do not do what it handles, or do
            not have the entry of `step` that it declares, is refused at the end of its first step. It means the
            phases that its handlers name and, where they name none, every training phase. Default: False.
        guard_fix: What else its user can do about such a phase, for the message: "count its steps:" and, on a line of
            its own, the code. Default: nothing.
        essential: Whether its errors always end the fit, also with `Learner(..., observer_errors="warn")`: of one that
            stops the training, checks it or saves it. Default: False.
        access_fix: What can be done about a `state_access` that is wider than what it touches, for the message where
            another writes the same: "say what it writes:" and, on a line of its own, the code. Default: nothing.
        skips_updates: Whether it skips updates whose gradients are not finite, as a gradient scaler does. A guard that
            refuses such gradients leaves them to it. Default: False.
        every_backward: Whether its handlers of `BackwardBegin` and `BackwardEnd` are also called around a backward pass
            that a callback performs by itself, in `learner.loop`: what guards the loss must see all of which gradients
            are computed. Default: False.
        optional_state: Whether a saved run may be resumed with or without this callback, whatever
            its `state_dict` held. Default: False.
        main_process_only: Whether, in a run of several processes, it takes part on the first one only: none of its
            handlers is called on the others. For what prints, logs or writes files. It writes nothing but entries of
            `cbstate` that nobody uses who runs everywhere. Default: False.
        hyperparameters: What it sets of the optimizers, each with a `name` and a method
            `clashes_with(another)`; of two callbacks, neither may undo the other. Default: nothing.
        move_data: The function that it applies to every tensor of a batch, so that a
            batch outside of a step can be treated alike; None if there is none. Default: None.
        weights_in_validation: Tensors by their names in the models' `state_dict`, with several models after the
            model's name: those with which validation runs in place of the trained ones, which are in the model; empty
            as long as there are none. A checkpoint's model file holds them, and who restores earlier weights, as
            `EarlyStopping` does, writes to them, so they are what it keeps and no copies. None of a callback that
            replaces none.
            Default: None.
        processes: How the processes of a run divide data and exchange what they have, of a callback that lets several
            of them train one model; None of all others. Default: None.
        wrapped: The callback inside, of one that forwards to another. Default: None.
        adapter: The callback whose methods handle hooks in place of this one's, of one whose own methods are those of
            another library. Everything that is declared is this one's. Default: None.

    Example:
        >>> from treadle import Read, TrainingPhase, toy_learner
        >>> class Counter(Callback):
        ...     "Count the training steps whose loss is below a hundred."
        ...     state_access = {"step.loss": Read}
        ...     def __init__(self):
        ...         self.count = 0
        ...     def on_step_end(self, learner, phase: TrainingPhase):
        ...         self.count += int(learner.step.loss < 100)
        >>> counter = Counter()
        >>> _ = toy_learner(counter).fit(2)
        >>> counter.count
        12
    """

    __slots__ = ("__dict__", "__weakref__", "_membership")  # the last belongs to the learner, and not to its state

    _membership: Any

    state_access: Mapping[str, type[Permission]] = {}
    run_after: Iterable[type[Callback] | str] = ()
    guard: bool = False
    guard_fix: str = ""
    essential: bool = False
    access_fix: str = ""
    skips_updates: bool = False
    every_backward: bool = False
    optional_state: bool = False
    main_process_only: bool = False
    hyperparameters: Sequence[Any] = ()
    move_data: Callable[[Any], Any] | None = None
    weights_in_validation: Mapping[str, torch.Tensor] | None = None
    processes: Processes | None = None
    wrapped: Callback | None = None
    adapter: Callback | None = None

    _is_default: bool = False  # whether it joined the learner by itself, and nobody named it

    @classmethod
    def example(cls) -> Self:
        """One with typical arguments, as the command `treadle` makes it to see what it declares and how it combines.

        A class that needs arguments defines it. It must have no effect, such as a file that is opened. Default: without
        arguments.
        """
        return cls()

    @property
    def name(self) -> str:
        """The callback's name: its class's, unless it was set."""
        return self.__dict__.get("name") or type(self).__name__

    @name.setter
    def name(self, name: str) -> None:
        self.__dict__["name"] = name

    def resolve_conflict(self, other: Callback) -> ConflictResolution:
        """How this callback and another that uses the same state are used together.

        Returns:
            `RunFirst(one of the two)`, `NoConflict()`, `Unresolvable("why")`, or `NotDefined()`.
        """
        return NotDefined()

    def measure(self, metrics: Sequence[Any]) -> Measure | None:
        """What `learner.evaluate` measures with, of a callback that measures: what it measures itself, then these.

        Returns:
            Something that changes nothing in the callback; or None, of a callback that does not measure. Default: None.
        """
        return None

    def added_up(self, learner: Any, phase: Phase) -> Iterable[Part]:
        """What it has added up, of the rows of this process, in the epoch of a phase that is about to end.

        In a run of several processes what all have is combined before `EpochEnd` is dispatched, so that its
        handlers find in every process what one process would have of all rows. An object of it has `part()` and
        `merge(parts)`, as `treadle.authoring.Mean` has. It is asked in every process, and gives equally many
        everywhere. Default: nothing.
        """
        return ()

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of this callback: tensors and plain values. Default: nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what `state_dict` returned, in a run that is resumed."""
        if state:
            raise CallbackError(
                f"{self.name} has no `load_state_dict`, and there is state to load: {', '.join(map(str, state))}.\n"
                f"Fix: define it beside {type(self).__name__}.state_dict:\n    def load_state_dict(self, state): ..."
            )

    def __repr__(self) -> str:
        """The name, and those arguments that it keeps as attributes of their names and that are not the defaults."""
        return f"<{self.name}{shown_arguments(self)}>"


def unwrap(callback: Callback) -> Callback:
    """The callback inside of all wrappers such as `throttle`.

    Example:
        >>> from treadle import StepEnd, throttle
        >>> unwrap(throttle(Callback(), StepEnd, freq=10))
        <Callback>
    """
    try:
        while callback.wrapped is not None:
            callback = callback.wrapped
    except AttributeError:
        raise CallbackError(
            f"{callback!r} is not a Callback.\nFix: pass one:\n    unwrap(learner.callbacks[0])"
        ) from None
    return callback


def handling(callback: Callback) -> Callback:
    """The callback whose methods handle hooks for a callback: the one inside of all wrappers, or that one's adapter.

    Example:
        >>> class Foreign(Callback):
        ...     "Written for a loop whose steps are called batches."
        ...     def on_batch_end(self, **kwargs):
        ...         print("A batch was done.")
        ...     def __init__(self):
        ...         self.adapter = CustomCallback(lambda learner: self.on_batch_end(), StepEnd, TrainingPhase)
        >>> from treadle import StepEnd, TrainingPhase, toy_learner
        >>> handling(Foreign()).event.__name__
        'StepEnd'
        >>> result = toy_learner(Foreign(), nbatches=1).fit(1)
        A batch was done.
    """
    inner = unwrap(callback)
    return inner if inner.adapter is None else inner.adapter


class CustomCallback(Callback):
    """A callback made of one function, for a quick look. Anything more deserves a class.

    Args:
        f: Called with the learner each time the event happens.
        event: The event's class.
        phase: The type of phase in which to call it. Default: every phase.
        state_access: What `f` uses of the learner. Default: nothing.

    Raises:
        ArgumentTypeError: if `f` cannot be called with the learner alone.
        CallbackError: if `f` is not a function, or `event` or `phase` is not such a class.
        AccessError: if `state_access` is not a mapping of paths to `Read` or `Write`.

    Example:
        >>> from treadle import EpochBegin, toy_learner
        >>> hello = CustomCallback(lambda learner: print("New epoch!"), EpochBegin)
        >>> result = toy_learner(hello).fit(1)
        New epoch!
        New epoch!
    """

    def __init__(
        self,
        f: Callable[[Learner], object],
        event: type[Event],
        phase: type[Phase] = Phase,
        state_access: Mapping[str, type[Permission]] | None = None,
    ) -> None:
        if not callable(f):
            raise CallbackError(
                f"CustomCallback needs a function, got {f!r}.\n"
                f"Fix: pass one that takes the learner:\n    CustomCallback(print, StepEnd)"
            )
        function(f, "f", "CustomCallback(print, StepEnd)", takes=["learner"])
        if not (isinstance(event, type) and issubclass(event, Event)):
            raise CallbackError(
                f"CustomCallback needs the class of an event, got {event!r}.\n"
                f"Fix: pass one of treadle.events:\n    CustomCallback(f, StepEnd)"
            )
        for kind in typing.get_args(phase) or (phase,):
            if not (isinstance(kind, type) and issubclass(kind, Phase)):
                raise CallbackError(
                    f"CustomCallback needs a type of phase, got {kind!r}.\n"
                    f"Fix: pass one of treadle.phases:\n    CustomCallback(f, StepEnd, TrainingPhase)"
                )
        self.f, self.event, self.phase = f, event, phase
        self.state_access = {} if state_access is None else checked(state_access, "CustomCallback")

        def handler(learner: Learner) -> None:
            f(learner)

        def handler_in_phase(learner: Learner, phase: Phase) -> None:
            f(learner)

        handler_in_phase.__annotations__["phase"] = phase
        setattr(self, event.hook, handler_in_phase if event.phased else handler)
