import itertools
import json
import math
import random
import resource

import pytest
import torch
from safetensors import SafetensorError
from treadle import (
    AbstractTrainingPhase,
    AbstractValidationPhase,
    ArgumentTypeError,
    ArgumentValueError,
    Callback,
    CallbackConflictError,
    CancelFittingException,
    EpochEnd,
    Phase,
    PropDict,
    ProtectedException,
    Read,
    RunFirst,
    Series,
    TrainingPhase,
    ValidationPhase,
    Write,
    hookimpl,
    run_epoch,
    run_step,
    throttle,
    toy_learner,
)
from treadle.operations import Epoch, Step
from treadle_checkpoint import (
    Checkpointer,
    CheckpointError,
    FolderInUseError,
    NotResumableError,
    NotSaveableError,
    best,
    checkpoints,
    latest,
    load_model,
    resume,
)


def epochs_and_steps(folder):
    return [(one.epoch, one.steps) for one in checkpoints(folder)]


class Losses(Callback):
    """Records scripted values, as the callback `Metrics` does."""

    state_access = {"cbstate.metricsstep": Write, "cbstate.metricsepoch": Write}

    def __init__(self, **scripts):
        self.scripts = {name: list(values) for name, values in scripts.items()}

    def on_init(self, learner):
        learner.cbstate.metricsepoch = ByPhase()
        learner.cbstate.metricsstep = ByPhase()

    def on_epoch_end(self, learner, phase):
        for name, values in self.scripts.items():
            if values and (name == "Loss") == isinstance(phase, TrainingPhase):
                series = learner.cbstate.metricsepoch.setdefault(phase, PropDict()).setdefault(name, Series())
                series.push(len(series) + 1, values.pop(0))


class ByPhase(dict):
    def __missing__(self, phase):
        return {}

    def state_dict(self):
        return {}

    def load_state_dict(self, state): ...


# When it saves, and what the entries are called.


def test_it_saves_after_every_epoch_of_training(tmp_path):
    toy_learner(Checkpointer(tmp_path)).fit(3)
    assert epochs_and_steps(tmp_path) == [(1, 16), (2, 32), (3, 48)]


def test_the_name_of_an_entry_starts_with_the_epoch_and_the_recorded_training_loss(tmp_path):
    toy_learner(Losses(Loss=[3.5, 0.25, 0.01234]), Checkpointer(tmp_path)).fit(3)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint_epoch_001_loss_3.5000_step_16_save_1",
        "checkpoint_epoch_002_loss_0.2500_step_32_save_2",
        "checkpoint_epoch_003_loss_0.0123_step_48_save_3",
    ]


def test_without_a_recorded_loss_that_of_the_last_step_stands_in(tmp_path):
    learner = toy_learner(Checkpointer(tmp_path), data=([(torch.ones(1, 1), torch.full((1, 1), 2.0))],))
    learner.fit(1)
    assert latest(tmp_path).loss == 2.0


def test_it_saves_every_n_epochs_or_steps(tmp_path):
    toy_learner(Checkpointer(tmp_path / "epochs", every_epochs=2)).fit(5)
    assert epochs_and_steps(tmp_path / "epochs") == [(2, 32), (4, 64)]
    toy_learner(Checkpointer(tmp_path / "steps", every_steps=10)).fit(2)
    assert epochs_and_steps(tmp_path / "steps") == [(1, 10), (2, 20), (2, 30)]
    toy_learner(Checkpointer(tmp_path / "both", every_epochs=1, every_steps=12)).fit(2)
    assert epochs_and_steps(tmp_path / "both") == [(1, 12), (1, 16), (2, 24), (2, 32)]


def test_it_saves_after_the_first_step_that_ends_n_minutes_after_the_last_save(tmp_path):
    clock = itertools.count(step=25.0)  # seconds; asked once for each step, and when it begins and has saved
    toy_learner(Checkpointer(tmp_path, every_minutes=1.5, clock=lambda: next(clock)), nbatches=8).fit(1)
    assert epochs_and_steps(tmp_path) == [(1, 4), (1, 8)]


