"""Runs that two processes save and resume together: `torchrun --nproc-per-node=2 saved_runs.py FOLDER`."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from torch import distributed, nn
from torch.utils.data import DataLoader, TensorDataset
from treadle import (
    Callback,
    CancelEpochException,
    CancelFittingException,
    CustomCallback,
    EpochBegin,
    Learner,
    StepBegin,
    StepEnd,
    TrainingPhase,
    seed_everything,
)
from treadle_checkpoint import Checkpointer, checkpoints, resume
from treadle_distributed import DDP


def learner_of(*callbacks: Callback) -> Learner:
    seed_everything(3)
    xs = torch.randn(22, 4, generator=torch.Generator().manual_seed(7))
    rows = TensorDataset(xs, xs.sum(1, keepdim=True))
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 1))
    return Learner(
        model,
        nn.functional.mse_loss,
        data=(DataLoader(rows, 4, shuffle=True), DataLoader(rows, 4)),
        callbacks=[DDP(timeout=60), *callbacks],
        use_default_callbacks=["recorder", "metrics"],
    )


def state(learner: Learner) -> list[Any]:
    tensors = [*learner.model.state_dict().values(), torch.get_rng_state()]
    return [learner.cbstate.history[TrainingPhase()].steps, *(tensor.tolist() for tensor in tensors)]


def resumed(path: Any) -> list[Any]:
    learner = learner_of()
    resume(learner, path)
    learner.fit(2)
    return state(learner)


def main(base: Path) -> None:
    whole = learner_of(Checkpointer(base / "run", every_steps=1))
    whole.fit(2)
    rank = distributed.get_rank()
    found: dict[str, Any] = {"rank": rank}
    found["at every step"] = [resumed(one) == state(whole) for one in checkpoints(base / "run")]

    def end(learner: Any) -> None:
        if rank == 1 and learner.progress.steps == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    ended = learner_of(Checkpointer(base / "ended"), CustomCallback(end, StepBegin, TrainingPhase)).fit(2)
    found["signal"] = [str(ended.cancelled), ended.steps, resumed(base / "ended") == state(whole)]

    def cancel(learner: Any) -> None:
        if rank == 1 and learner.progress.steps == 1:
            raise CancelFittingException("Alone.")

    for name, event in (("begin", StepBegin), ("end", StepEnd)):
        cancelled = learner_of(Checkpointer(base / name), CustomCallback(cancel, event, TrainingPhase)).fit(2)
        saved = len(checkpoints(base / name))
        found[f"cancel, {name}"] = [str(cancelled.cancelled), saved, not saved or resumed(base / name) == state(whole)]

    stop = CustomCallback(cancel, StepEnd, TrainingPhase)
    due = learner_of(stop, Checkpointer(base / "due", every_steps=1)).fit(2)
    found["cancel, due"] = [str(due.cancelled), due.steps, resumed(base / "due") == state(whole)]

    def skip(learner: Any) -> None:
        if rank == 1 and learner.progress.epoch == 1:
            raise CancelEpochException("Alone.")

    skipping = learner_of(CustomCallback(skip, EpochBegin, TrainingPhase)).fit(2)
    found["epoch begin"] = [skipping.epochs, skipping.steps]
    sys.stdout.write(json.dumps(found) + "\n")  # at once: two processes write here


if __name__ == "__main__":
    main(Path(sys.argv[1]))
