"""The state of a callback written for fastai v1 in a checkpoint, and in a run that goes on from it."""

import pytest
import torch
from treadle import TrainingPhase, ValidationPhase, toy_learner
from treadle.errors import CallbackError
from treadle_checkpoint import Checkpointer, checkpoints, resume, save_run
from treadle_fastai import Callback, LearnerCallback, OneCycleScheduler, SmoothenValue, Stepper


class Halve(LearnerCallback):
    """Train with a rate that halves with each batch, and keep count of everything."""

    def __init__(self) -> None:
        self.seen, self.smoother = [], SmoothenValue(0.9)
        self.function = abs

    def on_train_begin(self, **kwargs):
        self.stepper = Stepper((1.0, 0.0), 100)
        self.learn.opt.lr = 0.001

    def on_batch_end(self, epoch, iteration, num_batch, smooth_loss, last_loss, train, **kwargs):
        self.learn.opt.lr = 0.001 * self.stepper.step()
        self.smoother.add_value(last_loss)
        self.seen.append((epoch, iteration, num_batch, train, smooth_loss.item(), self.smoother.smooth.item()))

    def on_epoch_end(self, last_metrics, **kwargs):
        self.seen.append(last_metrics)


class EverySecond(Callback):
    def on_backward_end(self, iteration, **kwargs):
        return {"skip_step": True, "skip_zero": True} if iteration % 2 == 0 else None


def learner_of(make, *others):
    def momentum(parameters):
        return torch.optim.SGD(parameters, lr=0.001, momentum=0.9)

    return toy_learner(*make(), *others, nbatches=3, optimizer=momentum)


@pytest.mark.parametrize("during", [TrainingPhase, ValidationPhase])
@pytest.mark.parametrize(
    "make",
    [lambda: [Halve()], lambda: [OneCycleScheduler(lr_max=0.01)], lambda: [EverySecond()]],
    ids=["attributes", "a schedule", "gradients that are kept"],
)
def test_a_run_that_is_resumed_after_any_step_is_the_one_that_never_stopped(make, during, tmp_path) -> None:
    whole = learner_of(make, Checkpointer(tmp_path / "run", every_steps=1, during=during))
    whole.fit(3)
    saved = checkpoints(tmp_path / "run")
    assert len(saved) >= 9
    for i, checkpoint in enumerate(saved):
        resumed = learner_of(make, Checkpointer(tmp_path / f"again{i}", every_steps=1, during=during))
        resume(resumed, checkpoint)
        resumed.fit(3)
        assert torch.equal(resumed.model.weight, whole.model.weight)
        assert resumed.optimizer.param_groups[0]["lr"] == whole.optimizer.param_groups[0]["lr"]
        assert getattr(resumed.callbacks[0], "seen", 0) == getattr(whole.callbacks[0], "seen", 0)


def test_an_attribute_that_cannot_be_saved_is_refused_by_name() -> None:
    callback = Callback()
    callback.file = iter([])
    with pytest.raises(CallbackError, match=r'Callback\.file is a list_iterator.*\nFix: .*:\n    exclude = \["file"\]'):
        callback.state_dict()
    callback.exclude = ["file"]
    assert callback.state_dict() == {}


def test_an_object_with_state_must_be_there_when_training_begins(tmp_path) -> None:
    class Later(Callback):
        def on_batch_end(self, **kwargs):
            self.stepper = Stepper(1.0, 3)

    learner = learner_of(lambda: [Later()])
    learner.fit(1)
    save_run(learner, tmp_path / "run")
    again = learner_of(lambda: [Later()])
    resume(again, tmp_path / "run")
    with pytest.raises(
        CallbackError, match=r"Later\.stepper has state to load, and is not there.*\nFix: make it where"
    ):
        again.fit(1)


def test_it_starts_again_in_another_learner() -> None:
    class Count(Callback):
        def __init__(self) -> None:
            self.count = 0

        def on_batch_end(self, **kwargs):
            self.count += 1

    count = Count()
    toy_learner(count, nbatches=3).fit(1)
    assert count.count == 6
    toy_learner(count, nbatches=3)
    assert count.count == 0
