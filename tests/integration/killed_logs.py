"""Train in processes that are killed and resumed, and print what the logs of all runs hold.

    python killed_logs.py FOLDER

Each run is a list of the numbers of training steps after which its processes are killed; None is one that ends by
itself, as the last one does.
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from treadle import AbstractTrainingPhase, Callback, TrainingPhase, toy_learner
from treadle_checkpoint import Checkpointer, NoCheckpointError, resume
from treadle_logging import CSVBackend, LogHistograms, LogHyperParams, LogMetrics, LogTraces, Text, log_to
from treadle_metrics import Metrics, Recorder, Traces
from treadle_schedule import Exp, LearningRate, Scheduler
from treadle_tensorboard import TensorBoardBackend

RUNS = {
    "in an epoch": [11],
    "right after a checkpoint": [9],
    "twice, the second time before another checkpoint": [10, 11],
    "started again when it had finished": [None],
    "over and over, last in the last step": [7, 17, 32],
}


class Kill(Callback):
    """Kill the process after a training step; the logs have been flushed since the checkpoint, as by a clock."""

    optional_state = True
    run_after = (LogMetrics, LogHyperParams, LogHistograms, LogTraces)

    def __init__(self, step, backends):
        self.step, self.backends = step, backends

    def on_fit_begin(self, learner):
        for backend in self.backends:
            log_to(backend, Text(f"a fit from step {learner.progress.steps}"), "Note", learner.progress.steps)

    def on_step_end(self, learner, phase: AbstractTrainingPhase):
        if learner.progress.steps == self.step:
            for logger in learner_loggers:
                logger.flush()
            os.kill(os.getpid(), signal.SIGKILL)


learner_loggers = []


def train(folder, kill):
    csv, tensorboard = CSVBackend(folder / "log.csv", append=True), TensorBoardBackend(folder / "events")
    metrics, steps = LogMetrics(csv, tensorboard), LogHistograms(tensorboard, freq=5)
    rates = LogHyperParams(tensorboard, csv)
    traces = LogTraces(csv, seconds=0)
    learner_loggers[:] = metrics, steps, rates, traces
    learner = toy_learner(
        Recorder(),
        Metrics(),
        Scheduler({LearningRate: Exp(start=0.001, decay=0.99)}),
        Traces({"Twice": lambda learner: 2 * learner.step.loss.detach()}, phase=TrainingPhase),
        *learner_loggers,
        Checkpointer(folder / "checkpoints", every_steps=3, every_epochs=1),
        Kill(kill, [csv, tensorboard]),
        nbatches=8,
    )
    try:
        resume(learner, folder / "checkpoints")
    except NoCheckpointError:
        pass
    learner.fit(4)


def run(folder, kills):
    """Train in one process after another."""
    for kill in [*kills, None]:
        child = os.fork()
        if child == 0:
            try:
                train(folder, kill)
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert status == (0 if kill is None else signal.SIGKILL), (kill, status)


def points(folder):
    """All points of the event files, by tag."""
    events = EventAccumulator(
        str(folder), size_guidance=dict.fromkeys(("scalars", "histograms", "tensors"), 0)
    ).Reload()
    found = {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    for tag in events.Tags()["histograms"]:
        found[tag] = [(event.step, event.histogram_value.sum) for event in events.Histograms(tag)]
    for tag in events.Tags()["tensors"]:
        found[tag] = [(event.step, str(event.tensor_proto.string_val[0])) for event in events.Tensors(tag)]
    return {tag: sorted(values) for tag, values in sorted(found.items())}


if __name__ == "__main__":
    torch.set_num_threads(1)
    found = {}
    for name, kills in {"never": [], **RUNS}.items():
        folder = Path(sys.argv[1]) / name
        run(folder, kills)
        found[name] = {"csv": (folder / "log.csv").read_text(), "points": points(folder / "events")}
    print(json.dumps(found))
