"""The tutorials of loops of one's own: what each program shows, and that nothing is lost for going one's own way."""

import contextlib
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch.utils.data import DataLoader, Subset
from treadle import AbstractValidationPhase, Callback, CancelStepException, Learner, Read, TrainingPhase
from treadle.authoring import phase_label
from treadle_checkpoint import Checkpointer, checkpoints, resume
from treadle_device import GarbageCollect, ToDevice
from treadle_logging import LoggerBackend, LogHistograms, LogMetrics
from treadle_metrics import Metrics, Recorder, Traces
from treadle_optim import Accumulate
from treadle_progress import MetricsPrinter, ProgressPrinter
from treadle_sanity import SanityCheck
from treadle_stopping import EarlyStopping, NumberLimit, StopOnNaNLoss

DOCS = Path(__file__).parents[1] / "docs"
PAGES = {"gan": "gan.md", "self_supervised": "self-supervised.md", "accumulation": "accumulation.md"}
PAGES["truncated_backpropagation"] = "truncated-backpropagation.md"

each_program = pytest.mark.parametrize("name", PAGES)


def source(name: str) -> str:
    return (DOCS / "examples" / f"{name}.py").read_text(encoding="utf-8")


@cache
def definitions(name: str) -> dict[str, Any]:
    """What a program imports and defines; once for all tests, so that a phase is of one class."""
    namespace: dict[str, Any] = {"__name__": f"tutorial_{name}"}
    exec(source(name).partition("torch.manual_seed")[0], namespace)
    return namespace


class Program:
    """A program as a test runs it: its learner, its call of `fit`, and what else it has."""

    def __init__(self, name: str, folder: Path) -> None:
        self.names = dict(definitions(name))
        before, call, after = source(name).rpartition("learner.fit(")
        folder.mkdir(parents=True)
        with contextlib.chdir(folder):
            exec(before[before.index("torch.manual_seed") :], self.names)
        self.folder, self.call, self.learner = folder, f"{call}{after}", self.names["learner"]
        named = re.search(r"phases=\[(.*)\]", after)
        self.phase = eval(named[1], self.names) if named else TrainingPhase()

    def fit(self, n: int | None = None) -> Any:
        """Do what the program does, or the same for `n` epochs."""
        call = self.call if n is None else re.sub(r"fit\(\d+", f"fit({n}", self.call)
        with contextlib.chdir(self.folder):
            return eval(call, self.names)

    def recorded(self) -> dict[str, Any]:
        """All that the callbacks recorded, as plain values."""
        return {name: entry.to_dict() for name, entry in self.learner.cbstate.items() if hasattr(entry, "to_dict")}

    def weights(self) -> list[torch.Tensor]:
        """The parameters and buffers of all models."""
        return [value for model in self.learner.models for value in model.state_dict().values()]


