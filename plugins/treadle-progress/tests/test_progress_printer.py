import io
import itertools
import re
import sys

import pytest
import torch
import tqdm
from treadle import (
    Callback,
    CancelEpochException,
    CancelFittingException,
    CancelStepException,
    CustomCallback,
    Read,
    StepBegin,
    TrainingPhase,
    ValidationPhase,
    Write,
    accesses,
    epoch,
    toy_learner,
)
from treadle.errors import ArgumentTypeError, ArgumentValueError
from treadle_progress import ProgressPrinter
from treadle_progress.progress_printer import Bar


def learner_with(file, *others, nbatches=4, **arguments):
    return toy_learner(ProgressPrinter(file=file, mininterval=0, **arguments), *others, nbatches=nbatches)


def counts(terminal):
    """How far the bar of each epoch was drawn: the title and the counts."""
    drawn = {}
    for frame in terminal.frames:
        title, rest = frame.split(":", 1)
        count = re.search(r"(\d+)(/\d+| ?step)", rest)
        drawn.setdefault(title, []).append(count[0].replace("step", "").strip())
    return {title: list(dict.fromkeys(counts)) for title, counts in drawn.items()}


def raising(exception, at=3):
    seen = []

    def cancel(learner):
        seen.append(None)
        if len(seen) == at:
            raise exception

    return CustomCallback(cancel, StepBegin, TrainingPhase)


def open_bars():
    return list(tqdm.tqdm._instances)


def test_each_epoch_has_a_bar_with_its_number_and_phase(terminal):
    learner_with(terminal, nbatches=2).fit(2)
    assert counts(terminal) == {
        "Epoch 1 TrainingPhase": ["0/2", "1/2", "2/2"],
        "Epoch 1 ValidationPhase": ["0/2", "1/2", "2/2"],
        "Epoch 2 TrainingPhase": ["0/2", "1/2", "2/2"],
        "Epoch 2 ValidationPhase": ["0/2", "1/2", "2/2"],
    }


def test_nothing_is_left_of_the_bars(terminal):
    learner_with(terminal).fit(2)
    assert terminal.screen == [""]
    assert open_bars() == []


def test_bars_stay_when_asked_to(terminal):
    learner_with(terminal, leave=True).fit(1)
    assert [line.split("|")[0] for line in terminal.screen if line] == [
        "Epoch 1 TrainingPhase: 100%",
        "Epoch 1 ValidationPhase: 100%",
    ]


def test_data_passed_to_fit_show_their_length(terminal):
    learner = learner_with(terminal, nbatches=4)
    learner.fit(1, (learner.data.training[:3],))
    assert counts(terminal) == {"Epoch 1 TrainingPhase": ["0/3", "1/3", "2/3", "3/3"]}


def test_data_passed_to_epoch_show_their_length(terminal):
    learner = learner_with(terminal, nbatches=4)
    epoch(learner, ValidationPhase(), learner.data.training[:1])
    assert counts(terminal) == {"Epoch 1 ValidationPhase": ["0/1", "1/1"]}


def test_endless_data_have_a_bar_without_an_end(terminal):
    learner = learner_with(terminal, raising(CancelEpochException()))
    learner.fit(1, (itertools.cycle(learner.data.training),))
    assert counts(terminal) == {"Epoch 1 TrainingPhase": ["0", "1", "2"]}


