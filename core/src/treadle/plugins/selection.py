"""Which callbacks a learner gets: those listed, by object or by name, and the defaults."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from treadle.access import Read, Write, accesses, overlaps
from treadle.arguments import SHORT, function, list_of
from treadle.callback import Callback, unwrap
from treadle.errors import ArgumentTypeError, ArgumentValueError, CallbackError, PluginError, closest, did_you_mean
from treadle.events import snake_case
from treadle.loop.data.processes import Processes
from treadle.plugins.by_name import made_by_name
from treadle.plugins.discovery import DISABLE, installed, load, mismatches, names_of
from treadle.plugins.metadata import CALLBACKS, PLUGINS, normal

#: The callbacks that every learner gets, where they are installed: FluxTraining.jl's five.
DEFAULTS = ("recorder", "metrics", "metrics_printer", "progress_printer", "stop_on_nan_loss")


def as_callbacks(
    callbacks: Any, *, use_default_callbacks: bool | Iterable[str] = False
) -> tuple[tuple[Callback, ...], list[str]]:
    """The callbacks, and the names of plugin modules that were named among them.

    Args:
        callbacks: Callbacks, or names: of an entry point, whose class is called without arguments,
            or of a plugin module.
        use_default_callbacks: Whether the five defaults join, where they are installed, no callback
            of their class is listed, and what they read is there; or the names of those that join.

    Raises:
        CallbackError: if one of them is a class, is listed twice, or is not a callback.
        PluginError: if a name is not that of a plugin that can be used.
        ArgumentTypeError, ArgumentValueError: if `use_default_callbacks` is not a bool or a list of their names.
    """
    defaults = checked_defaults(use_default_callbacks)
    if isinstance(callbacks, (str, Callback)) or not isinstance(callbacks, Iterable):
        entry = f"{type(callbacks).__name__}()" if isinstance(callbacks, Callback) else repr(callbacks)
        raise CallbackError(
            f"callbacks must be a list, got {callbacks!r}.\n"
            f"Fix: pass a list:\n    callbacks=[{'' if callbacks is None else entry}]"
        )
    listed: list[Callback] = []
    present: set[Callback] = set()
    modules: list[str] = []
    for callback in callbacks:
        if isinstance(callback, str):
            if callback in {plugin.name for plugin in installed(PLUGINS)}:
                modules.append(callback)
                if callback not in {plugin.name for plugin in installed(CALLBACKS)}:
                    continue
            callback = made_by_name(callback)
        check_callback_instance(callback)
        if unwrap(callback) in present:
            raise CallbackError(
                f"{callback.name} is in the list twice, the same object.\nFix: list it once, or make another one."
            )
        listed.append(callback)
        present.add(unwrap(callback))
    joining = default_callbacks(listed) if defaults is None else named_defaults(defaults, listed)
    return (*listed, *joining), modules


def checked_defaults(use_default_callbacks: Any) -> tuple[str, ...] | None:
    """The names of the defaults that join; None for all that fit."""
    if isinstance(use_default_callbacks, bool):
        return None if use_default_callbacks else ()
    example = 'Learner(..., use_default_callbacks=("recorder", "metrics"))'
    if isinstance(use_default_callbacks, str) or not isinstance(use_default_callbacks, Iterable):
        raise ArgumentTypeError(
            f"use_default_callbacks must be True, False or a list of names, got {SHORT.repr(use_default_callbacks)}.\n"
            f"Fix: write, for example:\n    {example}"
        )
    names = list_of(use_default_callbacks, "use_default_callbacks", str, example)
    for name in names:
        if name not in DEFAULTS:
            raise ArgumentValueError(
                f"use_default_callbacks names {name!r}, which is not one of the default callbacks. "
                f"{did_you_mean(name, DEFAULTS)}\n"
                f"Fix: name some of these: {', '.join(DEFAULTS)}. Others are listed:\n    callbacks=[{name!r}]"
            )
    return names


def named_defaults(names: Iterable[str], listed: list[Callback]) -> list[Callback]:
    """The defaults of these names, without those whose class was listed. They were named, so they must be usable."""
    return [
        made_by_name(name)
        for name in dict.fromkeys(names)
        if not any(isinstance(unwrap(callback), load(name)) for callback in listed)
    ]


def check_callback_instance(callback: Any) -> None:
    """Refuse what is not an instance of `Callback`, or declares what does not fit."""
    if isinstance(callback, type):
        raise CallbackError(
            f"{callback.__name__} is a class, not a Callback.\nFix: make an instance:\n    {callback.__name__}()"
        )
    if not isinstance(callback, Callback):
        raise CallbackError(
            f"{callback!r} is not a Callback.\n"
            f"Fix: subclass treadle.Callback, or wrap a function:\n    CustomCallback(f, StepEnd)"
        )
    cls = type(callback)
    if cls.__eq__ is not object.__eq__ or cls.__hash__ is not object.__hash__:
        raise CallbackError(
            f"{cls.__name__} compares by value, and two callbacks are equal only if they are the same object.\n"
            f"Fix: leave __eq__ and __hash__ as they are; above a data class, write:\n    @dataclass(eq=False)"
        )
    check_facets(callback)


def check_facets(callback: Callback) -> None:
    """Refuse a callback whose declared attributes and methods are not what `Callback` documents."""
    cls = type(callback)
    for facet, (fits, expected, example) in FACETS.items():
        value = getattr(callback, facet)
        if not fits(value):
            raise CallbackError(
                f"{cls.__name__}.{facet} is {SHORT.repr(value)}, not {expected}.\n"
                f"Fix: declare, for example, in {cls.__name__}:\n    {example}"
            )
    for name, takes in METHODS.items():
        if getattr(cls, name) is not getattr(Callback, name) or name in vars(callback):
            example = f"def {name}({', '.join(('self', *takes))}): ..."
            function(getattr(callback, name), f"{cls.__name__}.{name}", example, takes=takes)
    if cls.state_dict is not Callback.state_dict and cls.load_state_dict is Callback.load_state_dict:
        raise CallbackError(
            f"{cls.__name__} has a `state_dict` and no `load_state_dict`, so no saved run could be resumed with it.\n"
            f"Fix: define both, or none of them:\n    def load_state_dict(self, state): ..."
        )


def are_hyperparameters(value: Any) -> bool:
    """Whether a value is a sequence of what two callbacks must not both set."""
    return isinstance(value, (tuple, list)) and all(callable(getattr(H, "clashes_with", None)) for H in value)


#: What others may ask of a callback: whether a value fits, what it must be, and an example. The graph checks
#: `state_access` and `run_after`.
FACETS: dict[str, tuple[Callable[[Any], bool], str, str]] = {
    "name": (lambda value: isinstance(value, str), "a text", 'name = "first"'),
    "guard": (lambda value: isinstance(value, bool), "True or False", "guard = True"),
    "guard_fix": (lambda value: isinstance(value, str), "a text", 'guard_fix = "count its steps"'),
    "essential": (lambda value: isinstance(value, bool), "True or False", "essential = True"),
    "access_fix": (lambda value: isinstance(value, str), "a text", 'access_fix = "say what it writes"'),
    "skips_updates": (lambda value: isinstance(value, bool), "True or False", "skips_updates = True"),
    "every_backward": (lambda value: isinstance(value, bool), "True or False", "every_backward = True"),
    "optional_state": (lambda value: isinstance(value, bool), "True or False", "optional_state = True"),
    "main_process_only": (lambda value: isinstance(value, bool), "True or False", "main_process_only = True"),
    "hyperparameters": (are_hyperparameters, "a tuple of hyperparameters", "hyperparameters = (LearningRate(),)"),
    "move_data": (lambda value: value is None or callable(value), "a function", "def move_data(self, tensor): ..."),
    "weights_in_validation": (
        lambda value: value is None or isinstance(value, Mapping),
        "a mapping of names to tensors",
        "weights_in_validation = {}",
    ),
    "processes": (
        lambda value: value is None or isinstance(value, Processes),
        "an instance of Processes",
        "processes = Processes()",
    ),
    "wrapped": (lambda value: value is None or isinstance(value, Callback), "a Callback", "wrapped = Printer()"),
    "adapter": (lambda value: value is None or isinstance(value, Callback), "a Callback", "adapter = Printer()"),
}


#: What a callback may define beside handlers, and what these methods are called with.
METHODS = {
    "resolve_conflict": ("other",),
    "measure": ("metrics",),
    "added_up": ("learner", "phase"),
    "state_dict": (),
    "load_state_dict": ("state",),
}


def default_callbacks(listed: list[Callback]) -> list[Callback]:
    """The defaults that are installed and that fit beside the callbacks that were listed."""
    joining: list[Callback] = []
    for name in DEFAULTS:
        candidates = [plugin for plugin in installed(CALLBACKS) if plugin.name == name and not plugin.disabled]
        if not candidates:
            continue
        try:
            cls = load(name)
        except PluginError as error:
            from loguru import logger  # needed rarely, and loaded then

            logger.warning(f"A default callback is left out. {error}")
            continue
        if not any(isinstance(unwrap(callback), cls) for callback in listed):
            callback = cls()
            callback._is_default = True
            joining.append(callback)
    while True:  # a default that reads what none writes is left out, and then those that read from it
        present = [*listed, *joining]
        unreadable = [callback for callback in joining if not readable_state(callback, present)]
        if not unreadable:
            return joining
        joining = [callback for callback in joining if callback not in unreadable]


def readable_state(callback: Callback, present: list[Callback]) -> bool:
    """Whether some callback writes every entry of `cbstate` that a callback reads."""
    written = {path for other in present for path in accesses(other, Write)}
    read = {path for path in accesses(callback, Read) if path.startswith("cbstate.")}
    return all(any(overlaps(path, other) for other in written) for path in read)


#: How alike a name that means none and one that does must be for a warning: names of what is not there are legal.
ALIKE = 0.8


def report_slips(callbacks: Sequence[Callback], before: Sequence[Callback] = ()) -> None:
    """Warn of names that mean none and are close to one, and of callbacks that were written for another core.

    The names are those in `run_after` and in `TREADLE_DISABLE_PLUGINS`.

    Args:
        callbacks: The callbacks of a learner.
        before: Those that it had before, which were reported then. Default: none, for a new learner.
    """
    found = list(run_after_slips(callbacks, before))
    found += mismatches(callback for callback in callbacks if callback not in before)
    found += [] if before else disabled_slips()
    if found:
        from loguru import logger  # needed rarely, and loaded then

        for text in found:
            logger.warning(text)


def run_after_slips(callbacks: Sequence[Callback], before: Sequence[Callback]) -> Iterator[str]:
    """Of each callback that is new, the names in `run_after` that are close to one and none."""
    known: set[str] = set()
    for callback in callbacks:
        names = [] if callback in before else [name for name in callback.run_after if isinstance(name, str)]
        known = known or (known_names(callbacks) if names else set())
        for name in names:
            if name not in known and (guess := closest(name, known, ALIKE)):
                yield (
                    f"{callback.name}.run_after names {name!r}, and no callback has that name. "
                    f"Did you mean `{guess}`?\nFix: correct the name. A name that no callback has orders nothing."
                )


def known_names(callbacks: Iterable[Callback]) -> set[str]:
    """The names by which `run_after` may call one of these callbacks, or an installed one."""
    plugins = installed(CALLBACKS)
    classes = {plugin.value.rpartition(":")[2] for plugin in plugins}
    present = {name for callback in callbacks for name in names_of(callback)}
    return {plugin.name for plugin in plugins} | classes | {snake_case(name) for name in classes} | present


def disabled_slips() -> Iterator[str]:
    """The names in `TREADLE_DISABLE_PLUGINS` that are close to one and none."""
    names = {name for plugin in installed() for name in (plugin.name, plugin.distribution)}
    known = {normal(name): name for name in sorted(names | {"all"})}
    for name in filter(None, map(str.strip, os.environ.get(DISABLE, "").split(","))):
        if normal(name) not in known and (close := closest(normal(name), known, ALIKE)):
            guess = known[close]
            yield (
                f"{DISABLE} has {name!r}, and there is no plugin of that name. Did you mean `{guess}`?\n"
                f"Fix: correct the name. A name that no plugin has disables nothing:\n    {DISABLE}={guess}"
            )