@pytest.fixture
def prepare(tmp_path):
    """Makes a program, in a folder of its own, up to its call of `fit`."""
    made = []

    def make(name: str) -> Program:
        made.append(name)
        return Program(name, tmp_path / str(len(made)))

    return make


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The programs after they ran, each run once."""

    @cache
    def run(name: str) -> Program:
        program = Program(name, tmp_path_factory.mktemp("tutorials") / name)
        program.result = program.fit()
        return program

    return run


def same(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


# What holds for each of them.


@each_program
def test_a_page_shows_its_program_and_nothing_but_it(name):
    page = (DOCS / "tutorials" / PAGES[name]).read_text(encoding="utf-8")
    assert re.search(r"```python\n(.*?)```", page, re.DOTALL)[1] == source(name)


@each_program
def test_a_program_has_less_than_60_lines(name):
    assert len(source(name).splitlines()) < 60


@each_program
def test_it_runs_to_its_end_with_unmodified_callbacks_beside_it(done, name):
    program = done(name)
    assert program.result.cancelled is None
    for kind in (Recorder, Metrics, MetricsPrinter, ProgressPrinter, StopOnNaNLoss, Checkpointer):
        assert program.learner.get_callback(kind) is not None


@each_program
def test_a_batch_is_one_step_however_many_updates_it_takes(done, name):
    program = done(name)
    progress, history = program.learner.progress, program.learner.cbstate.history[program.phase]
    batches = len(program.learner.data.training)
    assert (progress.steps, history.steps, program.result.steps) == (history.epochs * batches,) * 3
    assert (progress.epochs, program.result.epochs, history.steps_epoch) == (history.epochs, history.epochs, batches)
    steps = program.learner.cbstate.metricsstep[program.phase]["Accuracy"].iterations
    assert list(steps) == list(range(1, progress.steps + 1))


@each_program
def test_what_was_saved_last_is_what_the_models_are(done, name):
    program = done(name)
    (folder,) = (program.folder / "runs" / name).iterdir()
    newest = checkpoints(folder)[-1]
    again = Program(name, program.folder / "again")
    resume(again.learner, newest.path)
    assert newest.steps == program.learner.progress.steps
    assert same(again.weights(), program.weights())


@each_program
def test_the_order_of_the_callbacks_changes_nothing(prepare, name):
    first, second = prepare(name), prepare(name)
    second.learner.set_callbacks(reversed(second.learner.callbacks))
    for program in (first, second):
        torch.manual_seed(1)
        program.fit(1)
    assert same(first.weights(), second.weights())
    assert first.recorded() == second.recorded()


@each_program
def test_a_run_that_is_resumed_anywhere_is_as_one_that_never_stopped(prepare, name, tmp_path):
    whole = prepare(name)
    whole.learner.replace_callback(Checkpointer(tmp_path / "saved", every_steps=7))
    torch.manual_seed(1)
    whole.fit(2)
    saved = checkpoints(tmp_path / "saved")
    assert len(saved) == whole.learner.progress.steps // 7
    for checkpoint in saved:
        rest = prepare(name)
        rest.learner.remove_callback(Checkpointer)
        resume(rest.learner, checkpoint.path)
        assert rest.fit(2).steps == whole.learner.progress.steps - checkpoint.steps
        assert same(rest.weights(), whole.weights())
        assert rest.recorded() == whole.recorded()


@each_program
def test_it_follows_its_batches_to_where_they_are_moved(prepare, name):
    program = prepare(name)
    program.learner.add_callback(
        ToDevice(lambda data: data.double() if data.is_floating_point() else data, torch.nn.Module.double)
    )
    assert program.fit(1).epochs == 1
    assert {parameter.dtype for model in program.learner.models for parameter in model.parameters()} == {torch.float64}


class Nowhere(LoggerBackend):
    """Counts what it is given, by the kind."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def log(self, loggable: Any, name: str, i: int, group: tuple[str, ...]) -> None:
        self.counts["/".join(group)] += 1


@pytest.mark.parametrize(
    ("name", "weights", "gradients"),
    [
        ("gan", 12 * 16, 12 * 6 + 6 * 10),  # those of each update: the generator's in every second step
        ("self_supervised", 5 * 8, 5 * 4),  # the momentum encoder has none
        ("accumulation", 23 * 4, 23 * 4),
    ],
)
def test_callbacks_that_were_not_made_for_it_work_in_it(prepare, name, weights, gradients):
    program, backend = prepare(name), Nowhere()
    phase = type(program.phase)
    stop = EarlyStopping(NumberLimit(2), train_phase=AbstractValidationPhase, test_phase=phase, monitor="Accuracy")
    watchers = [LogMetrics(backend), LogHistograms(backend, freq=5, gradients=True), GarbageCollect(20), SanityCheck()]
    program.learner.set_callbacks([*program.learner.callbacks, stop, *watchers])
    result = program.fit()
    assert (result.epochs, result.cancelled.callback) == (2, stop)
    assert backend.counts[f"Epoch/{phase_label(program.phase)}/Metrics"] == (2 if name == "gan" else 4)
    assert backend.counts["Step/Histograms/Weights"] == weights
    assert backend.counts["Step/Histograms/Gradients"] == gradients


# The GAN.


def critic_accuracy(program: Program) -> list[float]:
    return list(program.learner.cbstate.metricsepoch[program.phase]["Accuracy"].values)


def test_the_generator_comes_close_to_the_digits_and_the_critic_separates_them_less_and_less(done):
    program = done("gan")
    images, generator = program.names["images"], program.learner.model.generator.eval()
    with torch.no_grad():
        fakes = generator(torch.randn(1000, 16, generator=torch.Generator().manual_seed(0)))
    assert (fakes.mean(0) - images.mean(0)).abs().mean() < 0.1  # 0.27 before
    accuracy = critic_accuracy(program)
    assert accuracy[0] > 0.9
    assert 0.4 < accuracy[-1] < 0.75


