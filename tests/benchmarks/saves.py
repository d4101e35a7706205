"""What saving and resuming a run costs beside torch's own way: `python tests/benchmarks/saves.py`.

By hand: `torch.save` of the models' and the optimizer's state and of torch's random generator, and `fsync`; and
`torch.load` with `load_state_dict` of the same. Both in turn, on the same disk; the fastest round of each counts.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from treadle import Learner
from treadle_checkpoint import resume, save_run

#: The sizes in MB of model and optimizer together.
SIZES = (0.1, 1, 10, 150)


def trained(megabytes: float, layers: int = 6) -> Learner:
    """A learner after a step of Adam, which keeps two numbers for each parameter."""
    width = int((megabytes * 1e6 / 4 / 3 / layers) ** 0.5)
    rows = torch.randn(4, width)
    learner = Learner(
        nn.Sequential(*[nn.Linear(width, width) for _ in range(layers)]),
        nn.functional.mse_loss,
        data=([(rows, rows)],),
        use_default_callbacks=["recorder", "metrics"],
    )
    learner.fit(1)
    return learner


def save_by_hand(learner: Learner, path: Path) -> None:
    """One file, on the disk."""
    model, optimizer = learner.model.state_dict(), learner.optimizer.state_dict()
    torch.save({"model": model, "optimizer": optimizer, "random": torch.get_rng_state()}, path)
    descriptor = os.open(path, os.O_RDWR)
    os.fsync(descriptor)
    os.close(descriptor)


def load_by_hand(learner: Learner, path: Path) -> None:
    """The same file, put back."""
    state = torch.load(path)
    learner.model.load_state_dict(state["model"])
    learner.optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["random"])


def seconds(run: Callable[[Learner, Path], Any], learner: Learner, path: Path) -> float:
    """The time that something takes."""
    begin = time.perf_counter()
    run(learner, path)
    return time.perf_counter() - begin


def ratios(megabytes: float, rounds: int) -> tuple[float, float]:
    """The times of `save_run` and of `resume`, as multiples of those by hand."""
    learner, again = trained(megabytes), trained(megabytes)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            file, run = Path(folder) / "by-hand.pt", Path(folder) / "run"
            saves = seconds(save_by_hand, learner, file), seconds(save_run, learner, run)
            loads = seconds(load_by_hand, again, file), seconds(resume, again, run)
            found.append((*saves, *loads))
            file.unlink()
            shutil.rmtree(run)
    by_hand, saved, loaded, resumed = map(min, zip(*found, strict=True))
    return saved / by_hand, resumed / loaded


if __name__ == "__main__":
    torch.set_num_threads(1)
    for size in SIZES:
        print("{} MB: save_run {:.2f} x by hand, resume {:.2f} x".format(size, *ratios(size, 5 if size > 10 else 30)))
