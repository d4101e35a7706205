"""Gradients that are computed anew inside of `update`: what others did to those of the step would be lost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from treadle.callback import Callback, unwrap
from treadle.dispatch.call import Call
from treadle.errors import CallbackError
from treadle.events import Hook
from treadle.ordering.rules.resolutions import learner_line

if TYPE_CHECKING:
    from treadle.learner import Learner


class GradientWatch:
    """Notices a backward pass inside of `update`, before the optimizers of the core step, and refuses it.

    What a callback declares can be refused before the first step. This is for those that do not declare it.

    Args:
        lost: The callbacks that handle `update`, each with those whose part in the gradients would be lost, and where.
        warned: What has been warned about in this learner.
    """

    def __init__(
        self, learner: Learner, lost: Mapping[Callback, Mapping[Callback, type[Hook]]], warned: set[str]
    ) -> None:
        self._learner, self._lost, self._warned = learner, lost, warned
        self._handles: list[Any] = []
        self._before: list[tuple[torch.Tensor, torch.Tensor, int]] = []  # watched, with their gradients as they were
        self._seen = False

    def during(self, update: Callable[[], Any]) -> Callable[[], Any]:
        """The operation with the callbacks that handle it, watched."""

        def run_watched() -> Any:
            outer = self._handles, self._before, self._seen
            self._handles, self._before, self._seen = [], [], False
            try:
                self._begin()
                result = update()
                self._end()
                return result
            finally:
                self._remove()
                self._handles, self._before, self._seen = outer

        return run_watched

    def until(self, core: Callable[[], Any]) -> Callable[[], Any]:
        """The core's own part, where the watch ends: what comes after it changes the weights no more.

        It steps by the gradients that are there, so who has only measured something by others takes nothing from them.
        """

        def run_core() -> Any:
            self._seen = self._seen and any(
                parameter.grad is not gradient or gradient._version != version
                for parameter, gradient, version in self._before
            )
            self._end()
            return core()

        return run_core

    def _begin(self) -> None:
        """Watch one parameter of each optimizer: whoever computes the gradients anew computes its gradient as well."""
        depth = len(self._learner.position.scopes)

        def see(gradient: torch.Tensor) -> None:
            if len(self._learner.position.scopes) == depth:  # else it trains in a loop of its own, inside
                self._seen = True

        for optimizer in self._learner.position.updates.target.optimizers(self._learner):
            for parameter in (p for group in optimizer.param_groups for p in group["params"]):
                if parameter.grad is not None and parameter.requires_grad:
                    self._handles.append(parameter.register_hook(see))
                    self._before.append((parameter, parameter.grad, parameter.grad._version))
                    break

    def _remove(self) -> None:
        while self._handles:
            self._handles.pop().remove()

    def _end(self) -> None:
        self._remove()
        if self._seen:
            self._seen = False
            self._refuse()

    def _refuse(self) -> None:
        message = lost_message(self._lost)
        if any(not other._is_default for others in self._lost.values() for other in others):
            raise CallbackError(message)
        if message not in self._warned:
            from loguru import logger  # needed rarely, and loaded then

            self._warned.add(message)
            logger.warning(message)


def watch_for(learner: Learner, calls: Sequence[Call], warned: set[str]) -> GradientWatch | None:
    """What watches the callbacks that handle `update` in a phase; None if no other has a part in the gradients."""
    lost = {call.callback: learner.ordering.passed_by(call.callback) for call in calls}
    lost = {callback: others for callback, others in lost.items() if others}
    return GradientWatch(learner, lost, warned) if lost else None


def lost_message(lost: Mapping[Callback, Mapping[Callback, type[Hook]]]) -> str:
    """Who computed gradients anew, and whose part in them was lost."""
    who = " or ".join(callback.name for callback in lost)
    parts = {other: hook for others in lost.values() for other, hook in others.items()}
    listed = ", ".join(f"{other.name} (at `{hook.hook}`)" for other, hook in parts.items())
    one, others = next(iter(lost.items()))
    classes = " or ".join(type(unwrap(callback)).__name__ for callback in lost)
    return (
        f"{who} computed gradients anew in `update`, where they are no longer those that {listed} had a part in.\n"
        f"Fix: leave one of them out, or, if that is right, say so where the learner is made:\n"
        f"    {learner_line(one, next(iter(others)), 'any')}\n"
        f"Or, if you wrote {classes}, declare it and compute them by the operations, to which such callbacks belong:\n"
        f'    state_access = {{"loop": Write, ...}}\n'
        f"    learner.loop.perform(Forward), ... (Loss), ... (Backward), ... (FinalizeGradients)"
    )