def test_throttled_at_the_end_of_epochs_it_saves_less_often(tmp_path):
    saving = throttle(Checkpointer(tmp_path, phase=Phase), EpochEnd, freq=3)
    toy_learner(saving).fit(4)
    assert epochs_and_steps(tmp_path) == [(1, 16), (2, 32), (4, 64)]


def test_a_fit_that_is_cancelled_after_an_epoch_is_saved_first(tmp_path):
    class Stop(Callback):
        @hookimpl(wrapper=True)
        def epoch(self, phase: TrainingPhase):
            yield
            raise CancelFittingException("Enough.")

    assert toy_learner(Stop(), Checkpointer(tmp_path)).fit(5).cancelled.callback.name == "Stop"
    assert epochs_and_steps(tmp_path) == [(1, 16)]


# Which it keeps.


def test_the_k_best_and_the_newest_are_kept(tmp_path):
    learner = toy_learner(Losses(Loss=[4.0, 1.0, 3.0, 2.0, 5.0]), Checkpointer(tmp_path, keep_top_k=2))
    learner.fit(5, (learner.data.training,))
    assert [one.epoch for one in checkpoints(tmp_path)] == [2, 4, 5]
    assert (best(tmp_path).epoch, latest(tmp_path).epoch) == (2, 5)


def test_best_is_by_any_recorded_metric_in_either_direction(tmp_path):
    recorded = Losses(Loss=[3.0, 2.0, 1.0], Accuracy=[0.5, 0.9, 0.7])
    saving = Checkpointer(tmp_path, keep_top_k=1, metric="Accuracy", phase=AbstractValidationPhase, mode="max")
    toy_learner(recorded, saving).fit(3)
    assert [(one.epoch, one.loss, one.score.value) for one in checkpoints(tmp_path)] == [(2, 2.0, 0.9), (3, 1.0, 0.7)]
    assert best(tmp_path).epoch == 2


def test_a_metric_that_no_callback_records_is_refused_when_the_learner_is_built(tmp_path):
    with pytest.raises(
        CallbackConflictError, match=r"Checkpointer reads `cbstate.metricsepoch`, and no callback writes it"
    ):
        toy_learner(Checkpointer(tmp_path, metric="Accuracy"))


def test_a_metric_with_a_slip_in_its_name_is_guessed(tmp_path):
    learner = toy_learner(Losses(Accuracy=[1.0]), Checkpointer(tmp_path, metric="Acuracy", phase=ValidationPhase))
    with pytest.raises(
        CheckpointError, match=r"no metric 'Acuracy' of the epochs of ValidationPhase\(\). Did you mean `Accuracy`"
    ):
        learner.fit(1)


def test_a_metric_that_is_not_recorded_is_refused_as_soon_as_that_is_known(tmp_path):
    metrics = pytest.importorskip("treadle_metrics", reason="treadle-metrics is not installed")

    def steps_before_the_error(metric, *measured):
        saving = Checkpointer(tmp_path, metric=metric)
        learner = toy_learner(metrics.Recorder(), metrics.Metrics(*measured), saving, nbatches=3)
        with pytest.raises(
            CheckpointError, match=r"^There is no metric '\w+'\. Did you mean `\w+`\?\nFix: name one .*:\n"
        ):
            learner.fit(1)
        assert not checkpoints(tmp_path)
        return learner.progress.steps

    assert steps_before_the_error("SmothLoss", metrics.SmoothLoss()) == 0
    assert steps_before_the_error("mse_loss", torch.nn.functional.mse_loss) == 1
    both = metrics.Metric(lambda yhats, ys: {"recall": 0.5, "precision": 0.25}, name="both")
    learner = toy_learner(
        metrics.Recorder(), metrics.Metrics(both), Checkpointer(tmp_path, metric="recall"), nbatches=3
    )
    assert learner.fit(1).epochs == 1


# What is never saved.


