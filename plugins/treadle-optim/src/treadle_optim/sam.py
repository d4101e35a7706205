"""`SAM`: sharpness-aware minimisation, one perturbation for each update."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from treadle import (
    AbstractTrainingPhase,
    Callback,
    ConflictResolution,
    NotDefined,
    PropDict,
    Read,
    RunFirst,
    Unresolvable,
    Write,
    accesses,
    hookimpl,
)
from treadle.authoring import (
    by_name,
    handles,
    keep_gradients,
    real_number,
    state_of_update,
    unwrap,
    update_under_way,
)
from treadle.errors import CallbackError
from treadle.events import BackwardBegin, BackwardEnd, LossBegin
from treadle.operations import Backward, FinalizeGradients, Forward, Loss

from treadle_optim.accumulate import computes_gradients
from treadle_optim.unusual_gradients import not_sparse

#: What a step's state gets from its forward pass on; all else is what the batch gave it.
COMPUTED = ("yhats", "loss", "grads")


class SAM(Callback):
    """Sharpness-aware minimisation: update by the gradients of the weights that are worst nearby.

    When the gradients g of an update are whole, the weights w are moved to w + rho * g / (norm(g) + 1e-12), with one
    norm over all gradients. There the gradients of all batches of the update are computed anew and made whole, and the
    weights are put back, the same bits, on every way out. So the update, and whatever stands at `UpdateBegin`, has the
    second gradients. Both passes run under the same precision, scaler and accumulation. An epoch costs twice as much.

    The second pass draws new dropout masks. It leaves no trace in the buffers of the models: BatchNorm's running
    statistics are those of the first pass. `step.yhats` and `step.loss` are those of the first pass as well.

    Gradients of the first pass that are not finite perturb nothing, and make those of the second NaN: a gradient
    scaler skips that update, as without this callback.

    The batches of an update are kept until it is done, and while it is unfinished they are in the checkpoint.

    Args:
        rho: How far the weights are moved, at least 0. Default: 0.05.

    Reads: `optimizer`, whose parameters are moved.
    Writes: `step`, for the second pass; the gradients; `model` and `lossfn`, for that time.

    Raises:
        ArgumentTypeError, ArgumentValueError: if `rho` is not such a number.
        CallbackError: when the learner is built, if it has several models; in a step, before its update, if its loss
            is not what the operations `forward` and `loss` gave, which compute it anew, or if a gradient is sparse.

    Source: Foret et al., "Sharpness-Aware Minimization for Efficiently Improving Generalization",
    https://arxiv.org/abs/2010.01412, equation 2; without running statistics of the second pass, as its authors' code.

    Example:
        >>> from treadle import toy_learner
        >>> learner = toy_learner(SAM(rho=0.1))
        >>> _ = learner.fit(5)
        >>> round(learner.model.weight.item(), 1)
        3.0
    """

    guard = True
    state_access = {"loop": Write, "step": Write, "model": Write, "lossfn": Write, "optimizer": Read}
    run_after = ("ddp",)  # which makes the gradients whole by which the weights are perturbed

    def __init__(self, rho: float = 0.05) -> None:
        self.rho = real_number(rho, "rho", "SAM(rho=0.05)", least=0, finite=True)
        self._reset()

    def _reset(self) -> None:
        self._anew = False  # whether the second pass is under way
        self._valid: torch.Tensor | None = None  # in it, 1, or NaN if a gradient of the first one is not finite
        self._batch: dict[str, Any] = {}
        self._yhats: Any = None  # what the operations gave for that batch
        self._loss: Any = None

    def resolve_conflict(self, other: Callback) -> ConflictResolution:
        inner = unwrap(other)
        if isinstance(inner, SAM):
            return Unresolvable("Each of them perturbs the weights for an update. Keep one.")
        writes = accesses(inner, Write)
        if handles(inner, BackwardEnd) and "step.grads" in writes:
            return Unresolvable(
                f"SAM computes the gradients anew, and what {other.name} changes at BackwardEnd would be lost. "
                f"Let it handle UpdateBegin, where the gradients are whole."
            )
        for event, paths in ((LossBegin, {"step.yhats"}), (BackwardBegin, {"step.yhats", "step.loss"})):
            if handles(inner, event) and (changed := sorted(paths & writes)):
                return Unresolvable(
                    f"SAM computes `{changed[0]}` anew, and what {other.name} changes at {event.__name__} would be "
                    f"lost. Let it wrap the operation `{'loss' if changed[0] == 'step.loss' else 'forward'}`."
                )
        if computes_gradients(inner):
            return Unresolvable(
                f"{other.name} overrides `update` and may compute the gradients itself, without the perturbation."
            )
        if any(handles(inner, operation) for operation in (Forward, Loss, Backward, FinalizeGradients)):
            return RunFirst(self)  # the outermost ring, which performs all that is inside anew
        if hasattr(inner, "on_init") and isinstance(inner.resolve_conflict(self), NotDefined):
            return RunFirst(other)  # SAM changes nothing there
        return NotDefined()

    def on_init(self, learner: Any) -> None:
        self._reset()
        if "" not in by_name(learner.model):
            raise CallbackError(
                f"SAM computes the loss of a batch anew by the operations `forward` and `loss`, which apply one "
                f"model, and the learner has several: {', '.join(by_name(learner.model))}.\n"
                f"Fix: train without SAM, or make one module of them:\n    torch.nn.ModuleDict(models)"
            )

    # The first pass: what to compute anew.

    @hookimpl(wrapper=True)
    def forward(self, learner: Any, phase: AbstractTrainingPhase) -> Generator[None, Any, Any]:
        batch = {name: value for name, value in learner.step.items() if name not in COMPUTED}
        yhats = yield
        if not self._anew:
            self._batch, self._yhats = batch, yhats
        return yhats

    @hookimpl(wrapper=True)
    def loss(self, learner: Any, phase: AbstractTrainingPhase) -> Generator[None, Any, Any]:
        step, known = learner.step, self._yhats is not None and learner.step.get("yhats") is self._yhats
        batch = {name: step[name] for name in self._batch if name in step}
        loss = yield
        if not self._anew:
            self._batch, self._yhats, self._loss = batch, None, loss if known else None
        return loss

    @hookimpl(wrapper=True)
    def backward(self, learner: Any, phase: AbstractTrainingPhase) -> Generator[None, Any, Any]:
        if self._anew:
            return (yield from self._backward_anew(learner.step))
        loss, self._loss = self._loss, None
        name = update_under_way(learner).loss
        if loss is None or name != "loss" or learner.step.get("loss") is not loss:
            raise CallbackError(
                f"SAM computes the loss of a batch anew by the operations `forward` and `loss`, and `step.{name}` "
                f"in {type(phase).__name__} is not what they gave.\n"
                f"Fix: let them give it, with all that belongs to it:\n"
                f"    state.yhats = handle(Forward)\n    handle(LossBegin)\n    state.loss = handle(Loss)"
            )
        result = yield
        batch, self._batch = self._batch, {}
        state_of_update(learner).setdefault("batches", []).append(batch)
        return result

    # The second pass.

    def _backward_anew(self, step: Any) -> Generator[None, Any, Any]:
        """Gradients that are NaN where those of the first pass were not finite, by a loss that nobody else sees."""
        loss = step.loss
        if self._valid is not None:
            step.loss = loss * self._valid.to(loss)
        try:
            return (yield)
        finally:
            step.loss = loss

    @hookimpl(wrapper=True)
    def finalize_gradients(self, learner: Any, phase: AbstractTrainingPhase) -> Generator[None, Any, Any]:
        result = yield
        if not self._anew:
            batches = state_of_update(learner).get("batches", [])
            if len(batches) < learner.progress.accumulated:
                raise CallbackError(
                    f"SAM has {len(batches)} of the {learner.progress.accumulated} batches of this update: it was not "
                    f"there when the update began.\n"
                    f"Fix: resume from a checkpoint that was saved with SAM, or from the end of an epoch."
                )
            self._compute_anew(learner, batches)
        return result

    def _compute_anew(self, learner: Any, batches: list[dict[str, Any]]) -> None:
        """The gradients of these batches, of the perturbed weights."""
        state, modules = learner.step, [m for m in (learner.model, learner.lossfn) if isinstance(m, nn.Module)]
        optimizers = update_under_way(learner).optimizers(learner)
        held = [p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]
        parameters = [p for p in dict.fromkeys(held) if p.grad is not None]
        with as_before(parameters, modules):
            try:
                self._anew = True
                self._valid = perturb(parameters, self.rho)
                for i, batch in enumerate(batches):
                    learner.step = step = PropDict(batch)
                    step.yhats = learner.loop.perform(Forward)
                    step.loss = learner.loop.perform(Loss)
                    if i:
                        keep_gradients(learner)
                    learner.loop.perform(Backward)
                learner.step = state
                learner.loop.perform(FinalizeGradients)
            finally:
                learner.step, self._anew, self._valid = state, False, None


@torch.no_grad()
def perturb(parameters: list[nn.Parameter], rho: float) -> torch.Tensor | None:
    """Move parameters by `rho` along their gradients, unless a gradient is not finite.

    Returns:
        1, or NaN if a gradient is not finite, on its device, since nothing waits for it; None without parameters.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not gradients:
        return None
    if any(gradient.layout != torch.strided for gradient in gradients):
        raise not_sparse("SAM")
    if any(gradient.dtype is torch.float16 for gradient in gradients):  # in which 1e-12 is 0, and 1e5 infinite
        gradients = [gradient.float() if gradient.dtype is torch.float16 else gradient for gradient in gradients]
    device = gradients[0].device
    norms = [torch.linalg.vector_norm(gradient).to(device) for gradient in gradients]
    finite = torch.stack([gradient.isfinite().all().to(device) for gradient in gradients]).all()
    scale = rho / (torch.linalg.vector_norm(torch.stack(norms)) + 1e-12)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        step = gradient * scale.to(gradient)
        parameter.add_(torch.where(finite.to(step.device), step, torch.zeros((), dtype=step.dtype, device=step.device)))
    return torch.where(finite, 1.0, torch.nan)


@contextmanager
def as_before(parameters: list[nn.Parameter], modules: list[nn.Module]) -> Iterator[None]:
    """Put parameters, and the buffers of modules, back as they were: the same bits, in the same tensors."""
    values = [(parameter, parameter.detach().clone()) for parameter in parameters]
    buffers = [
        (module, name, buffer, buffer.clone())
        for whole in modules
        for module in whole.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]

    @torch.no_grad()
    def put_back() -> None:
        for parameter, value in values:
            parameter.copy_(value)
        for module, name, buffer, value in buffers:
            module._buffers[name] = buffer
            if 0 not in buffer.stride():  # an expanded one, which nobody can change
                buffer.copy_(value)

    try:
        yield
    finally:
        try:
            put_back()
        except BaseException:  # an interrupt came meanwhile
            put_back()
            raise
