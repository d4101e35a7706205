import signal
import subprocess
import sys
import threading

import pytest
from treadle import (
    Callback,
    CustomCallback,
    EpochEnd,
    FitBegin,
    FitEnd,
    Phase,
    StepBegin,
    ThreadedRunner,
    TrainingPhase,
    ValidationPhase,
    run_epoch,
    step,
    toy_learner,
)
from treadle.errors import ArgumentTypeError, ArgumentValueError
from treadle_checkpoint import Checkpointer, checkpoints, resume


def signals_at(event, phase=Phase, number=signal.SIGTERM, when=lambda learner: True):
    """A callback that sends its own process a signal at an event."""
    return CustomCallback(lambda learner: when(learner) and signal.raise_signal(number), event, phase)


def at_step(steps, number=signal.SIGTERM):
    """In the training step that follows after this number of them."""
    return signals_at(StepBegin, TrainingPhase, number, lambda learner: learner.progress.steps == steps)


def resumed_as_if_never_stopped(folder, n=2, **length):
    learner, other = toy_learner(Checkpointer(folder)), toy_learner()
    resume(learner, folder)
    learner.fit(**(length or {"n": n}))
    other.fit(**(length or {"n": n}))
    assert learner.progress.steps == other.progress.steps
    return learner.model.weight.equal(other.model.weight)


@pytest.fixture(autouse=True)
def handler():
    """The handler that there is before a test and after it."""
    before = signal.getsignal(signal.SIGTERM)
    yield before
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("runner", [None, ThreadedRunner()], ids=["in turn", "in threads"])
@pytest.mark.parametrize("steps", [0, 8, 15, 31])
def test_a_signal_saves_at_the_end_of_the_step_under_way_and_ends_the_fit(tmp_path, steps, runner):
    learner = toy_learner(at_step(steps), Checkpointer(tmp_path, every_epochs=9), runner=runner)
    result = learner.fit(2)
    assert (result.steps, str(result.cancelled)) == (steps + 1, "Received SIGTERM.")
    assert isinstance(result.cancelled.callback, Checkpointer)
    assert [one.steps for one in checkpoints(tmp_path)] == [steps + 1]
    assert resumed_as_if_never_stopped(tmp_path)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


@pytest.mark.parametrize(
    ("event", "phase", "steps"),
    [
        (FitBegin, Phase, 1),
        (StepBegin, ValidationPhase, 16),
        (EpochEnd, TrainingPhase, 16),
        (EpochEnd, ValidationPhase, 16),
    ],
)
def test_wherever_it_comes_it_ends_the_fit_at_the_next_place_that_can_be_resumed(tmp_path, event, phase, steps):
    result = toy_learner(signals_at(event, phase), Checkpointer(tmp_path)).fit(2)
    assert (result.steps, str(result.cancelled)) == (steps, "Received SIGTERM.")
    assert checkpoints(tmp_path)[-1].steps == steps
    assert resumed_as_if_never_stopped(tmp_path)


def test_a_signal_that_comes_when_the_fit_is_over_is_named_as_well(tmp_path):
    class AtTheEnd(Callback):  # before the Checkpointer, by its name
        def on_fit_end(self):
            signal.raise_signal(signal.SIGTERM)

    result = toy_learner(AtTheEnd(), Checkpointer(tmp_path)).fit(1)
    assert (result.epochs, str(result.cancelled)) == (1, "Received SIGTERM.")
    again = toy_learner(Checkpointer(tmp_path))
    resume(again, tmp_path)
    assert again.fit(1).steps == 0


def test_in_a_validation_between_two_steps_it_waits_for_the_step_that_follows(tmp_path):
    inside = signals_at(StepBegin, ValidationPhase)
    result = toy_learner(inside, Checkpointer(tmp_path)).fit(steps=20, validate_every=4)
    assert (result.steps, str(result.cancelled)) == (5, "Received SIGTERM.")
    assert resumed_as_if_never_stopped(tmp_path, steps=20, validate_every=4)


class ByItself(TrainingPhase):
    """Goes over its data by itself, so that it cannot be resumed in the middle of an epoch."""

    def epoch(self, learner, data):
        with run_epoch(learner, self):
            for batch in data:
                step(learner, self, batch)


