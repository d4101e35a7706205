"""A KeyboardInterrupt at each line of the packages that a fit runs: afterwards the learner is clean and works.

python tests/campaigns/interrupts.py            # every line, in every setup
python tests/campaigns/interrupts.py 10 3       # each tenth line, from the third on
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import torch
from loguru import logger
from torch import nn
from treadle import Callback, Learner, Read, ThreadedRunner, TrainingPhase, ValidationPhase, Write
from treadle_amp import MixedPrecision
from treadle_checkpoint import Checkpointer, checkpoints
from treadle_metrics import Metric, Metrics
from treadle_optim import Accumulate
from treadle_schedule import LearningRate, Scheduler

ROOT = Path(__file__).parents[2]

Line = tuple[str, int]


class Watch(Callback):
    """Counts the begins and ends of fits, and validates inside of a step."""

    state_access = {"loop": Write, "cbstate.watch": Write}

    def __init__(self) -> None:
        self.begins = self.ends = 0

    def on_fit_begin(self) -> None:
        self.begins += 1

    def on_fit_end(self) -> None:
        self.ends += 1

    def on_step_end(self, learner: Any, phase: TrainingPhase) -> None:
        if learner.progress.step == 2:
            learner.loop.epoch(ValidationPhase())


class Reader(Callback):
    """Something that runs beside others in threads."""

    state_access = {"step.loss": Read, "cbstate.seen": Write}

    def on_step_end(self, learner: Any) -> None:
        learner.cbstate.seen = learner.step.loss.detach()


class Other(Callback):
    state_access = {"step.loss": Read}

    def on_step_end(self, learner: Any) -> None:
        self.seen = learner.step.loss.detach()


@dataclass
class Setup:
    """How a learner of the campaign is made, in a folder of its own."""

    name: str
    callbacks: Callable[[Path], list[Callback]]
    options: dict[str, Any] = field(default_factory=lambda: {"use_default_callbacks": False})
    length: dict[str, int] = field(default_factory=lambda: {"n": 2})

    def learner(self, folder: Path) -> tuple[Learner, Watch]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Dropout(0.2), nn.Linear(3, 1))
        model[1].eval()  # a mode that is to be kept
        batch = (torch.rand(4, 2), torch.rand(4, 1))
        watch = Watch()
        options = {name: value() if callable(value) else value for name, value in self.options.items()}
        learner = Learner(
            model,
            nn.functional.mse_loss,
            data=([batch] * 3, [batch] * 2),
            optimizer=torch.optim.SGD(model.parameters(), lr=0.01),
            callbacks=[watch, *self.callbacks(folder)],
            **options,
        )
        return learner, watch


logger.disable("treadle_amp")  # which says at each end of a fit how many updates it has skipped


def in_float16() -> list[Callback]:
    """A scaler of which every few updates overflow, and gradients of two batches."""
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**20, growth_interval=1)
    return [MixedPrecision("fp16", scaler=scaler), Accumulate(2)]


SETUPS = [
    Setup("bare", lambda folder: []),
    Setup("float16", lambda folder: in_float16()),
    Setup(
        "defaults", lambda folder: [Metrics(Metric(nn.functional.l1_loss, name="L1"))], {"use_default_callbacks": True}
    ),
    Setup("checkpoints", lambda folder: [Checkpointer(folder / "run", every_epochs=1, every_steps=2, keep_top_k=2)]),
    Setup("steps", lambda folder: [], length={"steps": 5, "validate_every": 2}),
    Setup(
        "threads",
        lambda folder: [Reader(), Other(), Scheduler({LearningRate: lambda t: 0.01 / t})],
        {"use_default_callbacks": True, "runner": ThreadedRunner},
    ),
]


class Tracer:
    """Raises KeyboardInterrupt at the first or the last time that a line is about to run; or notes all lines.

    Args:
        at: The line, and the number of its visit; None to note.
    """

    def __init__(self, at: tuple[Line, int] | None = None) -> None:
        self.at, self.visits, self.raised_in = at, {}, None  # type: ignore[var-annotated]
        self._wanted: dict[CodeType, bool] = {}

    def __call__(self, frame: FrameType, event: str, arg: Any) -> Any:
        code = frame.f_code
        wanted = self._wanted.get(code)
        if wanted is None:
            path = code.co_filename
            wanted = self._wanted[code] = "/src/treadle" in path and "/testing/" not in path
        if not wanted:
            return None
        if event == "line":
            line = (code.co_filename, frame.f_lineno)
            visit = self.visits[line] = self.visits.get(line, 0) + 1
            if self.at is not None and self.raised_in is None and self.at == (line, visit):
                self.raised_in = [*names_of(frame)]
                raise KeyboardInterrupt
        return self


def names_of(frame: FrameType | None) -> Iterator[str]:
    """The names of the functions that are being called, the innermost first."""
    while frame is not None:
        yield frame.f_code.co_name
        frame = frame.f_back


def fit(learner: Learner, tracer: Tracer, length: dict[str, int]) -> str:
    """Fit under a tracer; returns how it ended."""
    with contextlib.redirect_stdout(io.StringIO()):
        sys.settrace(tracer)
        try:
            learner.fit(**length)
        except KeyboardInterrupt:
            return "interrupted"
        finally:
            sys.settrace(None)
    return "done"


def lines_of(setup: Setup) -> list[tuple[Line, int]]:
    """Every line that a fit runs, with the numbers of its first and its last visit."""
    with tempfile.TemporaryDirectory() as folder:
        learner, _ = setup.learner(Path(folder))
        tracer = Tracer()
        assert fit(learner, tracer, setup.length) == "done"
    return [(line, n) for line, visits in sorted(tracer.visits.items()) for n in sorted({1, visits})]


def interrupt(setup: Setup, at: tuple[Line, int]) -> list[str]:
    """Interrupt a fit at a line; returns what is wrong afterwards."""
    (path, number), visit = at
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        learner, watch = setup.learner(folder)
        data, modes = learner.data, [module.training for module in learner.model.modules()]
        tracer = Tracer(at)
        how = fit(learner, tracer, setup.length)
        wrong = []
        if tracer.raised_in is None:
            return []  # this visit did not come about, as a thread ran elsewhere
        position, progress = learner.position, learner.progress
        if position.scopes or progress.phase is not None or position.length is not None or position.stepping:
            wrong.append(f"left under way: {progress}, {len(position.scopes)} scopes")
        if position.own is not None or position.partial:
            wrong.append(f"left of a fit by steps: {position.own}, {position.partial}")
        if learner.data is not data:
            wrong.append("the data are others")
        if [module.training for module in learner.model.modules()] != modes:
            wrong.append("the modes are others")
        if not torch.is_grad_enabled():
            wrong.append("gradients are off")
            torch.set_grad_enabled(True)
        inside_of_the_events = not {"dispatch_begin", "dispatch_alone"}.isdisjoint(tracer.raised_in)
        if watch.ends != watch.begins and not inside_of_the_events:
            wrong.append(f"on_fit_begin ran {watch.begins} times and on_fit_end {watch.ends} times")
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                result = learner.fit(2)
        except Exception as error:
            wrong.append(f"the next fit raised {error!r}")
        else:
            if (result.epochs, result.cancelled) != (2, None) or progress.phase is not None:
                wrong.append(f"the next fit gave {result}")
            saved = [c.epoch for c in checkpoints(folder / "run")] if setup.name == "checkpoints" else []
            if setup.name == "checkpoints" and (not saved or saved[-1] != progress.epoch):
                wrong.append(f"the next fit, up to epoch {progress.epoch}, saved the epochs {saved}")
        place = f"{Path(path).relative_to(ROOT)}:{number}, visit {visit}, {setup.name}, {how}"
        return [f"{place}: {what}" for what in wrong]


def campaign(step: int = 1, first: int = 0) -> tuple[int, list[str]]:
    """Interrupt at every `step`-th line from the `first` on, in every setup; the number, and what was wrong."""
    torch.set_num_threads(1)
    places = [(setup, at) for setup in SETUPS for at in lines_of(setup)]
    chosen = places[first::step]
    return len(chosen), [wrong for setup, at in chosen for wrong in interrupt(setup, at)]


if __name__ == "__main__":
    count, problems = campaign(*map(int, sys.argv[1:]))
    print("\n".join(problems))
    print(f"{count} interrupts, {len(problems)} problems")
    sys.exit(bool(problems))