def test_each_optimizer_has_a_counter_of_its_own_in_the_trace_of_its_loss(done):
    program = done("gan")
    traces = program.learner.cbstate.tracehistory[program.phase]
    assert list(traces["critic"].iterations) == list(range(1, 871))
    assert list(traces["generator"].iterations) == list(range(1, 871, 2))
    for name, optimizer in program.learner.optimizer.items():
        assert {state["step"].item() for state in optimizer.state.values()} == {len(traces[name])}


def by_hand(models, optimizers, lossfn, loader, n_critic, epochs):
    """The same training as a loop of one's own."""
    generator, critic = models["generator"], models["critic"]
    for i, images in enumerate(batch for _ in range(epochs) for batch in loader):
        fakes = generator(torch.randn(len(images), 16))
        real, fake = torch.ones(len(images), dtype=int), torch.zeros(len(images), dtype=int)
        optimizers["critic"].zero_grad()
        lossfn(critic(torch.cat([images, fakes.detach()])), torch.cat([real, fake])).backward()
        optimizers["critic"].step()
        if i % n_critic == 0:
            optimizers["generator"].zero_grad()
            lossfn(critic(fakes), real).backward()
            optimizers["generator"].step()


@pytest.mark.parametrize("n_critic", [1, 3])
def test_both_models_are_trained_as_by_the_loop_by_hand(prepare, n_critic):
    program, other = prepare("gan"), prepare("gan")
    for one in (program, other):
        one.learner.set_callbacks([])
    torch.manual_seed(1)
    program.learner.fit(2, phases=[program.names["GANTraining"](n_critic)])
    learner = other.learner
    torch.manual_seed(1)
    by_hand(learner.model, learner.optimizer, learner.lossfn, learner.data.training, n_critic, epochs=2)
    assert all(map(torch.equal, program.weights(), other.weights()))


