"""The handlers of a callback: which hooks it handles, and in which phases."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from treadle import phases
from treadle.access import Write
from treadle.arguments import instance_of
from treadle.callback import Callback, handling
from treadle.errors import ArgumentTypeError, CallbackError, did_you_mean
from treadle.events import PROJECT, Hook, known_events, subclasses
from treadle.operations import Epoch, Operation, Step, known_operations
from treadle.phases import Phase

UNIONS = (typing.Union, types.UnionType)


class Handler(NamedTuple):
    """One callback's part in one hook: in which types of phase, and whether it wraps what the others do.

    Args:
        computes: Whether it takes part in what is computed, in every phase that its annotation allows. One that
            observes runs in a phase that is not a part of the run only if its annotation names that phase.
    """

    hook: type[Hook]
    phases: tuple[type[Phase], ...]
    wrapper: bool = False
    computes: bool = True

    def handles(self, phase: type[Phase] | None) -> bool:
        """Whether it runs in a phase of this type; None is outside of all phases."""
        if phase is None:
            return True
        return issubclass(phase, self.phases if phase.observed or self.computes else self.named)

    @property
    def named(self) -> tuple[type[Phase], ...]:
        """The types of phase that its annotation names, without the one of all."""
        return tuple(kind for kind in self.phases if kind is not Phase)


def known_hooks() -> dict[str, type[Hook]]:
    """Every event and operation that is declared by now, by the name of its method.

    The core's come first, in the order of the loop; the others sorted, whatever was imported first.
    """
    hooks = {**known_events(), **known_operations()}
    return dict(sorted(hooks.items(), key=lambda hook: "" if hook[1].__module__.startswith("treadle.") else hook[0]))


def handlers(callback: Callback, hooks: Mapping[str, type[Hook]] | None = None) -> dict[str, Handler]:
    """The handlers of a callback, by the name of the method.

    Args:
        hooks: The events and operations there are. Default: all that are declared.

    Raises:
        CallbackError: for a method called `on_...` that is not an event's, and for an annotation of
            `phase` that is not a type of phase.

    Example:
        >>> from treadle import TrainingPhase
        >>> class Hello(Callback):
        ...     def on_epoch_begin(self, phase: TrainingPhase):
        ...         print("hello")
        >>> handlers(Hello())["on_epoch_begin"].phases
        (<class 'treadle.phases.TrainingPhase'>,)
    """
    hooks = known_hooks() if hooks is None else hooks
    if not isinstance(callback, Callback):
        instance_of(callback, "callback", Callback, "handlers(Recorder())")
    declaring, callback = callback, handling(callback)  # an adapter handles, and declares nothing
    found = {}
    computes: bool | None = None
    for name in implemented(callback, hooks):
        method, hook = getattr(callback, name), hooks[name]
        check_self(callback, hook)
        options = getattr(method, f"{PROJECT}_impl", None) or {}
        phases = handler_phases(callback, method) if hook.phased else (Phase,)  # `agree` passes None as well
        in_step = issubclass(hook, Operation) and hook not in (Epoch, Step)
        if computes is None and Phase in phases and not in_step:
            computes = computes_something(declaring)
        found[name] = Handler(hook, phases, bool(options.get("wrapper")), in_step or computes is not False)
    return found


def computes_something(callback: Callback) -> bool:
    """Whether a callback declares that it changes what is computed: anything but what others observe in `cbstate`."""
    access = callback.state_access
    if not isinstance(access, Mapping):  # which the graph refuses
        return True
    return any(
        permission is Write and not str(path).startswith(("cbstate", "loop")) for path, permission in access.items()
    )


def handles(callback: Callback, hook: type[Hook] | str, phase: type[Phase] | Phase | None = None) -> bool:
    """Whether a callback handles an event or operation, also by wrapping or overriding it.

    Args:
        hook: The event or operation, or the name of its method.
        phase: The phase, or its type. Default: any.

    Raises:
        ArgumentTypeError: if `hook` is not an event, an operation or the name of one, or `phase` is not a phase.

    Example:
        >>> from treadle import StepEnd, TrainingPhase, ValidationPhase
        >>> class Hello(Callback):
        ...     def on_step_end(self, phase: TrainingPhase):
        ...         print("hello")
        >>> handles(Hello(), "on_step_end"), handles(Hello(), StepEnd, ValidationPhase)
        (True, False)
    """
    hooks = known_hooks()
    name = getattr(hook, "hook", None) if isinstance(hook, type) else hook
    if not isinstance(name, str) or name not in hooks:
        guess = f" {did_you_mean(hook, hooks)}" if isinstance(hook, str) else ""
        raise ArgumentTypeError(
            f"{hook!r} is not an event or an operation.{guess}\n"
            f"Fix: pass its class, or the name of its method:\n    handles(callback, StepEnd)"
        )
    kind = phase if phase is None or isinstance(phase, type) else type(phase)
    if kind is not None and not issubclass(kind, Phase):
        raise ArgumentTypeError(
            f"{phase!r} is not a phase or a type of phase.\nFix: pass one of the classes of treadle.phases:\n"
            f"    handles(callback, StepEnd, TrainingPhase)"
        )
    handler = handlers(callback, hooks).get(name)
    return handler is not None and handler.handles(kind if handler.hook.phased else None)


def implemented(callback: Callback, hooks: Mapping[str, type[Hook]]) -> list[str]:
    """The names of the callback's methods that handle a hook."""
    cls: Any = type(callback)
    off = {
        name for name, value in vars(callback).items() if value is None and name in hooks
    }  # `self.on_step_end = None`
    assigned = [name for name, value in vars(callback).items() if _is_assigned_handler(name, value, hooks)]
    names = [
        *(
            name
            for name in _methods(cls)
            if name not in off and (name in hooks or _is_handler(name, getattr(callback, name)))
        ),
        *assigned,
    ]
    for name in names:
        if name not in hooks:
            raise CallbackError(
                f"{callback.name} has a method `{name}`, and there is no such event. {did_you_mean(name, hooks)}\n"
                f"Fix: rename it, or declare the event as a subclass of treadle.Event before using the callback."
            )
    for name in (*_not_methods(cls), *vars(callback)):
        if name not in hooks or not (name.startswith("on_") or name in assigned):
            continue
        value = inspect.getattr_static(callback, name)
        if value is not None and not inspect.isroutine(value):
            raise CallbackError(
                f"{callback.name}.{name} is a {type(value).__name__}, and only a method can be a handler.\n"
                f"Fix: write a method:\n    def {name}(self, {', '.join(hooks[name].arguments)}): ..."
            )
    return names


