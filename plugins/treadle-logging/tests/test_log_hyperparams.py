import pytest
from treadle import CallbackConflictError, Read, StepEnd, TrainingPhase, Write, accesses, toy_learner
from treadle_logging import LogHyperParams
from treadle_schedule import Exp, LearningRate, Momentum, Scheduler


def test_every_value_that_a_schedule_set_is_logged(memory) -> None:
    scheduler = Scheduler({LearningRate: Exp(start=1.0, decay=0.5), Momentum: 0.5})
    toy_learner(LogHyperParams(memory), scheduler, nbatches=2).fit(2)
    assert memory.rows == [
        ("Step/HParams/LearningRate", 0, 1.0),
        ("Step/HParams/Momentum", 0, 0.5),
        ("Step/HParams/LearningRate", 1, 0.5),
        ("Step/HParams/Momentum", 1, 0.5),
        ("Step/HParams/LearningRate", 2, 0.25),
        ("Step/HParams/Momentum", 2, 0.5),
        ("Step/HParams/LearningRate", 3, 0.125),
        ("Step/HParams/Momentum", 3, 0.5),
    ]


def test_a_value_has_the_number_of_steps_that_the_scheduler_recorded_it_under(memory) -> None:
    learner = toy_learner(LogHyperParams(memory), Scheduler({LearningRate: Exp(0.1, 0.9)}), nbatches=5)
    learner.fit(2)
    recorded = learner.cbstate.hyperparams["LearningRate"]
    assert memory.of("Step/HParams/LearningRate") == list(zip(recorded.iterations, recorded.values, strict=True))


def test_without_a_scheduler_it_is_refused(memory) -> None:
    with pytest.raises(CallbackConflictError, match=r"cbstate\.hyperparams"):
        toy_learner(LogHyperParams(memory))


def test_it_runs_after_the_scheduler_and_only_reads(memory) -> None:
    logger, scheduler = LogHyperParams(memory), Scheduler({LearningRate: 0.1}, each="step")
    learner = toy_learner(logger, scheduler)
    assert learner.ordering.order(StepEnd, TrainingPhase) == (scheduler, logger)
    assert accesses(logger, Read) == {"cbstate.hyperparams"}
    assert accesses(logger, Write) == set()
