"""Checkpoints of fits by steps, which validate in the middle of an epoch."""

import itertools

import pytest
import torch
from treadle import (
    Callback,
    CancelFittingException,
    Stream,
    TrainingPhase,
    ValidationPhase,
    toy_learner,
)
from treadle.errors import MismatchError
from treadle_checkpoint import Checkpointer, checkpoints, load_model, resume
from treadle_metrics import Metrics, Recorder
from treadle_optim import EMA, Accumulate
from treadle_stopping import EarlyStopping


def run(folder, *callbacks, nbatches=4, options=None, **length):
    learner = toy_learner(Checkpointer(folder, **(options or {})), Recorder(), Metrics(), *callbacks, nbatches=nbatches)
    return learner, learner.fit(**length)


def steps_of(folder):
    return [checkpoint.steps for checkpoint in checkpoints(folder)]


@pytest.mark.parametrize(
    ("length", "steps"),
    [
        ({"steps": 10, "validate_every": 3}, [3, 6, 9, 10]),
        ({"steps": 9, "validate_every": 3}, [3, 6, 9]),
        ({"steps": 5}, [5]),
        ({"n": 2, "validate_every": 3}, [3, 6, 8]),
        ({"n": 1, "validate_every": 4}, [4]),
    ],
)
def test_it_saves_after_each_validation_and_at_the_end(tmp_path, length, steps):
    run(tmp_path, **length)
    assert steps_of(tmp_path) == steps


def test_without_validation_it_saves_after_each_epoch_the_partial_one_included(tmp_path):
    learner = toy_learner(Checkpointer(tmp_path), nbatches=4)
    learner.fit(steps=6, data=(learner.data.training,))
    assert steps_of(tmp_path) == [4, 6]


def test_what_says_when_to_save_says_all(tmp_path):
    run(tmp_path / "steps", options={"every_steps": 4}, steps=10, validate_every=3)
    run(tmp_path / "epochs", options={"every_epochs": 1}, steps=10, validate_every=3)
    assert (steps_of(tmp_path / "steps"), steps_of(tmp_path / "epochs")) == ([4, 8], [4, 8, 10])


def test_each_is_ranked_by_the_validation_that_measured_its_weights(tmp_path):
    learner, _ = run(tmp_path, steps=10, validate_every=3)
    validated = learner.cbstate.metricsepoch.intervals[ValidationPhase()]["Loss"]
    values = dict(zip(validated.iterations, validated.values, strict=True))
    assert [one.score.value for one in checkpoints(tmp_path)] == [values[3], values[6], values[9], None]
    for one in checkpoints(tmp_path)[:3]:
        load_model(learner.model, one.path)
        loss = learner.evaluate(learner.data.validation)["Loss"]
        assert loss == pytest.approx(one.score.value)


@pytest.mark.parametrize("parts", [(Accumulate(2),), (EMA(0.5),), (EMA(0.5), Accumulate(3))], ids=str)
def test_so_it_is_inside_of_an_update_and_with_averaged_weights(tmp_path, parts):
    learner, _ = run(tmp_path, *parts, steps=9, validate_every=3)
    for one in checkpoints(tmp_path):
        load_model(learner.model, one.path)
        plain = toy_learner(nbatches=4)
        plain.model.load_state_dict(learner.model.state_dict())
        assert plain.evaluate(plain.data.validation)["Loss"] == pytest.approx(one.score.value)


def test_with_keep_top_k_the_best_stay(tmp_path):
    run(tmp_path, options={"keep_top_k": 1}, steps=12, validate_every=3)
    assert steps_of(tmp_path) == [12]


def test_who_stops_by_validation_is_saved_there_and_ranked_by_it(tmp_path):
    _, result = run(tmp_path, EarlyStopping(patience=1, min_delta=1000.0), steps=100, validate_every=3)
    assert (result.steps, result.epochs, steps_of(tmp_path)) == (6, 1, [3, 6])
    assert all(one.score.value is not None for one in checkpoints(tmp_path))
    again = toy_learner(Recorder(), Metrics(), EarlyStopping(patience=1, min_delta=1000.0), nbatches=4)
    resume(again, tmp_path, without=["Checkpointer"])
    assert again.fit(steps=100, validate_every=3).steps == 0


class Cancel(Callback):
    """Cancels the fit, once."""

    optional_state = True

    def __init__(self, phase, count):
        self.phase, self.left = phase, count

    def on_step_end(self, phase):
        if isinstance(phase, self.phase):
            self.left -= 1
            if self.left == 0:
                raise CancelFittingException("Enough.")


@pytest.mark.parametrize(("phase", "count", "steps"), [(TrainingPhase, 5, 5), (ValidationPhase, 6, 6)])
def test_a_fit_that_is_cancelled_in_the_middle_is_saved_there(tmp_path, phase, count, steps):
    _, result = run(tmp_path, Cancel(phase, count), steps=12, validate_every=3)
    assert (result.steps, steps_of(tmp_path)[-1]) == (steps, steps)


def test_a_validation_in_which_the_fit_was_cancelled_is_run_anew(tmp_path):
    whole = toy_learner(Recorder(), Metrics(), nbatches=4)
    whole.fit(steps=12, validate_every=3)
    run(tmp_path, Cancel(ValidationPhase, 6), steps=12, validate_every=3)
    again = toy_learner(Recorder(), Metrics(), nbatches=4)
    resume(again, tmp_path, without=["Checkpointer", "Cancel"])
    again.fit(steps=12, validate_every=3)
    intervals = [learner.cbstate.metricsepoch.intervals.to_dict() for learner in (whole, again)]
    assert intervals[0] == intervals[1]
    assert torch.equal(whole.model.weight, again.model.weight)


