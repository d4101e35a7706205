"""What a learner is made of: models, optimizers, data and callbacks, checked and in one form."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from treadle import plugins
from treadle.access import Read, Write, accesses, overlaps
from treadle.callback import Callback, unwrap
from treadle.data import check_data
from treadle.errors import ArgumentError, ArgumentValueError, CallbackError, PluginError, did_you_mean
from treadle.lazy import lazily
from treadle.operations import name_of
from treadle.phases import Phase
from treadle.propdict import PropDict, named

if TYPE_CHECKING:
    import loguru
else:
    loguru = lazily("loguru")


def as_model(model: Any) -> Any:
    """A module, or a `PropDict` of modules by name.

    Raises:
        ArgumentError: if it is neither.
        ArgumentValueError: if there is no parameter in it.
    """
    if isinstance(model, Mapping):
        model = PropDict(named(model))
        if not model or not all(
            isinstance(name, str) and isinstance(part, nn.Module) for name, part in named(model).items()
        ):
            raise ArgumentError(
                f'A mapping of models maps names to modules, got {model!r}: {{"generator": nn.Linear(1, 1)}}'
            )
        models = models_of(model)
    elif isinstance(model, nn.Module):
        models = [model]
    else:
        kind = model.__name__ if isinstance(model, type) else type(model).__name__
        mend = f"Make an instance: {kind}(...)" if isinstance(model, type) else "Pass a torch.nn.Module."
        raise ArgumentError(f"The model is a module or a mapping of modules, got {kind}. {mend}")
    if not any(True for part in models for _ in part.parameters()):
        names = ", ".join(type(part).__name__ for part in models)
        raise ArgumentValueError(f"The model {names} has no parameters, so there is nothing to train.")
    return model


def parameters_of(model: Any) -> PropDict:
    """The parameters by name; for several models a `PropDict` of them for each."""
    if isinstance(model, nn.Module):
        return PropDict(dict(model.named_parameters()))
    return PropDict({name: parameters_of(part) for name, part in named(model).items()})


def models_of(model: Any) -> list[nn.Module]:
    """The models, one or several, as a list."""
    return [model] if isinstance(model, nn.Module) else list(named(model).values())


def as_optimizer(optimizer: Any, model: Any) -> Any:
    """An optimizer, or a `PropDict` of optimizers by the name of their model.

    Args:
        optimizer: An optimizer, a function that makes one of parameters, or for several models a
            mapping of these by the name of the model.
        model: What `as_model` gave.

    Raises:
        ArgumentError: if it is none of these, or names a model that there is not.
    """
    if isinstance(optimizer, Mapping):
        if isinstance(model, nn.Module):
            raise ArgumentError(
                "There are several optimizers and one model. Pass one optimizer, or a mapping of models."
            )
        for name in optimizer:
            if name not in model:
                raise ArgumentError(
                    f"There is an optimizer for {name!r}, and no such model. {did_you_mean(str(name), model)}"
                )
        return PropDict({name: as_optimizer(each, model[name]) for name, each in named(optimizer).items()})
    if isinstance(optimizer, torch.optim.Optimizer):
        return optimizer
    if not callable(optimizer):
        raise ArgumentError(
            f"The optimizer is an instance or a function of the parameters, got {optimizer!r}: "
            f"optimizer=torch.optim.SGD(model.parameters(), lr=0.1), or optimizer=torch.optim.Adam"
        )
    parameters = list(dict.fromkeys(parameter for part in models_of(model) for parameter in part.parameters()))
    try:
        made = optimizer(parameters)
    except TypeError as error:
        error.add_note(
            f"Raised while {name_of(optimizer)} was called with the parameters alone. Give it what else it needs: "
            f"optimizer=functools.partial({name_of(optimizer)}, lr=0.1)"
        )
        raise
    if not isinstance(made, torch.optim.Optimizer):
        raise ArgumentError(f"{name_of(optimizer)} made {made!r} of the parameters, which is no torch optimizer.")
    return made


def optimizers_of(optimizer: Any) -> list[torch.optim.Optimizer]:
    """The optimizers, one or several, as a list; one that several models share counts once."""
    return list(dict.fromkeys(named(optimizer).values())) if isinstance(optimizer, Mapping) else [optimizer]


def warn_of_strangers(models: Iterable[nn.Module], optimizers: Iterable[torch.optim.Optimizer]) -> None:
    """Warn if no optimizer holds a parameter of a model, as after a new model was set."""
    held = {id(each) for optimizer in optimizers for group in optimizer.param_groups for each in group["params"]}
    if not any(id(parameter) in held for model in models for parameter in model.parameters()):
        loguru.logger.warning(
            "No optimizer holds a parameter of the model, so the model stays as it is. After a new model, make a new "
            "optimizer: learner.optimizer = torch.optim.Adam(learner.model.parameters())"
        )


def as_data(data: Any) -> PropDict:
    """Iterables of batches by name.

    Args:
        data: (), (training,), (training, validation), or a mapping of names to iterables.

    Raises:
        ArgumentError: if it is none of these.
        DataError: if one of them is no iterable, or is known to be empty.
    """
    if isinstance(data, Mapping):
        loaders = dict(named(data))
        if not all(isinstance(name, str) for name in loaders):
            raise ArgumentError(
                f"A mapping of data has names as its keys, got {list(loaders)!r}: {{'training': loader}}"
            )
    elif (
        isinstance(data, (tuple, list)) and len(data) <= 2 and not any(isinstance(each, torch.Tensor) for each in data)
    ):
        loaders = dict(zip(("training", "validation"), data, strict=False))
    else:
        kind = (
            f"{len(data)} things in a {type(data).__name__}" if isinstance(data, (tuple, list)) else type(data).__name__
        )
        raise ArgumentError(
            f"The data are (), (training,), (training, validation) or a mapping of names to iterables of batches, got "
            f"{kind}. One loader alone is written with a comma: data=(loader,)"
        )
    for name, batches in loaders.items():
        check_data(batches, f"data.{name}")
    return PropDict(loaders)


def as_callbacks(callbacks: Any, *, use_default_callbacks: bool = False) -> tuple[tuple[Callback, ...], list[str]]:
    """The callbacks, and the names of plugin modules that were named among them.

    Args:
        callbacks: Callbacks, or names: of an entry point, whose class is called without arguments,
            or of a plugin module.
        use_default_callbacks: Whether the five defaults join, where they are installed, no callback
            of their class is given, and what they read is there.

    Raises:
        CallbackError: if one of them is a class, is given twice, or is no callback.
        PluginError: if a name is not that of a plugin that can be used.
    """
    if isinstance(callbacks, (str, Callback)) or not isinstance(callbacks, Iterable):
        mend = "" if callbacks is None else shown(callbacks)
        raise CallbackError(f"callbacks is a list, got {callbacks!r}: callbacks=[{mend}]")
    given: list[Callback] = []
    present: set[Callback] = set()
    modules: list[str] = []
    for callback in callbacks:
        if isinstance(callback, str):
            if callback in {plugin.name for plugin in plugins.installed(plugins.PLUGINS)}:
                modules.append(callback)
                if callback not in {plugin.name for plugin in plugins.installed(plugins.CALLBACKS)}:
                    continue
            callback = made_by_name(callback)
        check_callback_instance(callback)
        if unwrap(callback) in present:
            raise CallbackError(f"{callback.name} is given twice, the same object. Give it once, or make another one.")
        given.append(callback)
        present.add(unwrap(callback))
    joined = (*given, *default_callbacks(given)) if use_default_callbacks else tuple(given)
    return joined, modules


def made_by_name(name: str) -> Callback:
    """A callback of the class that is installed under a name."""
    cls = plugins.load(name)
    try:
        inspect.signature(cls).bind()
    except TypeError as error:
        raise CallbackError(
            f"{name!r} cannot be given by its name alone, for {cls.__name__} has arguments ({error}). "
            f"Make it: from {cls.__module__} import {cls.__name__}; callbacks=[{cls.__name__}(...)]"
        ) from None
    return cls()


def check_callback_instance(callback: Any) -> None:
    """Refuse what is no instance of `Callback`."""
    if isinstance(callback, type):
        raise CallbackError(f"{callback.__name__} is a class, not a callback. Make an instance: {callback.__name__}()")
    if not isinstance(callback, Callback):
        raise CallbackError(
            f"{callback!r} is no callback. Subclass treadle.Callback, or wrap a function: CustomCallback(f, StepEnd)"
        )
    cls = type(callback)
    if not isinstance(callback.name, str):
        raise CallbackError(f"The name of a callback is text, got {callback.name!r} from {cls.__name__}.")
    if cls.__eq__ is not object.__eq__ or cls.__hash__ is not object.__hash__:
        raise CallbackError(
            f"{cls.__name__} compares by value, and two callbacks are equal only if they are the same object. "
            f"Leave __eq__ and __hash__ as they are; as a data class, write @dataclass(eq=False) above it."
        )


def shown(value: Any) -> str:
    """How a value is written in a message."""
    return f"{type(value).__name__}()" if isinstance(value, Callback) else repr(value)


def default_callbacks(given: list[Callback]) -> list[Callback]:
    """The defaults that are installed and that fit beside the callbacks that were given."""
    joining: list[Callback] = []
    for name in plugins.DEFAULTS:
        candidates = [
            plugin for plugin in plugins.installed(plugins.CALLBACKS) if plugin.name == name and not plugin.disabled
        ]
        if not candidates:
            continue
        try:
            cls = plugins.load(name)
        except PluginError as error:
            loguru.logger.warning(f"A default callback is left out. {error}")
            continue
        if not any(isinstance(unwrap(callback), cls) for callback in given):
            joining.append(cls())
    while True:  # a default that reads what nobody writes steps back, and so may one that reads from it
        present = [*given, *joining]
        lacking = [callback for callback in joining if not readable_state(callback, present)]
        if not lacking:
            return joining
        joining = [callback for callback in joining if callback not in lacking]


def readable_state(callback: Callback, present: list[Callback]) -> bool:
    """Whether somebody writes every entry of `cbstate` that a callback reads."""
    written = {path for other in present for path in accesses(other, Write)}
    read = {path for path in accesses(callback, Read) if path.startswith("cbstate.")}
    return all(any(overlaps(path, other) for other in written) for path in read)


def as_phases(phases: Any) -> tuple[Phase, ...]:
    """Phases, as `fit` and `plan` take them.

    Raises:
        ArgumentError: if it is no list of phases.
        ArgumentValueError: if it is empty.
    """
    if not isinstance(phases, Iterable):
        shown = f"{phases.__name__}()" if isinstance(phases, type) else repr(phases)
        raise ArgumentError(f"phases is a list, got {phases!r}: phases=[{shown}]")
    given = tuple(phases)
    if not given:
        raise ArgumentValueError("phases is empty, so there is nothing to do: phases=[TrainingPhase()]")
    for phase in given:
        check_phase(phase)
    return given


def check_phase(phase: Any) -> None:
    """Refuse what is no instance of a phase."""
    if isinstance(phase, type) and issubclass(phase, Phase):
        raise ArgumentError(f"{phase.__name__} is a class, not a phase. Make an instance: {phase.__name__}()")
    if not isinstance(phase, Phase):
        raise ArgumentError(f"A phase is needed, got {phase!r}: TrainingPhase()")
    if type(phase).__hash__ is None:
        name = type(phase).__name__
        raise ArgumentError(
            f"{name} cannot be hashed, so nothing can be kept for it. It has an __eq__ of its own: take that out, or "
            f"define __hash__ beside it."
        )
