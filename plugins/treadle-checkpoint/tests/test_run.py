import shutil

import pytest
import torch
from treadle import (
    ArgumentTypeError,
    Callback,
    CustomCallback,
    EpochBegin,
    EpochEnd,
    FitBegin,
    FitEnd,
    Learner,
    Series,
    StepBegin,
    StepEnd,
    TrainingPhase,
    ValidationPhase,
    Write,
    epoch,
    throttle,
    toy_learner,
)
from treadle_checkpoint import (
    Checkpointer,
    CheckpointError,
    DamagedCheckpointError,
    FolderInUseError,
    MismatchError,
    NoCheckpointError,
    NonFiniteWeightsError,
    NotResumableError,
    checkpoints,
    manifest,
    resume,
    save_run,
    tensor_file,
)


class Counter(Callback):
    def __init__(self, name="Counter"):
        self.name, self.count = name, 0

    def on_step_end(self):
        self.count += 1

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


# Outside of a fit.


def test_a_run_that_was_saved_between_two_fits_begins_a_new_fit(tmp_path):
    learner = toy_learner(Counter())
    learner.fit(2)
    save_run(learner, tmp_path / "run")
    learner.fit(1)
    again = toy_learner(Counter())
    assert resume(again, tmp_path / "run") == tmp_path / "run"
    assert (again.progress.epochs, again.callbacks[0].count) == (2, 64)
    assert again.fit(1).epochs == 1
    assert again.model.weight.equal(learner.model.weight)
    assert again.callbacks[0].count == learner.callbacks[0].count == 96


def test_it_does_not_replace_what_is_there(tmp_path):
    save_run(toy_learner(), tmp_path / "run")
    with pytest.raises(FolderInUseError, match=r"There is something at .*run already.\nFix: choose"):
        save_run(toy_learner(), tmp_path / "run")


@pytest.mark.parametrize("event", [FitBegin, EpochBegin, StepBegin, StepEnd, EpochEnd, FitEnd])
def test_inside_of_a_fit_saving_and_resuming_are_refused(tmp_path, event):
    save_run(toy_learner(), tmp_path / "run")
    advice = {
        save_run: r"called inside of a fit or an epoch, [^\n]*\nFix: .*\n    checkpointer.request_save\(\)",
        resume: r"called inside of a fit or an epoch, [^\n]*\nFix: resume before it:\n    resume\(learner, path\)",
    }
    for function, message in advice.items():
        with pytest.raises(CheckpointError, match=message):
            toy_learner(CustomCallback(lambda view, do=function: do(view, tmp_path / "run"), event)).fit(1)
        learner = toy_learner()
        whole = CustomCallback(lambda view, do=function, learner=learner: do(learner, tmp_path / "run"), event)
        learner.add_callback(whole)
        with pytest.raises(CheckpointError, match=message):
            learner.fit(1)


def test_what_could_not_be_resumed_or_is_not_finite_is_not_saved(tmp_path):
    learner = toy_learner(data=(iter(toy_learner().data.training),))
    with pytest.raises(NotResumableError, match="list_iterator is an iterator"):
        save_run(learner, tmp_path / "run")
    torch.nn.init.constant_(learner.model.weight, torch.inf)
    with pytest.raises(NonFiniteWeightsError, match="weight is NaN or infinite"):
        save_run(learner, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


# Two callbacks of one class.


def test_several_callbacks_of_one_class_have_a_state_each(tmp_path):
    class Odd(Counter):
        def on_step_end(self):
            self.count += 2

    learner = toy_learner(Counter(), Counter("mine"), Odd("Counter"))
    learner.fit(1)
    save_run(learner, tmp_path / "run")
    again = toy_learner(Counter("mine"), Counter(), Odd("Counter"))
    resume(again, tmp_path / "run")
    assert [(type(callback), callback.count) for callback in again.callbacks] == [
        (Counter, 32),
        (Counter, 32),
        (Odd, 64),
    ]


# What does not fit.


def saved(tmp_path, *callbacks, **settings):
    learner = toy_learner(*callbacks, **settings)
    save_run(learner, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("callbacks", "message"),
    [
        (
            [],
            r"it has the state of Counter, which the learner does not have.\nFix: .*\n    without=\['Counter'\]",
        ),
        ([Counter(), Counter("new")], r"it has no state of new, which the learner has"),
        ([throttle(Counter(), StepEnd, freq=2)], r"Counter was a Counter and is a ConditionalCallback of Counter"),
    ],
)
def test_callbacks_that_are_missing_new_or_others_are_named(tmp_path, callbacks, message):
    path = saved(tmp_path, Counter())
    with pytest.raises(MismatchError, match=message):
        resume(toy_learner(*callbacks), path)
    resume(toy_learner(*callbacks), path, without=["Counter", "new"])


def test_callbacks_without_a_state_may_come_and_go(tmp_path):
    hello = CustomCallback(lambda learner: None, StepEnd)
    resume(toy_learner(), saved(tmp_path, hello))
    shutil.rmtree(tmp_path / "run")
    resume(toy_learner(CustomCallback(lambda learner: None, StepEnd)), saved(tmp_path))


def test_a_checkpointer_may_come_and_go(tmp_path):
    resume(toy_learner(), saved(tmp_path, Checkpointer(tmp_path / "a")))
    shutil.rmtree(tmp_path / "run")
    resume(toy_learner(throttle(Checkpointer(tmp_path / "a"), EpochEnd, freq=2)), saved(tmp_path))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": torch.optim.Adam}, r"was saved as SGD and is Adam.\nFix: .*\n    optimizer=torch.optim.SGD"),
        ({"model": torch.nn.Linear(2, 1)}, r"weight has the shape \(1, 1\), in the model \(1, 2\)"),
        ({"model": torch.nn.Linear(1, 1, bias=False).double()}, r"weight is torch.float32, in the model torch.float64"),
    ],
)
def test_a_model_or_an_optimizer_of_another_make_is_refused(tmp_path, settings, message):
    path = saved(tmp_path)
    model = settings.pop("model", torch.nn.Linear(1, 1, bias=False))
    before = model.weight.clone()
    optimizer = settings.get("optimizer", lambda params: torch.optim.SGD(params, lr=0.1))
    learner = Learner(model, torch.nn.functional.l1_loss, optimizer=optimizer, use_default_callbacks=False)
    with pytest.raises(MismatchError, match=message):
        resume(learner, path)
    assert model.weight.equal(before)
    assert learner.position.resumption is None


