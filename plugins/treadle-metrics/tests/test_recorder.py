from treadle import (
    CancelEpochException,
    CancelFittingException,
    CancelStepException,
    CustomCallback,
    StepBegin,
    TrainingPhase,
    ValidationPhase,
    epoch,
    run_epoch,
    step,
    toy_learner,
)
from treadle_metrics import History, Recorder


def cancelling(exception, at):
    """A callback that raises an exception at the beginning of one training step."""
    seen = []

    def cancel(learner):
        seen.append(None)
        if len(seen) == at:
            raise exception

    return CustomCallback(cancel, StepBegin, TrainingPhase)


def history(learner):
    return learner.cbstate.history[TrainingPhase()]


def test_epochs_and_steps_are_counted_for_each_phase():
    learner = toy_learner(Recorder(), nbatches=5)
    learner.fit(3)
    assert learner.cbstate.history == {
        TrainingPhase(): History(epochs=3, steps=15, steps_epoch=5),
        ValidationPhase(): History(epochs=3, steps=15, steps_epoch=5),
    }


def test_the_history_is_there_and_empty_before_training():
    learner = toy_learner(Recorder())
    assert history(learner) == History()
    assert len(learner.cbstate.history) == 0


def test_a_second_fit_counts_on():
    learner = toy_learner(Recorder(), nbatches=4)
    learner.fit(1)
    learner.fit(1)
    assert history(learner) == History(epochs=2, steps=8, steps_epoch=4)


def test_a_cancelled_step_is_not_counted():
    learner = toy_learner(Recorder(), cancelling(CancelStepException(), at=2), nbatches=4)
    learner.fit(1)
    assert history(learner) == History(epochs=1, steps=3, steps_epoch=3)


def test_a_cancelled_epoch_is_counted():
    learner = toy_learner(Recorder(), cancelling(CancelEpochException(), at=3), nbatches=4)
    learner.fit(1)
    assert history(learner) == History(epochs=1, steps=2, steps_epoch=2)


def test_an_epoch_in_which_the_fit_is_cancelled_is_not_counted():
    learner = toy_learner(Recorder(), cancelling(CancelFittingException(), at=3), nbatches=4)
    learner.fit(1)
    assert history(learner) == History(epochs=0, steps=2, steps_epoch=2)


def test_the_steps_of_the_epoch_are_counted_again_in_each_epoch():
    learner = toy_learner(Recorder(), nbatches=4)
    epoch(learner, TrainingPhase())
    epoch(learner, TrainingPhase(), learner.data.training[:3])
    assert history(learner) == History(epochs=2, steps=7, steps_epoch=3)


def test_a_step_outside_of_an_epoch_is_counted():
    learner = toy_learner(Recorder())
    step(learner, TrainingPhase(), learner.data.training[0])
    assert history(learner) == History(epochs=0, steps=1, steps_epoch=1)


def test_an_epoch_inside_of_another_leaves_its_counts_alone(scripted, other):
    learner = toy_learner(Recorder())

    class Outer(type(scripted)):
        def step(self, learner, batch):
            super().step(learner, batch)
            epoch(learner, other, [1.0, 1.0])

    epoch(learner, Outer(), [1.0, 1.0, 1.0])
    assert learner.cbstate.history == {
        Outer(): History(epochs=1, steps=3, steps_epoch=3),
        other: History(epochs=3, steps=6, steps_epoch=2),
    }


def test_changing_the_callbacks_keeps_the_history():
    learner = toy_learner(Recorder(), nbatches=4)
    learner.fit(1)
    learner.replace_callback(Recorder())
    learner.fit(1)
    assert history(learner) == History(epochs=2, steps=8, steps_epoch=4)


def test_a_history_that_is_loaded_when_the_epoch_has_begun_is_counted_on():
    learner, phase = toy_learner(Recorder()), TrainingPhase()
    epoch(learner, phase)
    with run_epoch(learner, phase):
        learner.cbstate.history.load_state_dict({})
        step(learner, phase, learner.data.training[0])
    assert history(learner) == History(epochs=1, steps=1, steps_epoch=1)


def test_in_another_learner_the_count_starts_again():
    recorder, phase = Recorder(), TrainingPhase()
    for _ in range(2):
        learner = toy_learner(recorder)
        step(learner, phase, learner.data.training[0])
        assert history(learner) == History(epochs=0, steps=1, steps_epoch=1)


def test_resumed_anywhere_it_counts_on(resumed_everywhere):
    positions = resumed_everywhere(lambda: toy_learner(Recorder(), nbatches=3), TrainingPhase(), ValidationPhase())
    assert positions == 2 * 2 * (1 + 2 * 3)


def test_it_has_no_state_of_its_own():
    assert Recorder().state_dict() == {}


def test_a_history_starts_at_nothing():
    assert History() == History(epochs=0, steps=0, steps_epoch=0)


def test_a_history_comes_back_from_its_state():
    resumed = History()
    resumed.load_state_dict(History(epochs=2, steps=35, steps_epoch=3).state_dict())
    assert resumed == History(epochs=2, steps=35, steps_epoch=3)
