"""What a run consists of: captured for a `RunState`, or refused because no file could hold it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from treadle.arguments import not_a_learner
from treadle.state.random_state import RandomState, sources_of
from treadle.state.run import callback_states, entries, optimizer_state
from treadle.state.run.data import states
from treadle.state.run.data.refusals import refuse_unresumable
from treadle.state.run.model_state import (
    hidden_buffers,
    model_state,
    models_by_name,
    modes_by_name,
    named_modules,
    unset_buffers,
)
from treadle.state.run.optimizer_state import named_parameters
from treadle.state.run.run_state import RunState
from treadle.state.run.values import flatten
from treadle.state.views import learner_of

#: What is kept of a learner's progress.
COUNTERS = ("epoch", "epochs", "steps", "updates", "accumulated")


@torch.no_grad()
def capture_run(learner: Any, *, copy: bool = True) -> RunState:
    """Capture the state of a run, between two steps or two epochs.

    A checkpoint captures without copying and writes at once. What is kept in memory is copied, as in the check of the
    state in `treadle.testing`; for the models alone there is `model_state`, for a trial with the learner's own
    objects `preserved_state`.

    Args:
        learner: The learner, or the view of a callback that declares to read all of it.
        copy: Whether to copy the tensors. Default: yes; else those are referred to that training will change.

    Raises:
        NotSaveableError: if a callback or an entry of `cbstate` keeps what cannot be saved.
        NotResumableError: if an optimizer holds a parameter that belongs to no model; if the next pass over data would
            not begin as the first one did.

    Example:
        >>> from treadle import toy_learner
        >>> learner = toy_learner()
        >>> _ = learner.fit(1)
        >>> state = capture_run(learner)
        >>> _ = learner.fit(1)
        >>> again = toy_learner()
        >>> state.check(again)
        >>> state.put_back(again)
        >>> _ = again.fit(1)
        >>> again.model.weight.equal(learner.model.weight), again.progress.epochs
        (True, 2)
    """
    if not hasattr(learner_of(learner), "position"):
        raise not_a_learner(learner)
    refuse_other_passes(learner)
    tensors: dict[str, torch.Tensor] = {}
    parts = {name: flatten(part, name, tensors) for name, part in parts_of_run(learner).items()}
    if copy:
        tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    return RunState(model_state(learner.model, copy=copy, persistent=True), parts, tensors)


def parts_of_run(learner: Any) -> dict[str, Any]:
    """All that a run consists of, by part, without what the models' `state_dict` holds."""
    progress, phase = learner.progress, learner.progress.phase
    position = learner_of(learner).position
    data_name = None if phase is None else phase.data_name
    start = position.at_start
    parameters, modules = (
        named_parameters(learner.model, learner.lossfn),
        named_modules(learner.model, learner.lossfn),
    )
    now = RandomState(sources_of(learner))
    moments = {"now": now, "entry": position.at_entry, "start": None if start is None else start.random}
    modes = {"now": modes_by_name(modules), "entry": modes_by_name(modules, position.modes)}
    return {
        "progress": {name: getattr(progress, name) for name in COUNTERS},
        "optimizer": optimizer_state.capture(learner.optimizer, parameters),
        "lossfn": learner.lossfn.state_dict() if isinstance(learner.lossfn, nn.Module) else {},
        "buffers": {
            f"{name}.{leaf}" if name else leaf: buffer
            for name, module in modules.items()
            for leaf, buffer in hidden_buffers(module).items()
        },
        "made": sorted(learner_of(learner).unset_buffers - unset_buffers(learner.model).keys()),
        "modes": {moment: values for moment, values in modes.items() if values},
        "frozen": [name for name, parameter in parameters.items() if not parameter.requires_grad],
        "unfinished": position.updates.saved(),
        "gradients": gradients_of(parameters) if position.updates.unfinished else {},
        "step": numbers_of(learner.step),
        "callbacks": callback_states.capture(learner.callbacks),
        "cbstate": entries.capture(learner.cbstate),
        "data": states.capture(learner.data, data_name, None if start is None else start.parts),
        "data_now": {} if start is None else states.parts_now(learner.data, data_name),
        "started": {} if start is None else {str(data_name): start.values},
        "random": {moment: state.as_dict() for moment, state in moments.items() if state is not None},
    }


def refuse_unsaveable_run(learner: Any) -> None:
    """Refuse a learner of which a checkpoint could not hold something, before the first step instead of at a save.

    A parameter without a shape passes: it has one after the first batch.

    Raises:
        NotSaveableError: naming the parameter, the buffer, the callback's state or the entry of `cbstate`.
        NotResumableError: if an optimizer holds a parameter that belongs to no model, or data cannot be run over again.

    Example:
        >>> from treadle import toy_learner
        >>> learner = toy_learner()
        >>> learner.model.register_buffer("phase", torch.zeros(2, dtype=torch.complex128))
        >>> refuse_unsaveable_run(learner)
        Traceback (most recent call last):
        ...
        treadle.errors.NotSaveableError: A checkpoint cannot hold phase, a tensor of torch.complex128.
        ...
    """
    if not hasattr(learner_of(learner), "position"):
        raise not_a_learner(learner)
    refuse_unresumable(learner.data)
    refuse_unsaveable_model(learner.model)
    for name, part in parts_of_run(learner).items():
        flatten(part, name, {})


def refuse_unsaveable_model(model: Any) -> None:
    """Refuse models of which a file could not hold something; a parameter without a shape passes, it may get one.

    Args:
        model: A module, or a mapping of modules.

    Raises:
        NotSaveableError: naming the first such parameter, buffer or extra state.

    Example:
        >>> refuse_unsaveable_model(nn.Linear(1, 1, dtype=torch.complex128))
        Traceback (most recent call last):
        ...
        treadle.errors.NotSaveableError: A checkpoint cannot hold weight, a tensor of torch.complex128.
        ...
    """
    for prefix, module in models_by_name(model).items():
        for key, value in module.state_dict().items():
            if not is_lazy(value):
                flatten(value, f"{prefix}.{key}" if prefix else key, {})


def refuse_other_passes(learner: Any) -> None:
    """Refuse data whose next pass would not begin as the first one did; see `Passes`."""
    phase, position = learner.progress.phase, learner_of(learner).position
    under_way = None if phase is None else phase.data_name
    refuse_unresumable(learner.data, under_way=under_way)
    for name, passes in position.passes.items():
        if name in learner.data:
            passes.refuse_unrepeatable(sources_of(learner))


def gradients_of(parameters: Mapping[str, nn.Parameter]) -> dict[str, torch.Tensor]:
    """The gradients that the next step adds to."""
    return {name: parameter.grad for name, parameter in parameters.items() if parameter.grad is not None}


def numbers_of(step: Mapping[str, Any]) -> dict[str, Any]:
    """What of a step's state is a number: handlers of the end of an epoch may look at the last loss."""
    return {
        name: value
        for name, value in step.items()
        if isinstance(value, int | float | str) or (isinstance(value, torch.Tensor) and value.numel() == 1)
    }