def test_other_optimizers_are_refused(tmp_path):
    def build(optimizer):
        model = {"a": torch.nn.Linear(1, 1), "b": torch.nn.Linear(1, 1)}
        return Learner(model, torch.nn.functional.l1_loss, optimizer=optimizer, use_default_callbacks=False)

    save_run(build({"a": torch.optim.Adam}), tmp_path / "run")
    with pytest.raises(
        MismatchError, match=r"has the optimizers a, and the learner has a, b.\nFix: resume with a learner built"
    ):
        resume(build({"a": torch.optim.Adam, "b": torch.optim.Adam}), tmp_path / "run")
    with pytest.raises(MismatchError, match=r"the optimizers a, and the learner has \(a single one\)"):
        resume(build(torch.optim.Adam), tmp_path / "run")


class Lazy(Callback):
    """Makes its entry too late, and one that has to be made by it."""

    state_access = {"cbstate.late": Write}

    def on_step_end(self, learner):
        if "late" not in learner.cbstate:
            learner.cbstate.late = Entry()


class Entry:
    def state_dict(self):
        return {}

    def load_state_dict(self, state): ...


def test_an_entry_that_is_made_too_late_is_named_and_the_learner_is_as_it_was(tmp_path):
    learner = toy_learner(Counter(), Lazy())
    learner.fit(1)
    save_run(learner, tmp_path / "run")
    again = toy_learner(Counter(), Lazy())
    with pytest.raises(
        MismatchError, match=r"has a Entry for cbstate.late, and the learner has nothing there.\nFix: let the"
    ):
        resume(again, tmp_path / "run")
    assert (again.model.weight.item(), again.callbacks[0].count, dict(again.cbstate)) == (0, 0, {})


def test_a_callback_that_refuses_its_state_leaves_the_learner_as_it_was(tmp_path):
    class Picky(Counter):
        state_access = {"cbstate.seen": Write}

        def on_init(self, learner):
            learner.cbstate.seen = Series()

        def on_step_end(self, learner):
            learner.cbstate.seen.push(1, 1.0)

        def load_state_dict(self, state):
            raise KeyError("not mine")

    learner = toy_learner(Counter(), Picky("Z"))
    learner.fit(1)
    save_run(learner, tmp_path / "run")
    again = toy_learner(Counter(), Picky("Z"))
    with pytest.raises(KeyError, match="not mine") as refused:
        resume(again, tmp_path / "run")
    assert refused.value.__notes__ == ["Raised while Z took over its state from a checkpoint."]
    assert (again.model.weight.item(), again.callbacks[0].count, len(again.cbstate.seen)) == (0, 0, 0)


# A fit that does not go on where the saved one was.


@pytest.fixture
def in_the_middle(tmp_path):
    toy_learner(Checkpointer(tmp_path / "run", every_steps=20)).fit(3)
    return checkpoints(tmp_path / "run")[0].path


def test_a_fit_with_other_phases_is_refused(in_the_middle):
    learner = toy_learner()
    resume(learner, in_the_middle)
    with pytest.raises(
        MismatchError, match=r"had treadle.phases:TrainingPhase and .*ValidationPhase, and of this one has"
    ):
        learner.fit(3, (learner.data.training,))
    assert learner.fit(3).epochs == 2


