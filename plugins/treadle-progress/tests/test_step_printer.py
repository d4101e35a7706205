import io

import pytest
import torch
from treadle import AbstractTrainingPhase, CallbackConflictError, epoch, run_step, toy_learner
from treadle_metrics import Metric, Metrics, Recorder
from treadle_progress import ProgressPrinter, StepPrinter


class Scripted(AbstractTrainingPhase):
    """Its batches are the losses of its steps; None is a step without a loss."""

    data_name = "training"

    def step(self, learner, batch):
        with run_step(learner, self) as (_, state):
            if batch is not None:
                state.loss = batch if isinstance(batch, torch.Tensor) else torch.tensor(batch)


class Other(Scripted):
    pass


def learner_with(freq, *others, metrics=None):
    file = io.StringIO()
    return toy_learner(Recorder(), metrics or Metrics(), StepPrinter(freq, file=file), *others, nbatches=4), file


def test_the_metrics_of_every_nth_training_step_are_a_line():
    learner, file = learner_with(2)
    epoch(learner, Scripted(), [1.0, 0.5, 0.25])
    epoch(learner, Scripted(), [0.125])
    assert file.getvalue() == "epoch 1, step 2, Scripted: Loss 0.5000\nepoch 2, step 4, Scripted: Loss 0.1250\n"


def test_steps_of_all_training_phases_count_and_those_of_validation_do_not():
    learner, file = learner_with(3)
    epoch(learner, Scripted(), [1.0, 2.0])
    epoch(learner, Other(), [3.0])
    learner.fit(1)
    lines = file.getvalue().splitlines()
    assert [line.partition(":")[0] for line in lines] == ["epoch 2, step 3, Other", "epoch 3, step 6, TrainingPhase"]


def test_all_metrics_of_the_step_are_on_it_in_their_order_and_no_older_value():
    seldom = iter([0.5, None])
    learner, file = learner_with(1, metrics=Metrics(Metric(lambda yhats, ys: 7.0, name="Seven")))
    learner.fit(1, ([learner.data.training[0]],))
    epoch(learner, Scripted(), [next(seldom), next(seldom)])
    assert file.getvalue().splitlines()[0].endswith(", Seven 7.0000")
    assert file.getvalue().splitlines()[1:] == [
        "epoch 2, step 2, Scripted: Loss 0.5000",
        "epoch 2, step 3, Scripted: -",
    ]


def test_it_prints_to_standard_output_and_goes_on_counting_in_the_next_fit(capsys):
    learner = toy_learner(Recorder(), Metrics(), StepPrinter(6), nbatches=4)
    learner.fit(1)
    learner.fit(2)
    heads = [line.partition(",")[2][:9] for line in capsys.readouterr().out.splitlines()]
    assert heads == [" step 6, ", " step 12,"]


def test_progress_bars_make_room(terminal):
    bar = ProgressPrinter(file=terminal, mininterval=0)
    learner = toy_learner(Recorder(), Metrics(), StepPrinter(2, file=terminal), bar, nbatches=4)
    epoch(learner, Scripted(), [1.0, 2.0, 3.0])
    assert [line for line in terminal.screen if line] == ["epoch 1, step 2, Scripted: Loss 2.0000"]


class Far(torch.Tensor):
    """A tensor that seems to be on an accelerator, and counts how often its number is taken."""

    is_cpu = property(lambda self: False)
    taken = 0

    def tolist(self):
        Far.taken += 1
        return super().tolist()


def test_only_a_step_that_is_printed_takes_numbers_from_a_device():
    learner, file = learner_with(4)
    Far.taken = 0
    losses = [torch.tensor(float(i)).as_subclass(Far) for i in range(7)]
    epoch(learner, Scripted(), losses[:3])
    assert (Far.taken, file.getvalue()) == (0, "")
    epoch(learner, Scripted(), losses[3:4])
    assert (Far.taken > 0, file.getvalue()) == (True, "epoch 2, step 4, Scripted: Loss 3.0000\n")


def test_it_needs_metrics():
    with pytest.raises(
        CallbackConflictError, match=r"StepPrinter reads `cbstate\.metricsstep`, and no callback writes"
    ):
        toy_learner(StepPrinter())
