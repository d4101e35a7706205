"""A program that saves checkpoints and is killed while it does; `test_killed.py` runs it.

It forks a child for each attempt, which costs far less than to start Python and torch each time.
"""

from __future__ import annotations

import os
import random
import select
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from treadle import Callback, Learner
from treadle_checkpoint import Checkpointer, checkpoints, resume
from treadle_checkpoint.folder import numbered
from treadle_checkpoint.run_files import read

#: What of Python changes something on the disk.
CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree")


class Tell(Callback):
    """Tells how many steps were saved, once they are."""

    run_after = ("no such callback",)

    def __init__(self, pipe: int) -> None:
        self.pipe, self.steps = pipe, 0

    def on_step_begin(self) -> None:  # the step before this one was saved, if there was one
        os.write(self.pipe, b"%d\n" % self.steps)
        self.steps += 1

    def state_dict(self) -> dict[str, int]:
        return {"steps": self.steps}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.steps = state["steps"]


def learner(folder: Path, pipe: int) -> Learner:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(20, 20), nn.Dropout(), nn.Linear(20, 1))
    batches = [(torch.full((4, 20), float(i)), torch.ones(4, 1)) for i in range(4)]
    callbacks = [Tell(pipe), Checkpointer(folder, every_steps=1, every_epochs=1, keep_top_k=1)]
    return Learner(model, nn.functional.mse_loss, data=(batches,), callbacks=callbacks, use_default_callbacks=False)


def child(folder: Path, pipe: int, kill_at: int | None) -> None:
    """Train, from where the folder says, and be killed right before the change of that number."""
    count = 0

    def count_changes(event: str, args: tuple[object, ...]) -> None:
        nonlocal count
        if event in CHANGES or (event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)):
            count += 1
            if count == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    trained = learner(folder, pipe)
    sys.addaudithook(count_changes)
    if checkpoints(folder):
        resume(trained, folder)
    trained.fit(2)
    torch.save(trained.model.state_dict(), folder.parent / "trained")
    os._exit(0)


def attempt(folder: Path, kill_at: int | None = None, kill_after: float | None = None) -> bool:
    """Run a child; whether it came to its end. Whatever became of it, its newest checkpoint is whole."""
    reading, writing = os.pipe()
    if (process := os.fork()) == 0:
        try:
            child(folder, writing, kill_at)
        except BaseException:
            traceback.print_exc()
            os._exit(3)
    os.close(writing)
    if kill_after is not None:
        if not select.select([reading], [], [], 10)[0]:
            raise AssertionError("The child does not train.")
        select.select([], [], [], kill_after)
        os.kill(process, signal.SIGKILL)
    with os.fdopen(reading, "rb") as pipe:
        numbers = pipe.read().split()
    status = os.waitpid(process, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, f"The child failed: {status}"
    saved = max(map(int, numbers), default=0)
    entries = numbered(folder)
    for _, path in entries:
        read(path)  # verifies
    if saved:
        assert max(one.steps for one in checkpoints(folder)) >= saved, f"{saved} steps were saved; there is {entries}"
    return not os.WIFSIGNALED(status)


def at_every_change(folder: Path) -> int:
    """Be killed at the first change of something on the disk, at the second, and so on, until one run is whole."""
    kill_at = 1
    while not attempt(folder / str(kill_at) / "run", kill_at=kill_at):
        kill_at += 1
    return kill_at - 1


def again_and_again(folder: Path, kill: Callable[[], dict[str, float | int]], least: int) -> int:
    """Be killed, resume, be killed ... until that happened so often; each run ends as if it had never been killed."""
    attempt(folder / "whole" / "run")
    expected = (folder / "whole" / "trained").read_bytes()
    kills = runs = 0
    while kills < least:
        runs += 1
        while not attempt(folder / f"{runs}" / "run", **kill()):
            kills += 1
        assert (folder / f"{runs}" / "trained").read_bytes() == expected
        left = [path.name for path in (folder / f"{runs}" / "run").iterdir() if path.name.startswith(".")]
        assert left == [], f"Remainders: {left}"
    return kills


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    random.seed(0)
    learner(folder / "warm" / "run", os.open(os.devnull, os.O_WRONLY)).fit(
        1
    )  # what is loaded now, no child has to load
    print("killed at every change:", at_every_change(folder / "every"))
    by_number = lambda: {"kill_at": random.randint(1, 80)}  # noqa: E731
    print("killed at a random change:", again_and_again(folder / "change", by_number, least=40))
    by_time = lambda: {"kill_after": random.uniform(0, 0.06)}  # noqa: E731
    print("killed at a random moment:", again_and_again(folder / "moment", by_time, least=100))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
