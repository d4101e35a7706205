from treadle import Callback, Phase, TrainingPhase, ValidationPhase
from treadle.events import EpochEnd, FitEnd, StepEnd
from treadle.ordering.handlers import handlers
from treadle.ordering.participants import bits, meetings, participants


class Special(TrainingPhase):
    """A kind of training, where the same callbacks meet."""


class Training(Callback):
    def on_step_end(self, phase: TrainingPhase): ...

    def on_fit_end(self): ...


class Validation(Callback):
    def on_step_end(self, phase: ValidationPhase): ...

    def on_fit_end(self): ...


class Always(Callback):
    def on_step_end(self): ...

    def on_epoch_end(self): ...


HANDLERS = [handlers(callback) for callback in (Training(), Validation(), Always())]


def test_the_positions_of_an_integers_ones() -> None:
    assert (list(bits(0)), list(bits(1)), list(bits(0b10110))) == ([], [0], [1, 2, 4])


def test_the_participants_of_a_hook_in_a_type_of_phase() -> None:
    assert participants(HANDLERS, StepEnd, TrainingPhase) == 0b101
    assert participants(HANDLERS, StepEnd, ValidationPhase) == 0b110
    assert participants(HANDLERS, StepEnd, Phase) == 0b100
    assert participants(HANDLERS, EpochEnd, TrainingPhase) == 0b100


def test_at_an_event_without_a_phase_all_its_handlers_meet() -> None:
    assert participants(HANDLERS, FitEnd, None) == participants(HANDLERS, FitEnd, TrainingPhase) == 0b011


def test_the_sets_that_meet_with_the_hooks_where_they_do() -> None:
    groups = meetings(HANDLERS)
    assert (groups[0b101], groups[0b110], groups[0b011]) == ([StepEnd], [StepEnd], [FitEnd])
    assert set(groups[0b100]) == {StepEnd, EpochEnd}
    assert 0 not in groups
