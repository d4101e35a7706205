"""`DDP`: one model, trained by many processes that share the batches."""

from __future__ import annotations

from collections.abc import Generator
from datetime import timedelta
from typing import Any, cast

from torch.nn.parallel import DistributedDataParallel
from treadle import (
    AbstractTrainingPhase,
    Callback,
    CancelFittingException,
    ConflictResolution,
    Phase,
    Read,
    Unresolvable,
    Write,
    hookimpl,
)
from treadle.authoring import Processes, applied_as, handlers, handles, instance_of, unwrap
from treadle.operations import Accumulate, Forward

from treadle_distributed.agreement.agreement import Agreement
from treadle_distributed.engine.equal import broadcast_buffers, make_equal, reduce_gradients
from treadle_distributed.engine.finished import check_finished
from treadle_distributed.engine.model import check_optimizers, model_of
from treadle_distributed.engine.options import checked_options, of_buffers
from treadle_distributed.engine.order import order_of_engine
from treadle_distributed.engine.settings import settings_of
from treadle_distributed.engine.weights import Weights
from treadle_distributed.group import checked_timeout, join_group
from treadle_distributed.processes import GroupProcesses


class DDP(Callback):
    """Train one model with many processes, by `torch.nn.parallel.DistributedDataParallel`.

    `torchrun` in front of the script is all else that it takes. Each process gets its share of the batches, whose size
    is that of one process, and all make the same updates: by the mean of the gradients of all processes. What an epoch
    measures is what one process would measure on all rows. In a single process it does nothing.

    Args:
        timeout: How long a process waits for the others, in seconds or as a `timedelta`. It counts where the group is
            made here; one that the script has made has its own. Default: torch's own, 30 minutes for CPUs and 10 for
            NCCL.
        broadcast_buffers: Whether every process has the buffers of the main one, such as the statistics of BatchNorm,
            in each step and in validation. Default: yes.
        find_unused_parameters: Whether a batch may leave parameters without a gradient. Default: no; such a batch is
            refused before its update.
        **options: Others of `DistributedDataParallel`, such as `gradient_as_bucket_view`, `static_graph` and
            `bucket_cap_mb`.

    Reads: `step.accumulating`.
    Writes: `model`, which is made equal to that of the main process; `step.grads`.

    Raises:
        ArgumentTypeError, ArgumentValueError: if an argument cannot be used; if the learner has several models, or one
            without parameters; when an epoch begins, if an optimizer has parameters that are not the model's.
        DataError: when an epoch begins, if its data cannot be divided, or differ from process to process; in a step, if
            its epoch goes over data that are not divided.
        ApartError: when an epoch of training begins, if the settings of optimizers or the length of the fit differ
            from process to process; when it ends, if weights do.
        ProcessGroupError: if the processes cannot work together; in a step, if the loss does not depend on all
            parameters.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.parallel.DistributedDataParallel.html

    Example:
        >>> from treadle import toy_learner
        >>> toy_learner(DDP()).fit(1)
        FitResult(epochs=1, steps=16, cancelled=None)
    """

    state_access = {"model": Write, "step.grads": Write, "step.accumulating": Read}
    run_after = ("to_device", "to_gpu", "compile")  # which move the model, or change how it runs
    optional_state = True

    def __init__(
        self,
        *,
        timeout: float | timedelta | None = None,
        broadcast_buffers: bool = True,
        find_unused_parameters: bool = False,
        **options: Any,
    ) -> None:
        self.timeout = timeout
        self.broadcast_buffers = instance_of(
            broadcast_buffers, "DDP(broadcast_buffers)", bool, "DDP(broadcast_buffers=False)"
        )
        self.find_unused_parameters = instance_of(
            find_unused_parameters, "DDP(find_unused_parameters)", bool, "DDP(find_unused_parameters=True)"
        )
        self.options = checked_options(options)
        self.group = join_group(timeout)
        self.processes: Processes | None = None
        self._agreement = Agreement(checked_timeout(timeout))
        if self.group.size > 1:
            self.processes = GroupProcesses(self.group, self._before_epoch, self._after_epoch)
        else:
            self.on_epoch_begin = None  # type: ignore[assignment, method-assign]
            self.agree = None  # type: ignore[assignment, method-assign]  # there is nobody to agree with
        self._engine: DistributedDataParallel | None = None
        self._trained: tuple[Any, ...] = ()  # the model and which of its parameters the engine is for
        self._armed = False  # whether the next backward pass reduces the gradients
        self._reduced = False  # whether the last one did

    def __getstate__(self) -> Any:
        """Without the engine, which a copy makes anew."""
        state, slots = cast(tuple[dict[str, Any], Any], super().__getstate__())
        return {**state, "_engine": None, "_trained": (), "processes": None}, slots

    def __setstate__(self, state: Any) -> None:
        vars(self).update(state[0])
        if self.group.size > 1:
            self.processes = GroupProcesses(self.group, self._before_epoch, self._after_epoch)

    def resolve_conflict(self, other: Callback) -> ConflictResolution:
        if isinstance(unwrap(other), DDP):
            return Unresolvable("A run has one engine for its processes. Keep one of them.")
        forward = handlers(other).get(Forward.hook)
        if forward is not None and not forward.wrapper:
            return Unresolvable(
                f"{other.name} overrides `forward`, which {self.name} does with many processes. "
                f"Use Compile() in place of CompiledStep()."
            )
        if self.options.get("static_graph") and handles(unwrap(other), Accumulate):
            return Unresolvable(
                f"{other.name} exchanges gradients in some steps only, and with `static_graph` torch's engine takes "
                f"all steps to be alike. Leave out `static_graph`."
            )
        return order_of_engine(self, other)

    def agree(
        self, learner: Any, phase: Phase | None, point: str, request: BaseException | None
    ) -> BaseException | bool:
        if point == "backward" and is_accumulating(learner.step):
            point = f"{point}, accumulating"  # where the engine exchanges nothing, which it does in all or in none
        outcome = self._agreement.agree(learner, phase, point, request)
        if isinstance(outcome, CancelFittingException) and self.broadcast_buffers and not self._agreement._lost:
            broadcast_buffers(learner.model)  # here all are at the same point; else the epoch's end does it
        return outcome

    def on_init(self, learner: Any) -> None:
        model = model_of(learner, self.name)
        self._engine, self._trained = None, ()
        if isinstance(self.processes, GroupProcesses):
            self.processes.seed = make_equal(model, self.processes, self.name)

    def on_fit_begin(self, learner: Any) -> None:
        self._engine, self._trained = None, ()  # an error may have left it in the middle of a step
        if isinstance(self.processes, GroupProcesses):
            make_equal(model_of(learner, self.name), self.processes, self.name)

    def on_epoch_begin(self, learner: Any, phase: Phase) -> None:
        if isinstance(self.processes, GroupProcesses):
            self.processes.open_epoch(learner, phase)

    def _before_epoch(self, learner: Any, phase: Phase) -> dict[str, str]:
        if phase.training is not True and self.broadcast_buffers:
            broadcast_buffers(learner.model)
        if not phase.training:
            return {}
        check_optimizers(learner, self.name)
        return settings_of(learner)

    def added_up(self, learner: Any, phase: Phase) -> list[Weights]:
        return [Weights(dict(learner.model.named_parameters()))] if phase.training else []

    def _after_epoch(self, learner: Any, phase: Phase) -> None:
        if phase.training and self.broadcast_buffers:
            broadcast_buffers(learner.model)

    # The step.

    @hookimpl(wrapper=True)
    def forward(self, learner: Any, phase: AbstractTrainingPhase) -> Generator[None, Any, Any]:
        engine = None if self.processes is None else self._engine_for(learner.model)
        if engine is None:
            return (yield)
        self._armed = not is_accumulating(learner.step)
        engine.require_backward_grad_sync = self._armed  # which it looks at in its forward pass
        with applied_as(learner, engine):
            return (yield)

    def _engine_for(self, model: Any) -> DistributedDataParallel | None:
        """The engine around the model, for those of its parameters that are trained now; None if none is."""
        trained = (model, *[parameter.requires_grad for parameter in model.parameters()])
        if trained != self._trained:
            self._engine, self._trained = None, trained  # the hooks of the last one go with it
            if any(trained[1:]):
                options = of_buffers(self.broadcast_buffers) | self.options
                self._engine = DistributedDataParallel(
                    model, find_unused_parameters=self.find_unused_parameters, **options
                )
        return self._engine

    @hookimpl(wrapper=True)
    def backward(self, learner: Any, phase: AbstractTrainingPhase) -> Generator[None, Any, Any]:
        if isinstance(self.processes, GroupProcesses):
            self.processes.check_divided(learner, phase)
        armed, self._armed, self._reduced = self._armed, False, False
        result = yield
        if armed and self._engine is not None:
            try:
                check_finished(self._engine, self.name)
            except BaseException:
                self._engine, self._trained = None, ()  # it is in the middle of a step
                raise
        self._reduced = armed
        return result

    @hookimpl(wrapper=True)
    def finalize_gradients(self, learner: Any, phase: AbstractTrainingPhase) -> Generator[None, Any, Any]:
        if self.processes is not None and not self._reduced:
            # The last batch of an epoch was to accumulate, or a phase has applied the model by itself.
            reduce_gradients(learner.model, self.group.size)
            self._reduced = True
        return (yield)

    def state_dict(self) -> dict[str, Any]:
        return {"seed": self.processes.seed} if isinstance(self.processes, GroupProcesses) else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if isinstance(self.processes, GroupProcesses) and "seed" in state:
            self.processes.seed = state["seed"]


def is_accumulating(step: Any) -> bool:
    """Whether a step only adds to the gradients."""
    return "accumulating" in step and bool(step.accumulating)