def test_the_end_of_an_epoch_inside_is_not_that_of_the_one_around_it(tmp_path):
    """A fit that is cancelled after a validation in the middle goes on in the middle."""
    _, result = run(tmp_path, Cancel(TrainingPhase, 3), steps=8, validate_every=2)
    assert result.steps == 3
    again = toy_learner(Recorder(), Metrics(), nbatches=4)
    resume(again, tmp_path, without=["Checkpointer", "Cancel"])
    assert (again.fit(steps=8, validate_every=2).steps, again.progress.epochs) == (5, 2)


def test_a_fit_of_another_length_does_not_go_on_with_it(tmp_path):
    run(tmp_path, steps=6, validate_every=3)
    path = checkpoints(tmp_path)[0].path
    for length, message in [
        ({"steps": 7, "validate_every": 3}, r"saved fit was fit\(steps=6, validate_every=3\), and this one is fit\(st"),
        ({"steps": 6}, r"and this one is fit\(steps=6\)"),
        ({"n": 2}, r"and this one is fit\(2\)"),
        ({"n": 2, "validate_every": 3}, r"and this one is fit\(2, validate_every=3\)"),
    ]:
        again = toy_learner(Recorder(), Metrics(), nbatches=4)
        resume(again, path, without=["Checkpointer"])
        with pytest.raises(MismatchError, match=message):
            again.fit(**length)


def test_fewer_epochs_than_were_done_are_refused_where_validation_is_by_steps(tmp_path):
    run(tmp_path, n=3, validate_every=3)
    again = toy_learner(Recorder(), Metrics(), nbatches=4)
    resume(again, checkpoints(tmp_path)[1].path, without=["Checkpointer"])
    with pytest.raises(MismatchError, match="is already past epoch 1"):
        again.fit(1, validate_every=3)


class Endless:
    """Random batches without an end, the same in each pass."""

    def __iter__(self):
        generator = torch.Generator().manual_seed(0)
        while True:
            xs = torch.rand(4, 1, generator=generator)
            yield xs, 3 * xs


def test_endless_data_are_gone_on_with_where_they_were(tmp_path):
    def learner(*callbacks):
        return toy_learner(*callbacks, data=(Endless(), list(itertools.islice(Endless(), 2))))

    whole = learner(Checkpointer(tmp_path, every_steps=1))
    whole.fit(steps=7, validate_every=2)
    for one in checkpoints(tmp_path):
        again = learner()
        resume(again, one.path, without=["Checkpointer"])
        again.fit(steps=7, validate_every=2)
        assert torch.equal(again.model.weight, whole.model.weight)
        assert (again.progress.steps, again.progress.epoch) == (7, 1)


@pytest.mark.parametrize(("phase", "count"), [(TrainingPhase, 4), (ValidationPhase, 3)])
def test_a_stream_that_is_cut_into_epochs_goes_on_where_the_fit_was_cancelled(tmp_path, phase, count):
    def learner(*callbacks):
        return toy_learner(*callbacks, data=(Stream(Endless(), 3), list(itertools.islice(Endless(), 2))))

    whole = learner()
    whole.fit(steps=8, validate_every=2)
    learner(Checkpointer(tmp_path), Cancel(phase, count)).fit(steps=8, validate_every=2)
    again = learner()
    resume(again, tmp_path, without=["Checkpointer", "Cancel"])
    again.fit(steps=8, validate_every=2)
    assert torch.equal(again.model.weight, whole.model.weight)


class CancelAfter(Callback):
    """Cancels the fit at the end of a training step."""

    optional_state = True

    def __init__(self, steps):
        self.steps = steps

    def on_step_end(self, learner, phase: TrainingPhase):
        if learner.progress.steps == self.steps:
            raise CancelFittingException("Enough.")


@pytest.mark.parametrize("length", [{"steps": 5}, {"steps": 4}, {"steps": 5, "validate_every": 5}], ids=str)
@pytest.mark.parametrize("validates", [True, False])
def test_a_fit_that_is_cancelled_in_its_last_step_ends_when_it_is_resumed(tmp_path, length, validates):
    def learner(*callbacks):
        made = toy_learner(Recorder(), Metrics(), Accumulate(3), *callbacks, nbatches=4)
        if not validates:
            made.data = {"training": made.data.training}
        return made

    if not validates:
        length = {"steps": length["steps"]}
    whole = learner()
    whole.fit(**length)
    cancelled = learner(Checkpointer(tmp_path), CancelAfter(length["steps"])).fit(**length)
    assert cancelled.steps == length["steps"]
    rest = learner(Checkpointer(tmp_path))
    resume(rest, tmp_path)
    assert rest.fit(**length).steps == 0
    assert torch.equal(rest.model.weight, whole.model.weight)  # the last update is completed
    assert rest.cbstate.metricsepoch[ValidationPhase()] == whole.cbstate.metricsepoch[ValidationPhase()]
    assert (rest.progress.updates, rest.progress.epochs) == (whole.progress.updates, whole.progress.epochs)
