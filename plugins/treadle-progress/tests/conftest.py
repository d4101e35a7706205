"""A terminal to look at, and phases whose losses are scripted."""

import io
import re

import pytest
import torch
from treadle import Phase, run_step


class Terminal(io.StringIO):
    """What is written to it, as a terminal shows it."""

    def isatty(self):
        return True

    @property
    def screen(self):
        """The lines that can be seen, following the cursor back to the start of a line and up."""
        lines, row, column = [""], 0, 0
        for part in re.findall(r"\r|\n|\x1b\[A|[^\r\n\x1b]+", self.getvalue()):
            if part == "\r":
                column = 0
            elif part == "\n":
                row, column = row + 1, 0
                lines += [""] * (row + 1 - len(lines))
            elif part == "\x1b[A":
                row -= 1
            else:
                line = lines[row].ljust(column)
                lines[row] = line[:column] + part + line[column + len(part) :]
                column += len(part)
        return [line.rstrip() for line in lines]

    @property
    def frames(self):
        """What was drawn, one after the other."""
        frames = re.split(r"[\r\n]|\x1b\[A", self.getvalue())
        return [frame.strip() for frame in frames if frame.strip()]


class Scripted(Phase):
    """Its batches are the losses of its steps; None is a step without a loss."""

    def step(self, learner, batch):
        with run_step(learner, self) as (_, state):
            if batch is not None:
                state.loss = batch if isinstance(batch, torch.Tensor) else torch.tensor(batch)


@pytest.fixture
def terminal():
    return Terminal()


@pytest.fixture
def scripted():
    return Scripted()


@pytest.fixture
def clock(monkeypatch):
    """A clock that advances by one second each time it is read."""
    times = iter(range(10**6))
    monkeypatch.setattr("treadle_progress.progress_printer.monotonic", lambda: next(times))
