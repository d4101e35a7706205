"""`learner.evaluate` and `learner.predict` beside the first-party callbacks: who takes part, and nothing changes."""

import io
import re

import pytest
import torch
import treadle_metrics
from torch import nn
from treadle import Learner, TrainingPhase, ValidationPhase, toy_learner
from treadle.errors import ArgumentValueError
from treadle_amp import MixedPrecision
from treadle_checkpoint import Checkpointer, checkpoints, resume, save_run
from treadle_device import ToDevice
from treadle_logging import CSVBackend, LogHistograms, LogMetrics
from treadle_metrics import AbstractMetric, Metric, Metrics, Recorder, Traces, accuracy
from treadle_optim import EMA, SWA, Accumulate, Lookahead
from treadle_progress import MetricsPrinter, ProgressPrinter
from treadle_sanity import SanityCheck
from treadle_schedule import ReduceOnPlateau
from treadle_stopping import EarlyStopping, NumberLimit, StopOnNaNLoss


def rows(learner: Learner) -> int:
    return len(learner.step.xs)


def mean_output(yhats, ys):
    return yhats.float().mean()


def learner_of(*callbacks, **options) -> Learner:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    generator = torch.Generator().manual_seed(1)
    xs = torch.randn(24, 3, generator=generator)
    ys = (xs.sum(1) > 0).long()
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(xs, ys), 8, shuffle=True, generator=torch.Generator().manual_seed(2)
    )
    options = {"data": (loader, [(xs, ys)]), "use_default_callbacks": False, **options}
    return Learner(model, nn.CrossEntropyLoss(), callbacks=callbacks, **options)


# What is measured.


def test_the_loss_comes_first_then_the_metrics_of_the_learner_then_those_that_are_passed() -> None:
    learner = learner_of(Recorder(), Metrics(accuracy, Metric(mean_output, name="Mean")))
    assert list(learner.evaluate(None, Metric(mean_output, name="Another"))) == ["Loss", "Accuracy", "Mean", "Another"]


def test_the_values_are_those_that_validation_records() -> None:
    learner = learner_of(Recorder(), Metrics(accuracy))
    learner.fit(1)
    recorded = learner.cbstate.metricsepoch[ValidationPhase()]
    assert learner.evaluate() == {name: series.last[1] for name, series in recorded.items()}


def test_without_metrics_in_the_learner_those_that_are_passed_are_measured_all_the_same() -> None:
    learner = learner_of()
    assert list(learner.evaluate(None, accuracy)) == ["Loss", "Accuracy"]
    assert learner.evaluate(None, accuracy)["Loss"] == pytest.approx(learner.evaluate()["Loss"])


def test_a_metric_that_is_passed_replaces_the_one_of_its_name() -> None:
    learner = learner_of(Recorder(), Metrics(accuracy))
    assert learner.evaluate(None, Metric(lambda yhats, ys: 7.0, name="Accuracy"))["Accuracy"] == 7.0


def test_two_metrics_of_one_name_are_refused() -> None:
    with pytest.raises(ArgumentValueError, match="There are 2 metrics with the name 'Accuracy'"):
        learner_of().evaluate(None, accuracy, accuracy)


def test_two_columns_of_one_name_are_refused() -> None:
    def both(yhats, ys):
        return {"Mean": 1.0}

    with pytest.raises(treadle_metrics.MetricError, match=r"Two metrics both have the column 'Mean'.\nFix: give it"):
        learner_of().evaluate(None, both, Metric(mean_output, name="Mean"))


def test_a_metric_that_is_passed_and_has_no_targets_to_compare_with_is_refused() -> None:
    class WithLoss(nn.Linear):
        def forward(self, xs, labels):
            outputs = super().forward(xs)
            return {"loss": nn.functional.cross_entropy(outputs, labels), "outputs": outputs}

    data = [{"xs": torch.ones(2, 3), "labels": torch.zeros(2, dtype=torch.long)}]
    learner = Learner(WithLoss(3, 2), None, data=(data,), use_default_callbacks=False)
    message = (
        r"The metric 'Accuracy' was passed to `evaluate` and measured nothing: .*\n.*\n    Learner\(\.\.\., split="
    )
    with pytest.raises(treadle_metrics.MetricError, match=message):
        learner.evaluate(data, accuracy)


def test_metrics_of_validation_are_measured_and_those_of_training_are_not() -> None:
    metrics = Metrics(Metric(accuracy, phase=ValidationPhase), Metric(mean_output, phase=TrainingPhase))
    assert list(learner_of(Recorder(), metrics).evaluate()) == ["Loss", "Accuracy"]


def test_the_metrics_of_the_run_are_not_used_up() -> None:
    class Counting(AbstractMetric):
        count = 0

        def reset(self):
            self.count = 0

        def step(self, learner, phase):
            self.count += 1

        def step_value(self):
            return self.count

        epoch_value = step_value

    counting = Counting()
    learner = learner_of(Recorder(), Metrics(counting))
    learner.fit(1)
    assert learner.evaluate(learner.data.training)["Counting"] == 3
    assert counting.count == 1