def test_a_model_that_is_not_finite_is_not_saved_and_that_is_reported(tmp_path, loguru_warnings):
    class Break(Callback):
        state_access = {"model": Write}

        def on_epoch_end(self, learner, phase: TrainingPhase):
            if learner.progress.epoch == 2:
                torch.nn.init.constant_(learner.model.weight, math.nan)

    toy_learner(Break(), Checkpointer(tmp_path, keep_top_k=1)).fit(3)
    assert [one.epoch for one in checkpoints(tmp_path)] == [1]
    for warning in loguru_warnings:
        assert warning.startswith(
            "No checkpoint was saved: weight is NaN or infinite. The ones before it stay.\nFix: look"
        )
        assert warning.endswith(f"in a learner that was built anew:\n    resume(learner, {str(tmp_path)!r})")
    assert len(loguru_warnings) == 2


def test_a_loss_that_is_not_finite_makes_no_best(tmp_path):
    learner = toy_learner(Losses(Loss=[2.0, math.nan, 3.0]), Checkpointer(tmp_path))
    learner.fit(3, (learner.data.training,))
    assert [one.loss for one in checkpoints(tmp_path)] == [2.0, None, 3.0]
    assert checkpoints(tmp_path)[1].path.name.startswith("checkpoint_epoch_002_loss_nan")
    assert best(tmp_path).epoch == 1


# Before training.


def test_a_second_run_with_the_same_folder_is_refused_unless_it_resumes(tmp_path):
    toy_learner(Checkpointer(tmp_path)).fit(1)
    second = toy_learner(Checkpointer(tmp_path))
    with pytest.raises(
        FolderInUseError, match=r"holds checkpoints of another run \(1\).\nFix: start .*before fit:\n    resume"
    ):
        second.fit(1)
    assert second.progress.steps == 0
    resume(second, tmp_path)
    assert second.fit(2).epochs == 1
    assert epochs_and_steps(tmp_path) == [(1, 16), (2, 32)]


def test_the_same_callback_may_go_on_in_another_fit(tmp_path):
    learner = toy_learner(Checkpointer(tmp_path))
    learner.fit(1)
    learner.fit(1)
    assert epochs_and_steps(tmp_path) == [(1, 16), (2, 32)]


def test_two_with_one_folder_are_refused(tmp_path):
    learner = toy_learner(Checkpointer(tmp_path), Checkpointer(tmp_path / "a" / ".."))
    with pytest.raises(FolderInUseError, match=r"Two Checkpointers save to .*\nFix: give each a folder of its own"):
        learner.fit(1)


def test_two_with_a_folder_each_get_on(tmp_path):
    toy_learner(Checkpointer(tmp_path / "a"), Checkpointer(tmp_path / "b", every_epochs=2)).fit(2)
    assert (len(checkpoints(tmp_path / "a")), len(checkpoints(tmp_path / "b"))) == (2, 1)


def test_data_that_cannot_be_resumed_are_refused_unless_the_model_alone_is_wanted(tmp_path):
    data = toy_learner().data.training
    with pytest.raises(NotResumableError, match=r"data.training could not .*: list_iterator is an iterator") as refused:
        toy_learner(Checkpointer(tmp_path), data=(iter(data),)).fit(1)
    assert "    Checkpointer(folder, whole_run=False)" in refused.value.__notes__[0]
    toy_learner(Checkpointer(tmp_path, whole_run=False), data=(iter(data),)).fit(1)
    assert latest(tmp_path).whole_run is False
    load_model(toy_learner().model, latest(tmp_path).path)
    with pytest.raises(
        CheckpointError, match=r"holds the model alone.\nFix: load that:\n    load_model\(learner.model, "
    ):
        resume(toy_learner(), tmp_path)


class Keeps(Callback):
    """Keeps something that no checkpoint can hold."""

    state_access = {"cbstate.kept": Write}

    def __init__(self, own=None, shared=None):
        self.own, self.shared = own, shared

    def on_init(self, learner):
        learner.cbstate.kept = self.shared

    def on_step_begin(self):
        raise AssertionError("trained")

    def state_dict(self):
        return {"own": self.own}

    def load_state_dict(self, state): ...


