"""A program of two processes that save and resume a run together; `test_processes.py` starts it once.

Each prints what it found, as a line of JSON. The gradients are averaged by a callback, with nothing of
treadle-distributed.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from treadle import Callback, CustomCallback, Learner, StepBegin, TrainingPhase, Write, hookimpl, seed_everything
from treadle_checkpoint import Checkpointer, checkpoints, resume, save_model, save_run


class Average(Callback):
    """Average the gradients of all processes."""

    state_access = {"model": Write, "step": Write}

    @hookimpl(wrapper=True)
    def finalize_gradients(self, learner: Any, phase: TrainingPhase) -> Any:
        result = yield
        if dist.is_initialized():
            for parameter in learner.model.parameters():
                dist.all_reduce(parameter.grad)
                parameter.grad /= dist.get_world_size()
        return result


class Own(Callback):
    """Knows something else on each process."""

    def __init__(self, rank: int) -> None:
        self.rank, self.drawn, self.sums = rank, 0.0, torch.zeros(2)

    def on_step_end(self, phase: TrainingPhase) -> None:
        self.drawn += random.random() + self.rank
        self.sums = self.sums + torch.rand(1)

    def state_dict(self) -> dict[str, Any]:
        return {"drawn": self.drawn, "sums": self.sums}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.drawn, self.sums = state["drawn"], state["sums"]


def learner(rank: int, *callbacks: Callback, rows: int = 12) -> Learner:
    """A learner with rows, an order and random numbers of its own, and the model of all."""
    xs = torch.randn(rows, 4, generator=torch.Generator().manual_seed(rank))
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 1))
    seed_everything(50 + rank)
    return Learner(
        model,
        nn.functional.mse_loss,
        data=(DataLoader(TensorDataset(xs, xs.sum(1, keepdim=True)), 4, shuffle=True),),
        callbacks=[Average(), Own(rank), *callbacks],
        use_default_callbacks=False,
    )


def state(of: Learner) -> list[Any]:
    """All that training changes, as JSON has it."""
    own = of.get_callback(Own)
    tensors = [*of.model.state_dict().values(), own.sums, torch.get_rng_state()]
    return [own.drawn, random.getstate()[1][:3], *(tensor.tolist() for tensor in tensors)]


def outcome(run: Any) -> str:
    """What a call raises, or that it raises nothing."""
    try:
        run()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def main(base: Path) -> None:
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    found: dict[str, Any] = {"rank": rank}

    whole = learner(rank, Checkpointer(base / "run", every_steps=1))
    whole.fit(2)
    equal = []
    for one in checkpoints(base / "run"):
        again = learner(rank)
        resume(again, one)
        again.fit(2)
        equal.append(state(again) == state(whole))
    found["resumed at every step"] = equal

    save_run(whole, base / "saved")
    again = learner(rank)
    resume(again, base / "saved")
    found["saved after the fit"] = state(again) == state(whole)
    save_model(whole.model, base / "model.safetensors")

    class Odd(Callback):
        def state_dict(self) -> dict[str, Any]:
            return {"odd": object()} if rank == 1 and self.odd else {"odd": 1}

        def load_state_dict(self, state: dict[str, Any]) -> None: ...

        odd = False

    odd = Odd()
    unsaveable = learner(rank, odd)
    odd.odd = True
    found["what one cannot save"] = outcome(lambda: save_run(unsaveable, base / "odd"))
    found["what it left"] = sorted(path.name for path in base.iterdir() if "odd" in path.name)

    saving = Checkpointer(base / "asked", every_epochs=9)

    def ask(of: Any) -> None:
        if rank == 1 and of.progress.steps == 1:
            saving.request_save()

    learner(rank, saving, CustomCallback(ask, StepBegin, TrainingPhase)).fit(1)
    found["asked for by one"] = [one.steps for one in checkpoints(base / "asked")]

    def end(of: Any) -> None:
        if of.progress.steps == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    ended = learner(rank, Checkpointer(base / "ended"), CustomCallback(end, StepBegin, TrainingPhase)).fit(2)
    again = learner(rank)
    resume(again, base / "ended")
    again.fit(2)
    found["ended by a signal"] = [str(ended.cancelled), ended.steps, state(again) == state(whole)]

    for name in ("boundary", "inside"):
        again = learner(rank)
        drawn = torch.get_rng_state()
        found[f"one process, {name}"] = outcome(lambda again=again, name=name: resume(again, base / "one" / name))
        found[f"own random numbers, {name}"] = torch.get_rng_state().equal(drawn)
    found["steps of one process"] = learner(rank).fit(1).steps
    sys.stdout.write(json.dumps(found) + "\n")  # at once: two processes write here
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
