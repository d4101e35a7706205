"""Treadle: a training loop for PyTorch in which everything optional is a callback."""

from treadle.access import Permission, Read, Write, accesses
from treadle.callback import (
    Callback,
    ConflictResolution,
    CustomCallback,
    NoConflict,
    NotDefined,
    RunFirst,
    Unresolvable,
)
from treadle.dispatch.runners import CallbackRunner, LinearRunner
from treadle.dispatch.threaded_runner import ThreadedRunner
from treadle.errors import (
    AccessError,
    ArgumentError,
    ArgumentTypeError,
    ArgumentValueError,
    CallbackConflictError,
    CallbackError,
    CancelEpochException,
    CancelFittingException,
    CancelStepException,
    CancelUpdateException,
    DataError,
    FitException,
    LossError,
    PluginError,
    ProtectedException,
    TreadleError,
)
from treadle.events import (
    BackwardBegin,
    BackwardEnd,
    EpochBegin,
    EpochEnd,
    Event,
    FitBegin,
    FitEnd,
    LossBegin,
    StepBegin,
    StepEnd,
    UpdateBegin,
    UpdateEnd,
    hookimpl,
)
from treadle.learner import Learner, fit
from treadle.loop.data.stream import Stream
from treadle.loop.loop import epoch, run_epoch, run_step, step
from treadle.loop.progress import FitResult
from treadle.loop.update.run_update import run_update
from treadle.operations import Operation
from treadle.ordering.graph import callback_graph
from treadle.ordering.plan import Plan
from treadle.phases import (
    AbstractTrainingPhase,
    AbstractValidationPhase,
    EvaluationPhase,
    Phase,
    PredictionPhase,
    TrainingPhase,
    ValidationPhase,
)
from treadle.state.numbers.series import Series
from treadle.state.propdict import PropDict
from treadle.state.seed import Seeded, seed_everything
from treadle.testing.toy import toy_learner
from treadle.throttle import CallbackCondition, ConditionalCallback, FrequencyThrottle, TimeThrottle, throttle

#: The version of every distribution of this repository; their pyproject.toml read it here.
__version__ = "0.1.0"

__all__ = [
    "AbstractTrainingPhase",
    "AbstractValidationPhase",
    "AccessError",
    "ArgumentError",
    "ArgumentTypeError",
    "ArgumentValueError",
    "BackwardBegin",
    "BackwardEnd",
    "Callback",
    "CallbackCondition",
    "CallbackConflictError",
    "CallbackError",
    "CallbackRunner",
    "CancelEpochException",
    "CancelFittingException",
    "CancelStepException",
    "CancelUpdateException",
    "ConditionalCallback",
    "ConflictResolution",
    "CustomCallback",
    "DataError",
    "EpochBegin",
    "EpochEnd",
    "EvaluationPhase",
    "Event",
    "FitBegin",
    "FitEnd",
    "FitException",
    "FitResult",
    "FrequencyThrottle",
    "Learner",
    "LinearRunner",
    "LossBegin",
    "LossError",
    "NoConflict",
    "NotDefined",
    "Operation",
    "Permission",
    "Phase",
    "Plan",
    "PluginError",
    "PredictionPhase",
    "PropDict",
    "ProtectedException",
    "Read",
    "RunFirst",
    "Seeded",
    "Series",
    "StepBegin",
    "StepEnd",
    "Stream",
    "ThreadedRunner",
    "TimeThrottle",
    "TrainingPhase",
    "TreadleError",
    "Unresolvable",
    "UpdateBegin",
    "UpdateEnd",
    "ValidationPhase",
    "Write",
    "accesses",
    "callback_graph",
    "epoch",
    "fit",
    "hookimpl",
    "run_epoch",
    "run_step",
    "run_update",
    "seed_everything",
    "step",
    "throttle",
    "toy_learner",
]