def test_the_model_alone_is_saved_also_beside_what_no_checkpoint_can_hold(tmp_path):
    class Prints(Callback):
        def state_dict(self):
            return {"function": print}

        def load_state_dict(self, state): ...

    toy_learner(Prints(), Checkpointer(tmp_path, whole_run=False)).fit(1)
    assert latest(tmp_path).whole_run is False


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        (Keeps(own=lambda: 1), r"cannot hold callbacks/Keeps/state/own, a function"),
        (Keeps(shared={"a": [object()]}), r"cannot hold cbstate/kept/entries/a/value/0, a object"),
        (
            Keeps(own=torch.ones(1, dtype=torch.complex128)),
            r"cannot hold callbacks/Keeps/state/own, a tensor of torch.complex128",
        ),
    ],
)
def test_a_state_that_cannot_be_saved_is_named_before_training(tmp_path, kept, message):
    with pytest.raises(NotSaveableError, match=message):
        toy_learner(kept, Checkpointer(tmp_path)).fit(1)


def test_an_optimizer_with_a_parameter_of_no_model_is_refused_before_training(tmp_path):
    stray = torch.nn.Parameter(torch.zeros(2, 3))
    learner = toy_learner(Checkpointer(tmp_path), optimizer=lambda params: torch.optim.SGD([*params, stray], lr=0.1))
    with pytest.raises(
        NotResumableError, match=r"The optimizer holds a parameter of shape \(2, 3\) that belongs neither"
    ):
        learner.fit(1)


def test_a_phase_that_goes_over_its_data_by_itself_cannot_be_saved_in_its_middle(tmp_path):
    class ByItself(AbstractTrainingPhase):
        def epoch(self, learner, data):
            with run_epoch(learner, self) as handle:
                for batch in data:
                    handle(Step, batch)

        def step(self, learner, batch):
            with run_step(learner, self):
                pass

    with pytest.raises(
        NotResumableError,
        match=r"ByItself.epoch goes over its data by itself[^\n]*\nFix: .*\n    for batch in batches\(learner",
    ):
        toy_learner(Checkpointer(tmp_path, every_steps=2)).fit(1, phases=[ByItself()])
    toy_learner(Checkpointer(tmp_path)).fit(1, phases=[ByItself()])
    assert len(checkpoints(tmp_path)) == 1


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (
            {"folder": 3},
            ArgumentTypeError,
            r"folder\) must be a path, got 3.\nFix: write, for example:\n    Checkpointer\('runs/",
        ),
        (
            {"keep_top_k": 1.5},
            ArgumentTypeError,
            r"keep_top_k must be a whole number of at least 0, got 1.5[^C]*\n    Checkpointer\(folder, keep_top_k=3\)",
        ),
        ({"keep_top_k": -1}, ArgumentValueError, r"keep_top_k must be a whole number of at least 0, got -1"),
        ({"every_epochs": True}, ArgumentTypeError, r"every_epochs must be a whole number of at least 1, got True"),
        ({"every_steps": 0}, ArgumentValueError, r"every_steps must be a whole number of at least 1, got 0"),
        ({"every_minutes": "1"}, ArgumentTypeError, r"every_minutes must be a number above 0, got '1'"),
        ({"every_minutes": 0}, ArgumentValueError, r"every_minutes must be a number above 0, got 0"),
        ({"mode": "low"}, ArgumentValueError, r"mode\) has an invalid value: \'low\'.\nFix: pass \'min\' or \'max\'"),
        (
            {"phase": TrainingPhase()},
            ArgumentTypeError,
            r"phase\) must be Phase or a subclass of it, got TrainingPhase\(\)",
        ),
        ({"during": int}, ArgumentTypeError, r"during\) must be Phase or a subclass of it, got the class int"),
    ],
)
def test_an_argument_that_makes_no_sense_is_refused(settings, error, message):
    with pytest.raises(error, match=message):
        Checkpointer(**{"folder": "runs", **settings})


# The disk.