def test_a_fit_that_is_over_already_is_refused(in_the_middle):
    learner = toy_learner()
    resume(learner, in_the_middle)
    with pytest.raises(
        MismatchError, match=r"The saved fit\(3\) is already past epoch 1.\nFix: .*\n    learner.fit\(3\)"
    ):
        learner.fit(1)


def test_another_epoch_than_the_one_that_was_under_way_is_refused(in_the_middle):
    learner = toy_learner()
    resume(learner, in_the_middle)
    with pytest.raises(
        MismatchError, match=r"in the middle of an epoch of treadle.phases:TrainingPhase, and .* was to run"
    ):
        epoch(learner, ValidationPhase())
    assert learner.fit(3).epochs == 2


def test_fit_cannot_resume_an_epoch_that_was_not_run_by_fit(tmp_path):
    epoch(toy_learner(Checkpointer(tmp_path, every_steps=3)), TrainingPhase())
    learner = toy_learner()
    resume(learner, tmp_path)
    with pytest.raises(
        MismatchError, match=r"run by treadle.epoch and not by fit.\nFix: .*\n    treadle.epoch\(learner, Tra"
    ):
        learner.fit(1)
    epoch(learner, TrainingPhase())
    assert learner.progress.steps == 16


def test_data_that_are_others_are_refused(in_the_middle):
    learner = toy_learner(coeff=2.0)
    resume(learner, in_the_middle)
    with pytest.raises(MismatchError, match=r"Batch 4 of data.training differs from that of the saved run"):
        learner.fit(3)


# Damage.


@pytest.fixture
def three(tmp_path):
    toy_learner(Checkpointer(tmp_path / "run")).fit(3)
    return tmp_path / "run"


def harm(path, name):
    file = path / name
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


@pytest.mark.parametrize("name", ["model.safetensors", "state.safetensors", "state.json", "manifest.json"])
def test_a_damaged_file_is_named_and_the_checkpoint_before_it_is_offered(three, name, loguru_warnings):
    _, before, newest = (checkpoint.path for checkpoint in checkpoints(three))
    harm(newest, name)
    learner = toy_learner()
    with pytest.raises(DamagedCheckpointError, match=rf"{name} is damaged") as damaged:
        resume(learner, three)
    fix = f"Fix: resume from the one before it, or pass fall_back=True:\n    resume(learner, {str(before)!r})"
    assert fix in str(damaged.value)
    assert learner.progress.steps == 0
    assert resume(learner, three, fall_back=True) == before
    (warning,) = loguru_warnings
    assert f"{name} is damaged" in warning
    assert warning.endswith(f"Resuming from {before.name}.")
    assert learner.fit(3).epochs == 1


def test_if_all_are_damaged_there_is_nothing_to_fall_back_to(three):
    for entry in checkpoints(three):
        harm(entry.path, "state.json")
    with pytest.raises(DamagedCheckpointError, match=r"epoch_001.*state.json is damaged") as damaged:
        resume(toy_learner(), three, fall_back=True)
    assert damaged.value.__notes__ == ["There is no checkpoint before it."]


def test_a_missing_checkpoint_is_an_error(tmp_path):
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(NoCheckpointError, match=r"There is no checkpoint at .*, nor in it.\nFix: pass the folder"):
            resume(toy_learner(), path)


def test_arguments_that_make_no_sense_are_refused(tmp_path):
    for function in (resume, save_run):
        with pytest.raises(ArgumentTypeError, match=r"learner must be an instance of Learner, got 'runs/digits'"):
            function("runs/digits", toy_learner())
        with pytest.raises(ArgumentTypeError, match=r"learner must be an instance of Learner, got Linear"):
            function(torch.nn.Linear(1, 1), tmp_path)
        for path in (None, 3, [tmp_path]):
            with pytest.raises(ArgumentTypeError, match=r"path must be a path, got .*\nFix: write, for example:\n    "):
                function(toy_learner(), path)
    with pytest.raises(ArgumentTypeError, match=r"fall_back must be an instance of bool, got 'yes'"):
        resume(toy_learner(), tmp_path, fall_back="yes")
    with pytest.raises(
        ArgumentTypeError, match=r"without must be a list, got 'Counter'.\nFix: .*\n    without=\['Counter'\]"
    ):
        resume(toy_learner(), tmp_path, without="Counter")


def test_the_weights_are_digested_once_while_they_are_saved_and_once_while_they_are_read(tmp_path, monkeypatch):
    tensors, files = [], []
    of_tensors, of_file = tensor_file.digest, manifest.digest
    monkeypatch.setattr(
        tensor_file, "digest", lambda named, notes, **like: tensors.extend(named) or of_tensors(named, notes, **like)
    )
    monkeypatch.setattr(manifest, "digest", lambda file: files.append(file.name) or of_file(file))
    save_run(toy_learner(), tmp_path / "run")
    assert (tensors.count("weight"), files) == (1, ["state.json"])
    resume(toy_learner(), tmp_path / "run")
    assert (tensors.count("weight"), files) == (2, ["state.json", "state.json"])
