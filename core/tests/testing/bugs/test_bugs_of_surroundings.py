"""Callbacks that change what they do not declare: settings, generators, hooks, data, other callbacks."""

import os
import random
import signal

import numpy
import pytest
import torch
from treadle import AbstractTrainingPhase, Callback, Read, Write, hookimpl
from treadle.testing.comparison.settings import SETTINGS


def at_fit_begin(name, change) -> type[Callback]:
    """A callback that changes a setting when a fit begins and leaves it."""

    def on_fit_begin(self):
        change()

    return type(name, (Callback,), {"on_fit_begin": on_fit_begin})


Dtype = at_fit_begin("Dtype", lambda: torch.set_default_dtype(torch.float64))
NoGradients = at_fit_begin("NoGradients", lambda: torch.set_grad_enabled(False))
Meta = at_fit_begin("Meta", lambda: torch.set_default_device("meta"))
Deterministic = at_fit_begin("Deterministic", lambda: torch.use_deterministic_algorithms(True))
Threads = at_fit_begin("Threads", lambda: torch.set_num_threads(torch.get_num_threads() + 1))
Precision = at_fit_begin("Precision", lambda: torch.set_float32_matmul_precision("medium"))
Benchmark = at_fit_begin("Benchmark", lambda: setattr(torch.backends.cudnn, "benchmark", True))
Autocast = at_fit_begin("Autocast", lambda: torch.set_autocast_enabled("cpu", True))
Anomalies = at_fit_begin("Anomalies", lambda: torch.autograd.set_detect_anomaly(True))
Folder = at_fit_begin("Folder", lambda: os.chdir("/"))
Signal = at_fit_begin("Signal", lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN))


class NotPutBack(Callback):
    """Lowers the number of threads for a fit, and forgets what it was."""

    def on_fit_begin(self):
        torch.set_num_threads(torch.get_num_threads() + 1)

    def on_fit_end(self):
        pass


class LeavesDtype(Callback):
    """Wraps the forward pass, and never sets back what it set."""

    @hookimpl(wrapper=True)
    def forward(self):
        torch.set_default_dtype(torch.float64)
        return (yield)


class Listens(Callback):
    """Listens to the model from the first epoch on."""

    state_access = {"model": Read}

    def on_fit_begin(self, learner):
        learner.model.register_forward_hook(lambda *args: None)


class Rounds(Callback):
    """Sets an attribute of a module that it may only read."""

    state_access = {"model": Read}

    def on_epoch_begin(self, learner, phase: AbstractTrainingPhase):
        learner.model.rounds = learner.progress.epoch


class Data(Callback):
    """Scales the data set each time."""

    state_access = {"data": Read}

    def on_epoch_begin(self, learner, phase: AbstractTrainingPhase):
        learner.data.training[0][0].mul_(2)


class InPlace(Callback):
    """Scales each batch in place, and with it the data set."""

    state_access = {"step.xs": Write}

    def on_step_begin(self, learner):
        learner.step.xs.mul_(2)


class Counts(Callback):
    """A callback that counts."""

    count = 0

    def __init__(self):
        self.count = 0

    def on_step_end(self):
        pass


class Meddles(Callback):
    """Sets another callback's attribute."""

    state_access = {"callbacks": Read}

    def on_step_end(self, learner):
        for callback in learner.callbacks:
            if isinstance(callback, Counts):
                callback.count += 1


class Reads(Callback):
    """Changes an entry of `cbstate` that it may only read."""

    state_access = {"cbstate.values": Read}

    def on_epoch_end(self, learner):
        learner.cbstate["values"].append(1)


class Values(Callback):
    """Keeps values for others."""

    state_access = {"cbstate.values": Write}

    def on_init(self, learner):
        learner.cbstate["values"] = []


class Evaluates(Callback):
    """Sets a mode that it may only read."""

    state_access = {"model": Read}

    def on_step_begin(self, learner, phase: AbstractTrainingPhase):
        learner.model.eval()


class Steps(Callback):
    """Changes a parameter that it may only read."""

    state_access = {"params": Read}

    def on_step_end(self, learner, phase: AbstractTrainingPhase):
        for parameter in learner.params.values():
            parameter.detach().mul_(0.5)


class Samples(Callback):
    """Draws from torch's generator."""

    def on_epoch_begin(self):
        torch.rand(1)


class Seeds(Callback):
    """Sets the seed in each epoch."""

    def on_epoch_begin(self, phase: AbstractTrainingPhase):
        torch.manual_seed(0)


class Shuffles(Callback):
    """Draws from Python's generator."""

    def on_step_end(self):
        random.random()