def test_a_loader_that_has_a_length_only_by_name_has_a_bar_without_an_end(terminal):
    class Endless(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter([(torch.ones(1), torch.ones(1))] * 2)

    learner_with(terminal).fit(1, (torch.utils.data.DataLoader(Endless()),))
    assert counts(terminal) == {"Epoch 1 TrainingPhase": ["0", "1", "2"]}


def test_a_phase_without_data_of_the_learner_has_a_bar_without_an_end(terminal, scripted):
    epoch(learner_with(terminal), scripted, [1.0, 2.0])
    assert counts(terminal) == {"Epoch 1 Scripted": ["0", "1", "2"]}


@pytest.mark.parametrize("stop", [CancelEpochException(), CancelFittingException(), KeyboardInterrupt()])
def test_the_bar_is_removed_however_the_epoch_ends(terminal, stop):
    learner = learner_with(terminal, raising(stop))
    try:
        learner.fit(1)
    except KeyboardInterrupt:
        pass
    assert counts(terminal)["Epoch 1 TrainingPhase"] == ["0/4", "1/4", "2/4"]
    assert terminal.screen == [""]
    assert open_bars() == []


def test_an_epoch_that_was_cancelled_counts_and_one_in_which_the_fit_was_does_not(terminal):
    learner = learner_with(terminal, raising(CancelEpochException()))
    learner.fit(1)
    learner.fit(1)
    assert list(counts(terminal))[-2:] == ["Epoch 2 TrainingPhase", "Epoch 2 ValidationPhase"]
    learner = learner_with(terminal := type(terminal)(), raising(CancelFittingException()))
    learner.fit(1)
    learner.fit(1)
    assert list(counts(terminal)) == ["Epoch 1 TrainingPhase", "Epoch 1 ValidationPhase"]


def test_the_bar_of_an_epoch_that_failed_outside_of_a_fit_is_removed_by_the_next(terminal):
    learner = learner_with(terminal, raising(RuntimeError("broken")))
    with pytest.raises(RuntimeError):
        epoch(learner, TrainingPhase())
    assert len(open_bars()) == 1
    epoch(learner, TrainingPhase())
    assert open_bars() == []


def test_an_epoch_inside_of_another_has_its_own_bar(terminal, scripted):
    class Outer(type(scripted)):
        def step(self, learner, batch):
            super().step(learner, batch)
            epoch(learner, scripted, [1.0])

    learner = learner_with(terminal)
    epoch(learner, Outer(), [1.0, 2.0])
    assert counts(terminal)["Epoch 1 Outer"] == ["0", "1", "2"]
    assert {"Epoch 1 Scripted", "Epoch 2 Scripted"} < set(counts(terminal))
    assert open_bars() == []


def test_the_loss_is_shown(terminal, scripted):
    epoch(learner_with(terminal), scripted, [0.5, 0.25, None])
    assert [frame.rsplit(", ", 1)[1] for frame in terminal.frames[1:]] == [
        "loss 0.5]",
        "loss 0.25]",
        "loss 0.25]",
    ]


def test_the_loss_is_not_shown_when_it_is_not_wanted(terminal, scripted):
    learner = learner_with(terminal, loss=False)
    epoch(learner, scripted, [0.5])
    assert "loss" not in terminal.getvalue()
    assert accesses(learner.callbacks[0], Read) == {"data"}


def test_the_clock_says_when_the_bar_is_refreshed(terminal, scripted, clock):
    learner = toy_learner(ProgressPrinter(file=terminal, mininterval=3))
    epoch(learner, scripted, [1.0] * 10)
    assert counts(terminal) == {"Epoch 1 Scripted": ["0", "3", "6", "9"]}


def test_a_bar_that_stays_shows_where_the_epoch_ended(terminal, scripted, clock):
    learner = toy_learner(ProgressPrinter(file=terminal, mininterval=3, leave=True))
    epoch(learner, scripted, [1.0] * 10)
    assert counts(terminal) == {"Epoch 1 Scripted": ["0", "3", "6", "9", "10"]}


def test_the_number_of_the_epoch_goes_on_after_a_resumption(terminal):
    first = learner_with(terminal)
    first.fit(2)
    second = learner_with(terminal := type(terminal)())
    second.callbacks[0].load_state_dict(first.callbacks[0].state_dict())
    second.fit(1)
    assert list(counts(terminal)) == ["Epoch 3 TrainingPhase", "Epoch 3 ValidationPhase"]


def test_the_bar_of_an_epoch_that_is_resumed_in_its_middle_shows_all_of_it(terminal):
    class AfterTwo:
        """See `treadle.loop.position.Resumption`."""

        def rest(self, phase, data):
            learner.position.resumption, learner.position.skipped, learner.progress.step = None, 2, 2
            return iter(data[2:])

    learner = learner_with(terminal, nbatches=4)
    learner.position.resumption = AfterTwo()
    epoch(learner, TrainingPhase())
    assert counts(terminal) == {"Epoch 1 TrainingPhase": ["0/4", "3/4", "4/4"]}


def test_a_cancelled_step_takes_its_place_in_the_bar(terminal):
    learner_with(terminal, raising(CancelStepException())).fit(1)
    assert counts(terminal)["Epoch 1 TrainingPhase"] == ["0/4", "1/4", "2/4", "4/4"]


@pytest.mark.parametrize(
    ("stream", "show", "shown"),
    [
        ("terminal", None, True),
        ("terminal", False, False),
        ("log", None, False),
        ("log", True, True),
    ],
)
def test_a_standard_stream_shows_the_bar_if_it_is_a_terminal_unless_show_is_set(
    monkeypatch, terminal, stream, show, shown
):
    output = terminal if stream == "terminal" else io.StringIO()
    monkeypatch.setattr(sys, "stderr", output)
    toy_learner(ProgressPrinter(show=show)).fit(1)
    assert bool(output.getvalue()) is shown


def test_a_standard_stream_as_the_file_shows_no_more_than_without(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    toy_learner(ProgressPrinter(file=sys.stdout)).fit(1)
    assert sys.stdout.getvalue() == ""


def test_a_file_is_written_to():
    file = io.StringIO()
    toy_learner(ProgressPrinter(file=file)).fit(1)
    assert "Epoch 1 TrainingPhase" in file.getvalue()


def test_no_thread_is_started(terminal, monkeypatch):
    started = []
    monkeypatch.setattr("tqdm._monitor.TMonitor.start", lambda self: started.append(self))
    learner_with(terminal).fit(1)
    assert started == []


def test_a_file_that_cannot_be_written_to_is_refused():
    with pytest.raises(ArgumentTypeError, match=r"got 'bar.txt'\.\nFix: .*\n    ProgressPrinter\(file=sys.stdout\)"):
        ProgressPrinter(file="bar.txt")


@pytest.mark.parametrize("mininterval", ["1", None, True])
def test_an_interval_that_is_not_a_number_is_refused(mininterval):
    with pytest.raises(
        ArgumentTypeError,
        match=r"mininterval must be a number of at least 0, got .*\.\nFix: .*\n    .*mininterval=0\.1",
    ):
        ProgressPrinter(mininterval=mininterval)


@pytest.mark.parametrize("mininterval", [-1, float("nan")])
def test_a_negative_interval_is_refused(mininterval):
    with pytest.raises(
        ArgumentValueError,
        match=r"mininterval must be a number of at least 0, got .*\.\nFix: .*\n    .*mininterval=0\.1",
    ):
        ProgressPrinter(mininterval=mininterval)


@pytest.fixture
def device(monkeypatch):
    """A device of whose `copies` to the host the first `ended` have arrived."""

    class Device:
        copies: list[float] = []
        ended = 0

    class Event:
        def __init__(self, device):
            assert device == torch.device("xpu", 0)
            self.copy = len(Device.copies)

        def record(self): ...

        def query(self):
            return self.copy <= Device.ended

        def synchronize(self):
            assert self.query(), "the device was waited for"

    class Number(torch.Tensor):
        is_cpu = False
        device = torch.device("xpu", 0)

        def detach(self):
            return self

        def to(self, target, non_blocking):
            assert (target, non_blocking) == ("cpu", True)
            value = self.as_subclass(torch.Tensor).clone()
            Device.copies.append(value.item())
            return value

    Device.copies = []
    Device.number = staticmethod(lambda value: torch.tensor(value).as_subclass(Number))
    monkeypatch.setattr(torch, "Event", Event)
    return Device


@pytest.fixture
def bar(terminal):
    bar = Bar("Epoch", [], 0, disable=False, file=terminal, leave=False)
    yield bar
    bar.close()


def shown_loss(terminal):
    return re.findall(r"loss ([\d.]+)", terminal.frames[-1])


def test_a_loss_on_a_device_is_shown_when_its_copy_has_ended(bar, terminal, device):
    bar.show(device.number(1.0))
    bar.steps = 1
    bar.show(device.number(2.0))
    assert shown_loss(terminal) == []
    device.ended = 1
    bar.steps = 2
    bar.show(device.number(3.0))
    assert shown_loss(terminal) == ["1"]


def test_while_the_copy_of_a_loss_is_under_way_no_other_is_started(bar, device):
    for value in (1.0, 2.0, 3.0):
        bar.show(device.number(value))
    device.ended = 1
    bar.show(device.number(4.0))
    assert device.copies == [1.0, 4.0]


def test_a_loss_on_a_device_without_events_is_not_shown(bar, terminal):
    for steps in (1, 2):
        bar.steps = steps
        bar.show(torch.empty((), device="meta"))
    assert shown_loss(terminal) == []


class Within(Callback):
    """Run something inside of every second training step, but not inside of itself."""

    state_access = {"loop": Write, "step": Read}

    def __init__(self, name, run):
        self.name, self.run, self.running = name, run, False

    def on_step_end(self, learner, phase: TrainingPhase):
        if learner.progress.step % 2 == 0 and not self.running:
            self.running = True
            self.run(learner)
            self.running = False


def one_batch(learner):
    return [(learner.step.xs, learner.step.ys)]


@pytest.mark.parametrize("name", ["A", "Z"])  # before the printer in the order, and after it
@pytest.mark.parametrize(
    "run",
    [
        lambda learner: learner.loop.epoch(ValidationPhase(), one_batch(learner)),
        lambda learner: learner.loop.epoch(TrainingPhase(), one_batch(learner)),
        lambda learner: learner.loop.step(TrainingPhase(), one_batch(learner)[0]),
        lambda learner: learner.loop.step(ValidationPhase(), one_batch(learner)[0]),
    ],
    ids=["a validation", "an epoch of an equal phase", "a step of an equal phase", "a step of another phase"],
)
def test_the_bar_goes_on_when_something_ran_inside_of_a_step(terminal, name, run):
    learner = learner_with(terminal, Within(name, run), nbatches=6, leave=True)
    learner.fit(1, (learner.data.training,))
    outermost = [frame for frame in terminal.frames if re.search(r"TrainingPhase: .*/6 ", frame)]
    counts = [int(re.search(r"(\d)/6", frame)[1]) for frame in outermost]
    assert counts == sorted(counts)
    assert set(counts) == set(range(7))
    assert "6/6" in next(line for line in terminal.screen if "TrainingPhase: 100%" in line and "/6" in line)
    assert open_bars() == []


class Endless:
    """Batches without an end."""

    def __iter__(self):
        return itertools.cycle(toy_learner(nbatches=4).data.training)


@pytest.mark.parametrize(("data", "total"), [(None, [4, 2]), (Endless(), [6])])
def test_in_a_fit_by_steps_the_bar_ends_at_the_steps_that_are_left(data, total):
    seen = []

    class Look(ProgressPrinter):
        def on_epoch_begin(self, learner, phase: TrainingPhase):
            super().on_epoch_begin(learner, phase)
            seen.append(self._bars[-1][1].total)

    look = Look(file=io.StringIO(), show=True)
    learner = toy_learner(look, nbatches=4)
    learner.fit(steps=6, data=(learner.data.training if data is None else data,))
    assert seen == total


def test_a_bar_that_an_interrupt_kept_from_being_made_is_closed_without_a_word():
    from treadle_progress.progress_printer import Bar

    Bar.__new__(Bar).close()