def test_a_full_disk_leaves_the_checkpoints_before_it_and_nothing_else(tmp_path):
    learner = toy_learner(Checkpointer(tmp_path))
    learner.fit(1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))  # what follows is the system's own error
    try:
        with pytest.raises((OSError, SafetensorError), match="File too large") as full:
            learner.fit(1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert any(
        "could not be saved. The checkpoints before it are as they were." in note for note in full.value.__notes__
    )
    assert [path.name for path in tmp_path.iterdir()] == [latest(tmp_path).path.name]
    resume(toy_learner(), tmp_path)


# Its place among the others.


class Shared(Callback):
    """Writes something after the epoch, when all handlers have run; named to sort before and after."""

    def __init__(self, name, entry):
        self.name, self.entry, self.own = name, entry, 0
        self.state_access = {f"cbstate.{entry}": Write}

    def on_init(self, learner):
        learner.cbstate[self.entry] = 0

    @hookimpl(wrapper=True)
    def epoch(self, learner):
        result = yield
        learner.cbstate[self.entry] += 1
        self.own += 1
        return result

    def state_dict(self):
        return {"own": self.own}

    def load_state_dict(self, state):
        self.own = state["own"]


class OwnOnly(Shared):
    """The same, with nothing but a state of its own."""

    state_access = {}

    def __init__(self, name):
        self.name, self.own = name, 0

    def on_init(self): ...

    @hookimpl(wrapper=True)
    def epoch(self):
        result = yield
        self.own += 1
        return result


def test_it_is_outermost_whatever_the_others_are_called(tmp_path):
    saving = Checkpointer(tmp_path)
    learner = toy_learner(Shared("A", "a"), saving, OwnOnly("B"), Shared("Z", "z"))
    assert learner.ordering.order(Epoch, TrainingPhase)[0] is saving
    learner.fit(1)
    rest = json.loads((latest(tmp_path).path / "state.json").read_text())
    assert {key: saved["state"]["own"] for key, saved in rest["callbacks"].items() if key != "Checkpointer"} == {
        "A": 1,
        "B": 1,
        "Z": 1,
    }
    assert {name: saved["value"] for name, saved in rest["cbstate"].items()} == {"a": 1, "z": 1}


def content(folder):
    """All that a checkpoint holds, except for times and the identifier of the run."""
    entry = latest(folder).path
    rest = json.loads((entry / "state.json").read_text())
    saved = rest["callbacks"].pop("Checkpointer")
    assert set(saved["state"]) == {"run", "loss", "losses", "newest", "ranking"}
    model = (entry / "model.safetensors").read_bytes()
    manifest = json.loads((entry / "manifest.json").read_text())
    return json.dumps(rest), model, manifest["epoch"], manifest["steps"], entry.name


def test_what_is_saved_does_not_depend_on_the_order_of_the_callbacks(tmp_path):
    seen = []
    for i, order in enumerate(itertools.permutations(range(4))):
        random.seed(0)
        torch.manual_seed(0)
        callbacks = [
            Shared("A", "a"),
            OwnOnly("B"),
            Shared("Z", "z"),
            Checkpointer(tmp_path / str(i), every_steps=10, every_epochs=1),
        ]
        toy_learner(*(callbacks[k] for k in order)).fit(2)
        seen.append(content(tmp_path / str(i)))
    assert all(content == seen[0] for content in seen)


def test_an_order_that_contradicts_it_is_refused_before_training(tmp_path):
    class First(OwnOnly):
        def resolve_conflict(self, other):
            return RunFirst(self)

    with pytest.raises(CallbackConflictError, match=r"differ about their order: RunFirst\(A\) from A.resolve_conflict"):
        toy_learner(First("A"), Checkpointer(tmp_path))


def test_what_it_declares_is_what_it_reads(tmp_path):
    saving = Checkpointer(tmp_path)
    assert set(saving.state_access.values()) == {Read}
    for missing in saving.state_access:
        less = Checkpointer(tmp_path / missing)
        declared = {path: mode for path, mode in less.state_access.items() if path != missing}
        less.__class__ = type("Less", (Checkpointer,), {"state_access": declared})
        with pytest.raises(ProtectedException, match=f"`{missing}`.* and "):
            toy_learner(less).fit(1)
