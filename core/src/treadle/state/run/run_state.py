"""The state of a run: everything that it consists of, as `capture_run` found it, put back into a learner."""

from __future__ import annotations

from collections.abc import Collection
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from treadle.errors import MismatchError
from treadle.state.propdict import PropDict
from treadle.state.random_state import RandomState, sources_of
from treadle.state.run import callback_states, entries, optimizer_state
from treadle.state.run.data import states
from treadle.state.run.data.passes import PassStart
from treadle.state.run.model_state import (
    load_hidden_buffers,
    load_model_state,
    match_model_state,
    named_modules,
    unset_buffers,
)
from treadle.state.run.objects.preserved import remember
from treadle.state.run.optimizer_state import named_parameters
from treadle.state.run.values import has_state, unflatten

if TYPE_CHECKING:
    from treadle.learner import Learner


class RunState:
    """The state of a run at one moment, by names, so that it fits another learner that was built as this one was.

    It consists of the parameters and all buffers of the models and the loss function, which parameters are trained, the
    modules' training modes, the optimizers, the gradients of an unfinished update, the callbacks' states,
    `cbstate`, the progress, the random generators, and the states that data offer.

    Args:
        model: The values of the models' `state_dict`, by name; see `model_state`.
        parts: All else, by part: what `flatten` returned for it.
        tensors: The tensors of the parts by name.

    Example:
        >>> from treadle import toy_learner
        >>> from treadle.authoring import capture_run
        >>> state = capture_run(toy_learner())
        >>> sorted(state.model), state.part("progress")["steps"]
        (['weight'], 0)
    """

    def __init__(self, model: dict[str, Any], parts: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        self.model, self.parts, self.tensors = model, parts, tensors

    def part(self, name: str, *, copy: bool = True) -> Any:
        """A part; all in it is new, unless it is not to be copied, but looked at."""
        return unflatten(self.parts[name], self.tensors, copy=copy)

    def check(self, learner: Learner, *, where: str = "The state", without: Collection[str] = ()) -> None:
        """Refuse a learner that this state does not fit.

        Args:
            where: Where the state comes from, for messages. Default: "The state".
            without: Names of callbacks whose states may be missing here or there. Default: none.

        Raises:
            MismatchError: for other models, optimizers, callbacks or loss functions than those that were captured.
        """
        match_model_state(learner.model, self._without(self._to_make(learner)), where, exact=True)
        lossfn = self.part("lossfn", copy=False)
        if isinstance(learner.lossfn, nn.Module):
            match_model_state(learner.lossfn, lossfn, where, what="the loss function", exact=True)
        elif lossfn:
            raise MismatchError(
                f"{where} has a state of the loss function ({', '.join(lossfn)}), and the learner's has none.\n"
                f"Fix: build the loss function as it was when it was saved"
            )
        optimizer_state.check(
            learner.optimizer, self.part("optimizer", copy=False), named_parameters(learner.model, learner.lossfn)
        )
        callback_states.check(learner.callbacks, self.part("callbacks", copy=False), without)

    def put_back(
        self,
        learner: Learner,
        *,
        moment: str = "now",
        data: bool = True,
        where: str = "The state",
        without: Collection[str] = (),
    ) -> None:
        """Put everything back but the states that data offer, as often as needed; the learner passed `check`.

        If something refuses its state, the learner is as it was.

        Args:
            moment: Modes and random generators are put back as they were "now", when the state was captured, or if
                they are known as they were at the "entry" or the "start" of the epoch that was under way.
            data: Whether the learner is the one of the run already, with all generators that it has while it runs.
                Default: yes; else generators that are missing are left out.
            where, without: See `check`.
        """
        undo = remember(
            [learner.models, learner.optimizers, learner.lossfn, learner.callbacks, learner.cbstate],
            lazy=True,
            kept=optimizer_state.replaced_tensors(learner.optimizer),
        )
        try:
            entries.put_back(learner.cbstate, self.part("cbstate"))
            callback_states.put_back(learner.callbacks, self.part("callbacks"), without)
            self._put_back_modules(learner, moment, where)
            random = self.random_state(learner, moment, data=data, without=without)
        except BaseException as error:
            try:
                undo()
            except Exception as another:
                error.add_note(f"After it, not all could be put back as it was: {another!r}")
            raise
        learner.step = PropDict(self.part("step"))
        for name, value in self.part("progress").items():
            setattr(learner.progress, name, value)
        learner.position.updates.put_back(self.part("unfinished"))
        random.put_back()

    @torch.no_grad()
    def _put_back_modules(self, learner: Learner, moment: str, where: str) -> None:
        to_make = self._to_make(learner)
        load_model_state(learner.model, self._without(to_make), where)
        for name, owner in to_make.items():
            like = next(chain(owner.parameters(), owner.buffers(), *(m.parameters() for m in learner.models)), None)
            buffer = self.model[name].clone() if like is None else self.model[name].to(like.device, copy=True)
            owner.register_buffer(name.rpartition(".")[2], buffer)
        if isinstance(learner.lossfn, nn.Module):
            load_model_state(learner.lossfn, self.part("lossfn"), where)
        modules, modes = named_modules(learner.model, learner.lossfn), self.part("modes")
        load_hidden_buffers(modules, self.part("buffers", copy=False))
        for name, mode in (modes.get(moment) or modes["now"]).items():
            if name in modules:
                modules[name].training = mode
        parameters = named_parameters(learner.model, learner.lossfn)
        optimizer_state.put_back(learner.optimizer, self.part("optimizer"), parameters)
        frozen, gradients = set(self.part("frozen")), self.part("gradients")
        for name, parameter in parameters.items():
            parameter.requires_grad_(name not in frozen)
            parameter.grad = gradients[name].to(parameter.device) if name in gradients else None

    def _to_make(self, learner: Learner) -> dict[str, nn.Module]:
        """The modules whose buffers were None when the run was built, and were tensors when it was saved; by name."""
        unset = unset_buffers(learner.model)
        return {name: unset[name] for name in self.part("made") if name in unset and name in self.model}

    def _without(self, names: Collection[str]) -> dict[str, Any]:
        """The values of the models, without those of some names."""
        return {name: value for name, value in self.model.items() if name not in names}

    def put_back_data(self, learner: Learner, *, over: bool = False) -> None:
        """Give data the states that they offered; they use it when they are iterated over next.

        Args:
            over: Whether the epoch under way was ended for good: then its loader's parts are as they were left there,
                and not as they were before its first batch. Default: no.
        """
        states.put_back(learner.data, {**self.part("data"), **(self.part("data_now") if over else {})})
        if over:
            for name in self.part("started"):
                if name in learner.data and has_state(learner.data[name]):
                    iter(learner.data[name])  # the pass that its own state is in is left, and the next begins anew

    def pass_start(self, learner: Learner) -> PassStart:
        """How things stood before the first batch of the epoch under way, for the learner that goes on with it."""
        name = next(iter(self.part("started")), "")
        return PassStart(
            self.random_state(learner, "start"), self.part("data").get(name, {}), self.part("started").get(name, {})
        )

    def random_state(
        self, learner: Learner, moment: str, *, data: bool = True, without: Collection[str] = ()
    ) -> RandomState:
        """The random generators' states at a moment, or at the nearest one that is known; see `put_back`."""
        moments = self.part("random")
        optional = callback_states.optional(learner.callbacks, self.part("callbacks", copy=False), without)
        left_out = tuple(f"callbacks[{key!r}]" for key in optional)

        def needed(name: str) -> bool:
            if name.startswith("data."):
                return data and name.split(".")[1].partition("[")[0] in learner.data
            return data and not name.startswith(left_out)

        state = moments.get(moment) or moments.get("start" if moment == "entry" else "now") or moments["now"]
        return RandomState.from_dict(state, sources_of(learner), needed=needed)