def _is_handler(name: str, value: Any) -> bool:
    """Whether something callable is meant as a handler.

    It is by its name or by `@hookimpl`; a function that a callback keeps under the name of an
    operation, such as `self.loss`, is not.
    """
    return name.startswith("on_") or hasattr(value, f"{PROJECT}_impl")


def _is_assigned_handler(name: str, value: Any, hooks: Mapping[str, type[Hook]]) -> bool:
    """Whether what a callback has as an attribute of its own is meant as a handler.

    A method of a callback that it keeps, `self.helper = other.on_step_end`, is not, unless the name is an event's.
    """
    if not callable(value) or not _is_handler(name, value):
        return False
    kept = isinstance(getattr(value, "__self__", None), Callback)
    return not kept or (name in hooks and name.startswith("on_"))


def check_self(callback: Callback, hook: type[Hook]) -> None:
    """Refuse a method without `self`, to which Python would pass the callback in another argument's place."""
    name = hook.hook
    defined = (vars(base)[name] for base in type(callback).__mro__ if name in vars(base))  # as it stands in its class
    function = next(defined, None)
    if not inspect.isfunction(function) or name in vars(callback):
        return
    code = inspect.unwrap(function).__code__
    arguments = code.co_varnames[: code.co_argcount]
    if (arguments and arguments[0] in hook.arguments) or not (arguments or code.co_flags & inspect.CO_VARARGS):
        raise CallbackError(
            f"{callback.name}.{name} does not take `self`, and Python passes the callback first.\n"
            f"Fix: take it first:\n    def {name}({', '.join(('self', *arguments))}): ..."
        )


@functools.lru_cache(maxsize=1024)
def _methods(cls: Any) -> tuple[str, ...]:
    base = set(dir(Callback))
    return tuple(
        name
        for name in dir(cls)
        if name not in base and not name.startswith("__") and inspect.isroutine(inspect.getattr_static(cls, name))
    )


@functools.lru_cache(maxsize=1024)
def _not_methods(cls: Any) -> tuple[str, ...]:
    """What a class has under names like those of events and is not a method, such as a property."""
    return tuple(
        name for name in dir(cls) if name.startswith("on_") and not inspect.isroutine(inspect.getattr_static(cls, name))
    )


def handler_phases(callback: Callback, method: Callable[..., Any]) -> tuple[type[Phase], ...]:
    """The types of phase that the annotation of `phase` restricts a handler to."""
    function = inspect.unwrap(getattr(method, "__func__", method))
    annotation = getattr(function, "__annotations__", {}).get("phase", Phase)
    for _ in range(2):  # twice, where a module has the future import and quotes as well
        if isinstance(annotation, str):
            annotation = _evaluated(annotation, function, callback)
    alternatives = typing.get_args(annotation) if typing.get_origin(annotation) in UNIONS else (annotation,)
    for alternative in alternatives:
        if not (isinstance(alternative, type) and issubclass(alternative, Phase)):
            raise CallbackError(
                f"{callback.name}.{function.__name__} annotates `phase` with {alternative!r}, which is not a "
                f"type of phase.\nFix: annotate it with one, or with a union of them:\n    phase: TrainingPhase"
            )
    return alternatives


def _evaluated(annotation: str, function: Callable[..., Any], callback: Callback) -> Any:
    """A quoted annotation's meaning, where the function stands."""
    closure = inspect.getclosurevars(function).nonlocals if inspect.isfunction(function) else {}
    names = {**vars(phases), **getattr(function, "__globals__", {}), **closure}
    try:
        return eval(annotation, names)  # as typing.get_type_hints does
    except (NameError, AttributeError, SyntaxError, TypeError) as error:
        known = [cls for cls in subclasses(Phase) if cls.__name__ == annotation]
        if len(known) == 1:
            return known[0]
        raise CallbackError(
            f"{callback.name}.{function.__name__} annotates `phase` with {annotation!r}, and {error}.\n"
            f"Fix: import that type of phase in {function.__module__}, not only for type checkers."
        ) from None
