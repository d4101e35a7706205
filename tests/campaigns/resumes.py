"""Every saved point of many runs, resumed in a fresh process: the run is the one that never stopped, bit for bit.

    python tests/campaigns/resumes.py            # every point
    python tests/campaigns/resumes.py 10 3       # each tenth point, from the third on
    python tests/campaigns/resumes.py 1 0 logs   # every point of the setups with this in their names

The runs are made by one interpreter, a process for each, and resumed by another one, with another seed for its hashes,
a process for each point. Such a process is forked from one that has imported the packages and run nothing. What is
compared: weights, buffers, modes, what is frozen, optimizers, the callbacks' states, `cbstate`, the progress, the
random generators, and the log files.
"""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # which torch imports with the first optimizer: once here, and not in every process
from lengths import LENGTHS
from loaders import LOADERS
from setups import SETUPS as OTHERS
from setups import Setup
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from treadle import Learner
from treadle.authoring import capture_run
from treadle_checkpoint import Checkpointer, resume
from updates import UPDATES

SETUPS = [*OTHERS, *UPDATES, *LOADERS, *LENGTHS]

#: What belongs to the callback that saves, which the resumed run is without.
SAVER = Checkpointer.__name__


def content(learner: Learner, folder: Path) -> dict[str, Any]:
    """All that is to be the same, in plain values and tensors."""
    learner.set_callbacks([callback for callback in learner.callbacks if callback.name != SAVER])
    state = capture_run(learner)
    modules = [(name, module) for model in learner.models for name, module in model.named_modules()]
    found = {f"tensor {name}": tensor for name, tensor in state.tensors.items()}
    found |= {f"part {name}": repr(without_positions(part)) for name, part in state.parts.items()}
    for i, model in enumerate(learner.models):
        found |= {f"parameter {i} {name}": parameter.detach() for name, parameter in model.named_parameters()}
        found |= {f"buffer {i} {name}": buffer for name, buffer in model.named_buffers()}
        found[f"frozen {i}"] = [name for name, p in model.named_parameters() if not p.requires_grad]
    found["modes"] = [(name, module.training) for name, module in modules]
    found["progress"] = repr(learner.progress)
    found["next random numbers"] = (random.random(), torch.rand(1).item())
    for path in sorted(folder.rglob("*.csv")):
        found[f"file {path.name}"] = path.read_bytes()
    if any(folder.rglob("events.out.*")):
        found["events"] = points_of(folder / "tensorboard")
    return found


def without_positions(part: Any) -> Any:
    """A part of a state without where the logs end: an event file's name has the time in it."""
    if isinstance(part, dict):
        return {name: without_positions(value) for name, value in part.items() if name != "logs"}
    return [without_positions(value) for value in part] if isinstance(part, list | tuple) else part


def points_of(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What real event files hold: for each tag its points, in the order of their steps."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def differences(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """The names of what is not the same in both."""
    names = sorted(first.keys() | second.keys())
    return [name for name in names if name not in first or name not in second or not same(first[name], second[name])]


def same(first: Any, second: Any) -> bool:
    if isinstance(first, torch.Tensor):
        shapes = (first.dtype, first.shape) == (second.dtype, second.shape)
        return shapes and first.numpy().tobytes() == second.numpy().tobytes()
    return bool(first == second)


def in_a_process(function: Callable[..., Any], *args: Any) -> Any:
    """What a function returns in a process that is forked for it; its traceback, as a text, if it raises."""
    read, write = os.pipe()
    sys.stdout.flush()
    if not (child := os.fork()):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        try:
            result = function(*args)
        except BaseException:
            result = traceback.format_exc()
        with os.fdopen(write, "wb") as pipe:
            pickle.dump(result, pipe)
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        result = pickle.load(pipe)
    os.waitpid(child, 0)
    return result


def run(setup: Setup, folder: Path) -> str | None:
    """The run that never stops, saved after every step and every epoch; what it ends with is written beside it."""
    torch.manual_seed(1)
    random.seed(1)
    saver = Checkpointer(folder / "points", every_steps=1, every_epochs=1, during=setup.during, phase=setup.during)
    learner = setup.learner(folder, [saver])
    setup.train(learner)
    torch.save(content(learner, folder), folder / "whole.pt")
    return None


def resumed(setup: Setup, folder: Path, point: str) -> str | None:
    """What is wrong after going on from a point; None if nothing is."""
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name) / "run"
        shutil.copytree(folder, copy)
        learner = setup.learner(copy, [])
        resume(learner, copy / "points" / point, without=[SAVER])
        setup.train(learner)
        different = differences(torch.load(folder / "whole.pt", weights_only=False), content(learner, copy))
    return f"differs in {', '.join(different)}" if different else None


def points(folder: Path, setup: Setup) -> list[list[str]]:
    """The points of a run, by the name of its setup and of the checkpoint."""
    return [[setup.name, path.name] for path in sorted((folder / setup.name / "points").glob("checkpoint_*"))]


def part(what: str, folder: Path, chosen: list[list[str]]) -> list[str]:
    """One interpreter's part of the campaign; returns what is wrong."""
    torch.set_num_threads(1)
    by_name = {setup.name: setup for setup in SETUPS}
    if what == "run":
        jobs = [(name, (run, by_name[name], folder / name)) for (name,) in chosen]
    else:
        jobs = [(f"{name}, {point}", (resumed, by_name[name], folder / name, point)) for name, point in chosen]
    wrong: list[str] = []
    for name, (function, *args) in jobs:
        (folder / name.partition(",")[0]).mkdir(exist_ok=True)
        problem = in_a_process(function, *args)
        if problem is not None:
            wrong.append(f"{name}: {problem.strip()}")
    return wrong


def campaign(step: int = 1, first: int = 0, name: str = "") -> tuple[int, list[str]]:
    """Make all runs, resume each `step`-th of their points from the `first` on; the number, and what was wrong."""
    setups = [setup for setup in SETUPS if name in setup.name]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        wrong = interpreter("run", folder, [[setup.name] for setup in setups], hashes="1")
        found = [point for setup in setups for point in points(folder, setup)]
        chosen = found[first::step]
        missing = sorted({setup.name for setup in setups} - {point[0] for point in found})
        wrong += [f"{name}: no point was saved" for name in missing]
        wrong += interpreter("resume", folder, chosen, hashes="2")
    return len(chosen), wrong


def interpreter(what: str, folder: Path, chosen: list[list[str]], *, hashes: str) -> list[str]:
    """A part of the campaign in an interpreter of its own."""
    (folder / "chosen.json").write_text(json.dumps(chosen))
    command = [sys.executable, __file__, what, str(folder)]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": hashes})
    wrong: list[str] = json.loads((folder / "wrong.json").read_text())
    return wrong


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in ("run", "resume"):
        place = Path(sys.argv[2])
        wanted = json.loads((place / "chosen.json").read_text())
        (place / "wrong.json").write_text(json.dumps(part(sys.argv[1], place, wanted)))
    else:
        count, wrong = campaign(*map(int, sys.argv[1:3]), *sys.argv[3:])
        print("\n".join(wrong))
        print(f"{len(SETUPS)} setups, {count} points resumed, {len(wrong)} problems")
        sys.exit(bool(wrong))