def test_a_phase_that_goes_over_its_data_by_itself_comes_to_the_end_of_its_epoch(tmp_path):
    learner = toy_learner(at_step(3), Checkpointer(tmp_path))
    result = learner.fit(2, phases=[ByItself(), ValidationPhase()])
    assert (result.steps, str(result.cancelled)) == (16, "Received SIGTERM.")


def test_it_is_saved_also_where_no_other_cancel_is_and_by_each_checkpointer(tmp_path):
    folders = [tmp_path / "one", tmp_path / "two"]
    saving = [Checkpointer(folder, save_when_cancelled=False, every_epochs=9) for folder in folders]
    toy_learner(at_step(3), *saving).fit(1)
    assert [len(checkpoints(folder)) for folder in folders] == [1, 1]


def test_a_handler_of_the_user_is_called_when_the_run_was_saved_and_is_in_its_place_again(tmp_path):
    heard = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append((number, len(checkpoints(tmp_path)))))
    try:
        mine = signal.getsignal(signal.SIGTERM)
        result = toy_learner(at_step(3), at_step(3), Checkpointer(tmp_path)).fit(1)
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (heard, str(result.cancelled)) == ([(signal.SIGTERM, 1)], "Received SIGTERM.")


def test_other_signals_are_named_and_those_that_nobody_asked_for_are_left_alone(tmp_path):
    names = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: names.append("SIGTERM"))
    try:
        saving = Checkpointer(tmp_path, save_on_signal=[signal.SIGINT])
        result = toy_learner(at_step(3), at_step(5, signal.SIGINT), saving).fit(1)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (names, str(result.cancelled), result.steps) == (["SIGTERM"], "Received SIGINT.", 6)


def test_a_fit_in_another_thread_listens_for_nothing(tmp_path):
    results = []
    learner = toy_learner(CustomCallback(lambda learner: None, FitEnd), Checkpointer(tmp_path))
    thread = threading.Thread(target=lambda: results.append(learner.fit(1)))
    thread.start()
    thread.join()
    assert results[0].cancelled is None


def test_after_an_interrupt_as_the_fit_begins_a_signal_is_the_processs_own_again(tmp_path):
    class Interrupt(Callback):
        run_after = (Checkpointer,)

        def on_fit_begin(self):
            raise KeyboardInterrupt

        def on_fit_end(self):
            raise KeyboardInterrupt

    heard = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        with pytest.raises(KeyboardInterrupt):
            toy_learner(Interrupt(), Checkpointer(tmp_path)).fit(1)
        signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]


def test_a_handler_that_is_still_there_after_the_fit_passes_the_signal_on(tmp_path):
    class Stale(Callback):
        """Takes the handler for the one that there was before."""

        run_after = (Checkpointer,)

        def on_fit_begin(self):
            self.before = signal.getsignal(signal.SIGTERM)

        def on_fit_end(self):
            signal.signal(signal.SIGTERM, self.before)

    heard = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        toy_learner(Stale(), Checkpointer(tmp_path)).fit(1)
        signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]


@pytest.mark.parametrize("signals", [[0], [signal.SIGKILL], [99999]] if hasattr(signal, "SIGKILL") else [[0]])
def test_what_is_not_a_signal_to_listen_for_is_refused(signals):
    with pytest.raises(ArgumentValueError, match=r"save_on_signal has .+, which is not a signal that a process can"):
        Checkpointer("folder", save_on_signal=signals)


def test_signals_are_a_list_of_numbers():
    with pytest.raises(ArgumentTypeError, match=r"save_on_signal must be a list, got"):
        Checkpointer("folder", save_on_signal="SIGTERM")
    assert Checkpointer("folder", save_on_signal=()).save_on_signal == ()


PROGRAM = """
import sys
from treadle import CustomCallback, StepBegin, TrainingPhase, toy_learner
from treadle_checkpoint import Checkpointer

def wait(learner):
    if learner.progress.steps == 20:
        print("ready", flush=True)
        sys.stdin.readline()

print(toy_learner(Checkpointer(sys.argv[1]), CustomCallback(wait, StepBegin, TrainingPhase)).fit(3), flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="ends a process that is sent SIGTERM")
def test_a_process_that_is_sent_sigterm_saves_and_ends_in_order(tmp_path):
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        printed, _ = process.communicate("go on\n", timeout=60)
    expected = "FitResult(epochs=1, steps=21, cancelled=CancelFittingException('Received SIGTERM.'))\n"
    assert (printed, process.returncode) == (expected, 0)
    assert resumed_as_if_never_stopped(tmp_path, 3)