@pytest.mark.parametrize("n_critic", [1, 3])
def test_the_critic_is_trained_n_times_for_each_step_of_the_generator(prepare, n_critic):
    program = prepare("gan")
    phase = program.names["GANTraining"](n_critic)
    with contextlib.chdir(program.folder):
        program.learner.fit(1, phases=[phase])
    counts = {name: len(series) for name, series in program.learner.cbstate.tracehistory[phase].items()}
    assert counts == {"critic": 29, "generator": -(-29 // n_critic)}


@pytest.mark.parametrize("name", ["critic", "generator"])
def test_a_loss_of_the_gan_that_is_not_finite_reaches_the_weights_of_neither_model(prepare, name):
    program = prepare("gan")
    learner, entropy = program.learner, torch.nn.CrossEntropyLoss()

    def lossfn(yhats, ys):  # the critic is asked about digits and others, the generator about others alone
        poison = learner.progress.steps == 4 and ys.all() == (name == "generator")
        return entropy(yhats, ys) * (torch.nan if poison else 1.0)

    learner.lossfn = lossfn
    result = program.fit(1)
    assert result.steps == 4
    assert str(result.cancelled).startswith(f"The training {name}_loss is nan.")
    updates = {key: next(iter(one.state.values()))["step"].item() for key, one in learner.optimizer.items()}
    assert updates == {"critic": 4 if name == "critic" else 5, "generator": 2}
    assert all(weight.isfinite().all() for weight in program.weights())


def test_a_schedule_of_one_optimizer_leaves_the_other_alone(done):
    learner = done("gan").learner
    rates = learner.cbstate.hyperparams["LearningRate[critic]"]
    assert (len(rates), rates.values[0]) == (870, 1e-3)
    assert learner.optimizer.critic.param_groups[0]["lr"] == rates.values[-1] == pytest.approx(3e-4, rel=0.01)
    assert learner.optimizer.generator.param_groups[0]["lr"] == 1e-3


# The momentum encoder.


def probed(encoder: torch.nn.Module, images: torch.Tensor) -> float:
    """The accuracy of a linear model of the features, fitted to 100 labels, for 497 digits it has not seen."""
    with torch.no_grad():
        features = encoder(images)
    features = ((features - features.mean(0)) / features.std(0)).numpy()
    labels = load_digits().target
    return LogisticRegression(max_iter=1000).fit(features[:100], labels[:100]).score(features[1300:], labels[1300:])


def test_features_learned_without_labels_beat_those_of_a_random_network_and_the_pixels(done, prepare):
    program = done("self_supervised")
    images, model = program.names["images"], program.learner.model
    random = probed(prepare("self_supervised").learner.model.online, images)
    for encoder in (model.online, model.momentum):
        assert probed(encoder, images) > random + 0.1


def test_the_momentum_encoder_is_a_moving_average_of_the_online_encoder(prepare):
    program = prepare("self_supervised")
    learner = program.learner
    average = learner.model.momentum[1].bias[0].item()
    bias = Traces({"bias": lambda learner: learner.model.online[1].bias[0]}, state_access={"model": Read})
    learner.add_callback(bias)
    program.fit(1)
    for value in learner.cbstate.tracehistory[program.phase]["bias"].values:
        average += 0.01 * (value - average)
    assert learner.model.momentum[1].bias[0].item() == pytest.approx(average, abs=1e-7)


def test_a_reader_of_the_models_comes_after_a_writer_of_one_of_them(prepare):
    learner = prepare("self_supervised").learner
    learner.add_callback(Traces({"weight": lambda learner: 0}, state_access={"model": Read}))
    reasons = {(before.name, after.name): reason for before, after, reason, _ in learner.plan().edges}
    assert reasons["MomentumEncoder", "Traces"] == "Traces reads `model`, and MomentumEncoder writes `model.momentum`"


# Accumulation.


def accumulating(program: Program, n: int) -> None:
    program.learner.replace_callback(Accumulate(n, weight="rows"))


def trained(program: Program, size: int, rows: Sequence[int]) -> Learner:
    """The program's learner after an epoch over some rows of its data, in batches of such a size."""
    loader = DataLoader(Subset(program.names["digits"], rows), size)
    with contextlib.chdir(program.folder):
        program.learner.fit(1, (loader,))
    return program.learner


@pytest.mark.parametrize(
    ("rows", "n"),
    [
        (64, 2),  # one update, of 32 and 32
        (5 * 64, 2),
        (5 * 64 + 36, 2),  # the last update is of 32 and 4
        (5 * 64 + 5, 2),  # the last update is of 5
        (4 * 64 + 32, 2),
        (4 * 96 + 88, 3),  # the last update is of 32, 32 and 24
    ],
)
def test_gradients_of_several_batches_are_those_of_the_big_batch(prepare, rows, n):
    one, several = prepare("accumulation"), prepare("accumulation")
    one.learner.remove_callback(Accumulate)
    accumulating(several, n)
    big = trained(one, 32 * n, range(rows))
    small = trained(several, 32, range(rows))
    for name, gradient in big.grads.items():
        assert gradient.abs().max() > 1e-4
        assert (small.grads[name] - gradient).abs().max() < 1e-6
        assert (small.params[name] - big.params[name]).abs().max() < 1e-6


def test_the_loss_that_is_recorded_is_that_of_the_batch_alone(prepare):
    program, untrained = prepare("accumulation"), prepare("accumulation").learner
    xs, ys = program.names["digits"][:64]
    losses = [untrained.lossfn(untrained.model(xs[rows]), ys[rows]).item() for rows in (slice(32), slice(32, 64))]
    learner = trained(program, 32, range(64))
    assert list(learner.cbstate.metricsstep[TrainingPhase()]["Loss"].values) == pytest.approx(losses, abs=1e-6)


def test_a_step_that_is_cancelled_before_its_backward_pass_leaves_the_gradients_of_its_update(prepare):
    class Skip(Callback):
        def on_backward_begin(self, learner):
            if learner.progress.step == 2:
                raise CancelStepException("The second batch is not to be used.")

    one, several = prepare("accumulation"), prepare("accumulation")
    one.learner.remove_callback(Accumulate)
    several.learner.add_callback(Skip())
    small = trained(several, 32, range(160))  # an update of the first and the third batch, one of the two after them
    big = trained(one, 64, [*range(32), *range(64, 160)])
    for name, parameter in big.params.items():
        assert (small.params[name] - parameter).abs().max() < 1e-6


def test_it_is_resumed_between_two_batches_of_an_update(prepare, tmp_path):
    whole = prepare("accumulation")
    whole.learner.replace_callback(Checkpointer(tmp_path / "saved", every_steps=1))
    trained(whole, 32, range(5 * 32))
    for checkpoint in checkpoints(tmp_path / "saved"):
        rest = prepare("accumulation")
        rest.learner.remove_callback(Checkpointer)
        resume(rest.learner, checkpoint.path)
        trained(rest, 32, range(5 * 32))
        assert same(rest.weights(), whole.weights())
