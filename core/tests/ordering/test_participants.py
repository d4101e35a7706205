from treadle import Callback, Phase, TrainingPhase, ValidationPhase, hookimpl
from treadle.events import EpochEnd, FitEnd, StepEnd
from treadle.ordering.handlers import handlers
from treadle.ordering.participants import Group, bits, meetings, participants


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
    assert participants(HANDLERS, StepEnd, TrainingPhase) == Group(0b101)
    assert participants(HANDLERS, StepEnd, ValidationPhase) == Group(0b110)
    assert participants(HANDLERS, StepEnd, Phase) == Group(0b100)
    assert participants(HANDLERS, EpochEnd, TrainingPhase) == Group(0b100)


def test_at_an_event_without_a_phase_all_its_handlers_meet() -> None:
    assert participants(HANDLERS, FitEnd, None) == participants(HANDLERS, FitEnd, TrainingPhase) == Group(0b011)


def test_the_groups_that_meet_with_the_hooks_where_they_do() -> None:
    groups = meetings(HANDLERS)
    assert (groups[Group(0b101)], groups[Group(0b110)], groups[Group(0b011)]) == ([StepEnd], [StepEnd], [FitEnd])
    assert set(groups[Group(0b100)]) == {StepEnd, EpochEnd}
    assert Group(0) not in groups


def test_a_group_says_who_wraps_the_hook() -> None:
    class Around(Callback):
        @hookimpl(wrapper=True)
        def on_step_end(self):
            return (yield)

    group = participants([*HANDLERS, handlers(Around())], StepEnd, ValidationPhase)
    assert group == Group(0b1110, wrappers=0b1000)
    assert group.inside == 0b0110
