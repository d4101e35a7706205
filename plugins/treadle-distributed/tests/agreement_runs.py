"""What two processes do, started by torchrun; each writes how its runs went. See test_agreement.py."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from treadle import (
    AbstractTrainingPhase,
    Callback,
    CancelEpochException,
    CancelFittingException,
    CancelStepException,
    CancelUpdateException,
    Phase,
    Read,
    TrainingPhase,
    ValidationPhase,
    epoch,
    hookimpl,
    toy_learner,
)
from treadle_distributed.agreement.agreement import Agreement


class Engine(Callback):
    def __init__(self, timeout: timedelta | None = None) -> None:
        self.agreement = Agreement(timeout)

    def agree(self, learner: Any, phase: Phase | None, point: str, request: BaseException | None) -> Any:
        return self.agreement.agree(learner, phase, point, request)


class At(Callback):
    """Raises in a handler of one process: at a call of it, counted from 1."""

    def __init__(self, hook: str, count: int, error: Callable[[], BaseException], rank: int) -> None:
        self.left = count if dist.get_rank() == rank else -1

        def handler() -> None:
            self.left -= 1
            if self.left == 0:
                raise error()

        setattr(self, hook, handler)


class Guard(Callback):
    """Stops at a loss that is not finite, as it is on one process."""

    state_access = {"step.loss": Read}

    def on_backward_begin(self, learner: Any, phase: TrainingPhase) -> None:
        if not math.isfinite(learner.step.loss.item()):
            raise CancelFittingException("The loss is not finite.")


class Done(CancelFittingException):
    """Ends the fit for good."""

    final = True


class Spike(CancelFittingException):
    """Ends the fit, and says by which loss."""

    def __init__(self, message: str, loss: float) -> None:
        super().__init__(message)
        self.loss = loss


class Printer(Callback):
    """Prints on the main process, and stops the fit there."""

    main_process_only = True

    def __init__(self) -> None:
        self.steps = 0

    def on_step_end(self, phase: TrainingPhase) -> None:
        self.steps += 1
        if self.steps == 3:
            raise CancelFittingException("The disk is nearly full.")


class Exchanging(Callback):
    """Exchanges something where the gradients become whole."""

    @hookimpl(wrapper=True)
    def finalize_gradients(self) -> Any:
        dist.all_reduce(torch.ones(1))
        return (yield)


class SkipOne(Callback):
    """An update that one process alone leaves out."""

    def update(self, learner: Any, phase: AbstractTrainingPhase) -> bool | None:
        return False if dist.get_rank() == 1 and learner.progress.steps == 1 else None


def outcome(learner: Any, run: Callable[[Any], Any]) -> dict[str, Any]:
    """How a run went, in plain values."""
    cancelled, error = None, None
    try:
        result = run(learner)
        cancelled = getattr(result, "cancelled", None)
    except BaseException as raised:
        error = raised
    progress = learner.progress
    return {
        "progress": [progress.epochs, progress.steps, progress.updates],
        "weight": learner.model.weight.item(),
        "cancelled": None if cancelled is None else [type(cancelled).__name__, str(cancelled), cancelled.final],
        "loss": getattr(cancelled, "loss", None),
        "error": None if error is None else [type(error).__name__, str(error)],
        "rank": getattr(error, "rank", None),
    }


def fit(*callbacks: Callback, run: Callable[[Any], Any] = lambda learner: learner.fit(2), **kwargs: Any) -> Any:
    learner = toy_learner(*callbacks, Engine(), nbatches=4, **kwargs)
    return outcome(learner, run)


def unequal(phase: type[Phase]) -> Any:
    steps: list[int] = []
    count = Callback()
    count.on_step_end = lambda: steps.append(1)  # type: ignore[attr-defined]
    data = toy_learner(nbatches=4 - dist.get_rank()).data.training
    result = fit(count, run=lambda learner: epoch(learner, phase(), data))
    return {**result, "batches": len(steps)}


def with_nan() -> Any:
    data = [(xs.clone(), ys) for xs, ys in toy_learner(nbatches=4).data.training]
    if dist.get_rank() == 1:
        data[2][0].fill_(math.nan)
    return fit(Guard(), data=(data,))


def cost() -> float:
    """Microseconds of a point."""
    agreement, learner = Agreement(), toy_learner()
    agreement.agree(learner, None, "batch", None)
    begin = time.perf_counter()
    for _ in range(200):
        agreement.agree(learner, None, "batch", None)
    return (time.perf_counter() - begin) / 200 * 1e6


def lost_in_a_collective() -> Any:
    """One process ends by an error, while the other waits for it in a collective."""

    class Collective(Callback):
        def on_backward_begin(self, phase: TrainingPhase) -> None:
            if dist.get_rank() == 0:
                raise FileNotFoundError("rows_17.parquet")
            dist.all_reduce(torch.ones(1))

    begin = time.monotonic()
    learner = toy_learner(Collective(), Engine(timedelta(seconds=2)), nbatches=4)
    return {**outcome(learner, lambda learner: learner.fit(1)), "seconds": time.monotonic() - begin}


RUNS: dict[str, Callable[[], Any]] = {
    "nothing": lambda: fit(),
    "update": lambda: fit(At("on_update_begin", 2, lambda: CancelUpdateException("spike"), 1)),
    "step": lambda: fit(At("on_loss_begin", 2, lambda: CancelStepException("dull"), 1)),
    "epoch": lambda: fit(At("on_step_end", 3, lambda: CancelEpochException("enough"), 0)),
    "fit": lambda: fit(At("on_update_end", 3, lambda: CancelFittingException("good enough"), 1)),
    "for good": lambda: fit(At("on_epoch_end", 2, lambda: Done("no progress"), 0)),
    "spike": lambda: fit(At("on_loss_begin", 3, lambda: Spike("a spike", 7.5), 1)),
    "widest": lambda: fit(
        At("on_step_begin", 2, lambda: CancelStepException("dull"), 0),
        At("on_step_begin", 2, lambda: CancelFittingException("good enough"), 1),
    ),
    "nan": with_nan,
    "before gradients": lambda: fit(Exchanging(), At("on_backward_end", 2, lambda: CancelUpdateException("spike"), 1)),
    "error": lambda: fit(At("on_backward_end", 3, lambda: ValueError("row 17\nis broken"), 0)),
    "error beside cancel": lambda: fit(
        At("on_step_begin", 2, lambda: CancelFittingException("good enough"), 0),
        At("on_loss_begin", 2, lambda: KeyError("label"), 1),
    ),
    "error in fit end": lambda: fit(At("on_fit_end", 1, lambda: OSError("disk full"), 1)),
    "interrupt": lambda: fit(At("on_step_begin", 2, KeyboardInterrupt, 1)),
    "training data": lambda: unequal(TrainingPhase),
    "validation data": lambda: unequal(ValidationPhase),
    "printer": lambda: fit(Printer()),
    "printer on one": lambda: fit(*([Printer()] if dist.get_rank() == 0 else [])),
    "plans": lambda: fit(*([Guard()] if dist.get_rank() == 0 else [])),
    "apart": lambda: fit(SkipOne()),
    "alone": lambda: fit(run=lambda learner: learner.evaluate() if dist.get_rank() == 0 else learner.fit(1)),
    "afterwards": lambda: fit(),
    "cost": cost,
    "lost": lost_in_a_collective,  # then the first one ends
}


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", timeout=timedelta(seconds=20))
    results: dict[str, Any] = {}
    learner = toy_learner(Engine(), nbatches=4)
    learner.fit(1)
    for name, run in RUNS.items():
        results[name] = run()
        (folder / f"{dist.get_rank()}.json").write_text(json.dumps(results), encoding="utf-8")
    if dist.get_rank() == 1:
        results["gone"] = outcome(learner, lambda learner: learner.fit(1))
        (folder / "1.json").write_text(json.dumps(results), encoding="utf-8")
    os._exit(0)  # there is nobody to say goodbye to


if __name__ == "__main__":
    main(Path(sys.argv[1]))
