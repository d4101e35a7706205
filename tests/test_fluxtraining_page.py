"""docs/fluxtraining.md has every name of FluxTraining.jl, and an example of everything that it names."""

import importlib
import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "fluxtraining.md").read_text(encoding="utf-8")
ROWS = [
    (row[1], row[2])
    for row in re.finditer(r"^\| (.+?) \| (.+) \|$", PAGE, re.MULTILINE)
    if "FluxTraining" not in row[1]
]
CODE = "\n".join(re.findall(r"^```(?:python|pycon)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))

# What the reference of FluxTraining.jl 0.3 lists, its submodules Phases, Events, Loggables and ES included.
ANCESTOR = re.findall(
    r"\S+",
    """
AbstractCallback AbstractMetric Callback CallbackCondition CallbackRunner CancelEpochException CancelFittingException
CancelStepException Checkpointer ConditionalCallback ConflictResolution CustomCallback EarlyStopping FitException
FrequencyThrottle GarbageCollect History HyperParameter Learner LearningRate LinearRunner LogHistograms LogHyperParams
LogMetrics LogTraces LogVisualization LoggerBackend Loss Metric Metrics MetricsPrinter NoConflict NotDefined
ProgressPrinter PropDict ProtectedException Read Recorder RunFirst SafeCallback SanityCheck SanityCheckException Check
CHECKS Scheduler SmoothLoss StopOnNaNLoss TensorBoardBackend TimeThrottle ToDevice ToGPU Traces Unresolvable Write
accesses accuracy addcallback! callbackgraph edgesrunafter epoch! epochvalue fit! getcallback gethyperparameter init!
iterpairs loadmodel log_to metricname on onecycle process_top_k_checkpoints removecallback! replacecallback! reset!
resolveconflict runafter runepoch runstep runtests savemodel setcallbacks! sethyperparameter! shouldrun stateaccess
step! stepvalue testlearner throttle

Phase AbstractTrainingPhase TrainingPhase AbstractValidationPhase ValidationPhase
Event EpochBegin EpochEnd StepBegin StepEnd LossBegin BackwardBegin BackwardEnd
Loggable Value Text Image Audio Histogram Graph File
Disjunction InvalidValue TimeLimit NumberLimit NumberSinceBest Patience Threshold GL PQ UP Never EarlyStopper done!
message stopping_time

model optimizer lossfn data params step callbacks cbstate xs ys ŷs loss grads
usedefaultcallbacks cbrunner trainphase testphase usedefault keep_top_k
""",
)

PACKAGES = [
    *("treadle", "treadle.testing", "treadle_checkpoint", "treadle_device", "treadle_logging", "treadle_metrics"),
    *("treadle_progress", "treadle_sanity", "treadle_schedule", "treadle_stopping", "treadle_tensorboard"),
]


def words(text: str) -> set[str]:
    """The names in code spans, with the `!` that Julia's may end with."""
    spans = re.findall(r"`([^`]+)`", text)
    return {word for span in spans for word in re.findall(r"[^\W\d]\w*!?", span)}


def test_every_name_of_the_ancestor_stands_in_a_table() -> None:
    named = set.union(*(words(left) for left, _ in ROWS))
    assert sorted(set(ANCESTOR) - named) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_in_a_table_is_used_in_an_example(package: str) -> None:
    promised = set.union(*(words(cell) for row in ROWS for cell in row))
    public = set(importlib.import_module(package).__all__)
    assert promised & public
    assert sorted(name for name in promised & public if not re.search(rf"\b{name}\b", CODE)) == []