class Doubles(Callback):
    """Changes what the model returns, on the main process alone."""

    main_process_only = True

    @hookimpl(wrapper=True)
    def forward(self, phase: AbstractTrainingPhase):
        return 2 * (yield)


class Arrays(Callback):
    """Draws from NumPy's generator."""

    def on_step_end(self):
        numpy.random.rand()


class FirstInTheList(Callback):
    """Looks at a place in the list of callbacks."""

    state_access = {"callbacks": Read, "cbstate.first": Write}

    def on_fit_begin(self, learner):
        learner.cbstate.first = next(iter(learner.callbacks)) is self


class Shared(Callback):
    """Counts for all callbacks of its class at once."""

    state_access = {"cbstate.total": Write}
    counts: list[int] = []

    def on_step_end(self, learner):
        self.counts.append(1)
        learner.cbstate.total = len(self.counts)


class Validation(Callback):
    """Counts batches that need not be there."""

    state_access = {"data": Read}

    def on_fit_begin(self, learner):
        self.count = len(learner.data.validation)


class KnownPhases(Callback):
    """Looks for a phase by its name."""

    def on_epoch_begin(self, phase):
        self.color = {"TrainingPhase": "red", "ValidationPhase": "blue"}[type(phase).__name__]


def left(name: str) -> str:
    return rf"changed what \w+ does not declare `Write`:\n  {name} was changed\.\n"


BUGS = [
    (Dtype, "audit", left("torch's default dtype"), "torch.zeros(3, dtype=torch.float64)"),
    (NoGradients, "audit", left("torch's gradient mode"), "with torch.no_grad(): ..."),
    (Meta, "audit", left("torch's default device"), "with torch.device(device): ..."),
    (Deterministic, "audit", left("torch's deterministic algorithms"), "torch.use_deterministic_algorithms(before)"),
    (Threads, "audit", left("torch's number of threads"), "finally: torch.set_num_threads(before)"),
    (Precision, "audit", left("torch's precision of float32 products"), "torch.set_float32_matmul_precision(before)"),
    (Benchmark, "audit", left("the flags of cuDNN"), "with torch.backends.cudnn.flags(benchmark=True): ..."),
    (Autocast, "audit", left("torch's autocast"), 'with torch.autocast("cpu"):'),
    (Anomalies, "audit", left("torch's anomaly detection"), "with torch.autograd.detect_anomaly(): ..."),
    (Folder, "audit", left("the working directory"), "pathlib.Path(folder).resolve()"),
    (Signal, "audit", left("the handlers of signals"), "put them back in on_fit_end"),
    (
        NotPutBack,
        "audit",
        "on_fit_end .*\n.*number of threads was changed in on_fit_begin and not put back",
        "finally: ",
    ),
    (LeavesDtype, "audit", r"^LeavesDtype\.forward changed .*\n  torch's default dtype was changed\.", "dtype="),
    (Listens, "audit", r"the hooks of modules in `model` was changed\.", '"model": Write'),
    (Rounds, "audit", r"the attribute `rounds` of `model` was (added|changed)\.", '"model": Write'),
    (Data, "audit", r"a tensor of `data\.training` was changed in place\.", "learner.step.xs = 2 * learner.step.xs"),
    (InPlace, "audit", r"a tensor of `data\.training` was changed in place\.", "learner.step.xs = 2 * learner.step.xs"),
    (Meddles, "audit", "the attribute `count` of Counts was changed", "learner.cbstate.value = ..."),
    (Reads, "audit", r"`cbstate\.values` was changed\.", '"cbstate.values": Write'),
    (Evaluates, "audit", "a training mode in `model` was changed", '"model": Write'),
    (Steps, "audit", r"`params\.weight` was changed in place\.", '"params": Write'),
    (Samples, "watching", "^After step 1 the weights are different from those without it", "torch.Generator()"),
    (Seeds, "watching", r"^After step \d the weights are different from those without it", "torch.Generator()"),
    (Shuffles, "watching", "^After the fit the random generators are in another state", "random.Random()"),
    (Doubles, "watching", "^The training is another one with it, and it takes part on the main", "_only = False"),
    (Arrays, "watching", "^After the fit the random generators are in another state", "random.Random()"),
    (
        FirstInTheList,
        "runners",
        r"^With the list of callbacks turned around, .* `cbstate\.first` differ",
        "run_after = (",
    ),
    (Shared, "runners", r"^In a second run just like the first, .* `cbstate\.total` differ", "depend on nothing but"),
    (Validation, "setups", "^It fails without validation data:\n.*There is no `validation` here", "refuse it before"),
    (KnownPhases, "setups", "^It fails in phases of other authors.*:\nKeyError: 'OwnTraining'", "refuse it before"),
]
PARTNERS = {Meddles: [Counts], Reads: [Values]}