# With which weights, where, and in which precision.


@pytest.mark.parametrize("average", [lambda: EMA(0.5), lambda: SWA(start=1)])
def test_the_averaged_weights_are_used_and_the_trained_ones_are_there_again(average) -> None:
    learner = learner_of(callback := average())
    learner.fit(2)
    xs, ys = learner.data.validation[0]
    trained = [p.clone() for p in learner.model.parameters()]
    averaged = callback.model().eval()
    with torch.no_grad():
        expected = averaged(xs)
    assert torch.equal(learner.predict([xs]), expected)
    assert learner.evaluate([(xs, ys)])["Loss"] == pytest.approx(nn.functional.cross_entropy(expected, ys).item())
    assert not torch.equal(learner.model.eval()(xs), expected)
    assert all(torch.equal(p, before) for p, before in zip(learner.model.parameters(), trained, strict=True))


def test_forward_runs_in_mixed_precision_and_batches_are_moved() -> None:
    learner = learner_of(MixedPrecision("bf16"), ToDevice(lambda tensor: tensor + 1, lambda model: model))
    xs, _ = learner.data.validation[0]
    outputs = learner.predict([xs])
    assert outputs.dtype == torch.bfloat16
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(outputs, learner.model.eval()(xs + 1))


# Nothing changes.


def everything(folder):
    file = io.StringIO()
    return file, [
        Recorder(),
        Metrics(accuracy),
        Traces({"rows": rows}),
        MetricsPrinter(file=file),
        StopOnNaNLoss(),
        EarlyStopping(NumberLimit(50)),
        ReduceOnPlateau(),
        LogMetrics(CSVBackend(folder / "metrics.csv")),
        LogHistograms(CSVBackend(folder / "histograms.csv"), freq=2),
        SanityCheck(),
        EMA(0.9),
        Lookahead(k=2),
        Accumulate(2),
        MixedPrecision("fp16"),
        ToDevice("cpu"),
        Checkpointer(folder / "checkpoints"),
    ]


def test_no_record_log_checkpoint_criterion_or_schedule_sees_it(tmp_path) -> None:
    def run(folder, between):
        file, callbacks = everything(folder)
        learner = learner_of(*callbacks)
        for _ in range(2):
            between(learner)
            learner.fit(1)
            printed, names = file.getvalue(), [c.path.name for c in checkpoints(folder / "checkpoints")]
            between(learner)
            assert file.getvalue() == printed
            assert [c.path.name for c in checkpoints(folder / "checkpoints")] == names
        save_run(learner, folder / "saved")
        logs = [(folder / f"{name}.csv").read_bytes() for name in ("metrics", "histograms")]
        return learner, printed, names, logs

    def evaluate(learner):
        learner.evaluate(learner.data.training, steps=2)
        learner.predict(learner.data.training)

    plain, *first = run(tmp_path / "first", lambda learner: None)
    learner, *second = run(tmp_path / "second", evaluate)
    assert first == second
    assert repr(plain.cbstate) == repr(learner.cbstate)
    assert plain.cbstate.history == learner.cbstate.history
    assert all(torch.equal(p, q) for p, q in zip(plain.model.parameters(), learner.model.parameters(), strict=True))
    states = [(tmp_path / name / "saved" / "state.json").read_text() for name in ("first", "second")]
    first_state, second_state = (re.sub(r'"run": "\w+"', "", state) for state in states)
    assert first_state == second_state


def test_between_resume_and_fit_the_saved_weights_are_evaluated_and_the_run_goes_on(tmp_path) -> None:
    def made():
        return learner_of(Recorder(), Metrics(), EMA(0.5), Checkpointer(tmp_path / "run", every_steps=2))

    learner = made()
    learner.fit(3)
    again = made()
    middle = next(c for c in checkpoints(tmp_path / "run") if c.steps == 4)
    resume(again, middle.path)
    assert again.evaluate()["Loss"] > learner.evaluate()["Loss"]
    assert again.fit(3).steps == 5
    assert all(torch.equal(p, q) for p, q in zip(learner.model.parameters(), again.model.parameters(), strict=True))


def test_a_progress_bar_shows() -> None:
    file = io.StringIO()
    learner = toy_learner(ProgressPrinter(file=file, mininterval=0))
    learner.evaluate(steps=4)
    learner.predict(learner.data.validation)
    assert "EvaluationPhase:  50%" in file.getvalue()
    assert "PredictionPhase:  50%" in file.getvalue()
    learner.fit(1)
    assert "Epoch 1 ValidationPhase" in file.getvalue()
    assert learner.callbacks[0].state_dict() == {"epochs": {"TrainingPhase": 1, "ValidationPhase": 1}}


def test_the_bar_of_an_evaluation_that_failed_is_gone_when_the_next_one_begins() -> None:
    bars = ProgressPrinter(file=io.StringIO(), mininterval=0)
    learner = toy_learner(bars)
    with pytest.raises(RuntimeError):
        learner.evaluate([(torch.ones(2, 3), torch.ones(2, 1))])
    learner.evaluate()
    assert bars._bars == []