@pytest.fixture
def surroundings(tmp_path):
    """Put back what the bugs leave."""
    threads, folder, handler = torch.get_num_threads(), os.getcwd(), signal.getsignal(signal.SIGTERM)
    yield
    os.chdir(folder)
    torch.set_num_threads(threads)
    signal.signal(signal.SIGTERM, handler)
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)
    torch.set_grad_enabled(True)
    torch.use_deterministic_algorithms(False)
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.benchmark = False
    torch.set_autocast_enabled("cpu", False)
    torch.autograd.set_detect_anomaly(False)


@pytest.mark.filterwarnings("ignore:Anomaly Detection has been enabled")
@pytest.mark.parametrize(("bug", "check", "cause", "fix"), BUGS, ids=lambda value: getattr(value, "__name__", ""))
def test_the_bug_is_found_with_its_cause_and_its_fix(bug, check, cause, fix, found, surroundings):
    result = found(bug, check, partners=PARTNERS.get(bug, ()))
    assert result.outcome == "failed", result
    with pytest.raises(AssertionError, match=cause):
        raise AssertionError(result.detail)
    assert "Fix: " in result.detail
    assert fix in result.detail


def test_each_setting_has_a_bug():
    causes = " ".join(cause for _, check, cause, _ in BUGS if check == "audit")
    assert [setting.what for setting in SETTINGS if setting.what not in causes] == ["torch's inference mode"]


# What is a remark.


class Item(Callback):
    state_access = {"step.loss": Read}

    def on_step_end(self, learner, phase: AbstractTrainingPhase):
        self.value = learner.step.loss.item()


class Float(Callback):
    state_access = {"step.loss": Read}

    def on_backward_begin(self, learner):
        self.value = float(learner.step.loss.detach())


class Condition(Callback):
    state_access = {"step.loss": Read}

    def on_step_end(self, learner, phase: AbstractTrainingPhase):
        if learner.step.loss > 1e6:
            raise ValueError("diverged")


class Text(Callback):
    state_access = {"step.loss": Read}

    def on_step_end(self, learner, phase: AbstractTrainingPhase):
        self.text = f"{learner.step.loss:.3f}"


class Wrapped(Callback):
    state_access = {"step.loss": Read}

    @hookimpl(wrapper=True)
    def loss(self, phase: AbstractTrainingPhase):
        loss = yield
        self.value = loss.tolist()
        return loss


@pytest.mark.parametrize("callback", [Item, Float, Condition, Text, Wrapped])
def test_a_number_that_is_taken_in_every_step_is_a_remark(callback, found):
    result = found(callback, "training")
    assert result.outcome == "passed"
    (remark,) = result.remarks
    assert "takes a number from a tensor in every step, and on an accelerator the step waits for it." in remark
    assert "from treadle.authoring import DeviceNumber" in remark


def test_a_number_that_is_taken_now_and_then_is_none(found):
    class Rare(Callback):
        state_access = {"step.loss": Read}

        def on_epoch_end(self, learner):
            self.value = learner.step.loss.item()

    assert found(Rare, "training").remarks == ()


def test_several_models_that_are_not_supported_are_a_remark(found):
    class Weight(Callback):
        state_access = {"params": Read}

        def on_step_end(self, learner):
            self.norm = learner.params["weight"].detach().norm()

    result = found(Weight, "setups")
    assert result.outcome == "passed"
    assert result.remarks[0].startswith("Several models are not supported:\nKeyError: ")
    assert "named_tensors(learner.params)" in result.remarks[0]


def test_a_phase_of_the_core_alone_is_a_remark(found):
    from treadle import TrainingPhase, ValidationPhase

    class Exact(Callback):
        def on_step_end(self, phase: TrainingPhase | ValidationPhase):
            pass

    training, validation = found(Exact, "setups").remarks
    assert training == (
        "on_step_end is called in TrainingPhase and its subclasses, and not in phases of other authors.\n"
        "Fix: where any phase of that sort would do, annotate:\n    phase: AbstractTrainingPhase"
    )
    assert validation.endswith("phase: AbstractValidationPhase")


def test_what_a_callback_refuses_by_name_is_a_remark(found):
    from treadle.errors import ArgumentValueError

    class Needs(Callback):
        state_access = {"data": Read}

        def on_fit_begin(self, learner):
            if "validation" not in learner.data:
                raise ArgumentValueError("Needs has no validation data.\nFix: pass them.")

    (remark,) = found(Needs, "setups").remarks
    assert remark.startswith("It refuses to work without validation data:\nNeeds has no validation data.")
