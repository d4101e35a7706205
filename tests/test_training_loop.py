"""The drawing of the loop in docs/training-loop.md is what a run really does."""

import re
from pathlib import Path

import pytest
from treadle import (
    Callback,
    CustomCallback,
    PropDict,
    Read,
    TrainingPhase,
    ValidationPhase,
    Write,
    events,
    hookimpl,
    toy_learner,
)
from treadle.events import Event, known_events
from treadle.operations import known_operations

PAGE = (Path(__file__).parents[1] / "docs" / "training-loop.md").read_text(encoding="utf-8")
DRAWING, PROCESSES, EVALUATION = re.findall(r"```text\n((?:fit|evaluate)\n.*?)```", PAGE, re.DOTALL)

Line = tuple[str, set[str]]


def drawn(drawing: str = DRAWING) -> list[Line]:
    """Each event and operation of a drawing, with the state that is there from it on."""
    found = []
    for line in drawing.splitlines():
        if match := re.match(r"\s*[●▢] (\w+)\s*(.*)", line):
            state = set() if match[2].startswith("in ") else {name.strip() for name in match[2].split(",") if name}
            found.append((match[1], state))
    return found


class Tape(Callback):
    """Records every event and operation, and the names in the step's state that are new at an event."""

    state_access = {"step": Read}

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.known: set[str] = set()

    def note(self, name: str, state: PropDict | None = None) -> None:
        present = set(state) if state is not None else self.known
        self.lines.append((name, present - self.known))
        self.known = present


def recorder(event: type[Event]):
    if not event.phased:
        return lambda self, learner: self.note(event.__name__)
    return lambda self, learner: self.note(event.__name__, () if event.__name__.startswith("Epoch") else learner.step)


def bracket(name: str):
    @hookimpl(wrapper=True)
    def around(self, learner):
        if name == "step":
            self.known = set()
        self.note(name, None if name in ("epoch", "step") else learner.step)
        return (yield)

    return around


PUBLIC = [getattr(events, name) for name in dir(events) if name.endswith(("Begin", "End"))]
for event in PUBLIC:
    setattr(Tape, event.hook, recorder(event))
OPERATIONS = ("epoch", "step", "accumulate", "forward", "loss", "backward", "finalize_gradients", "update")
for name in OPERATIONS:
    setattr(Tape, name, bracket(name))


def test_a_run_does_what_is_drawn_in_the_order_in_which_it_is_drawn():
    tape = Tape()
    toy_learner(tape, nbatches=1).fit(1)
    assert [name for name, _ in tape.lines] == [name for name, _ in drawn()]


def test_the_state_of_a_step_is_there_from_the_event_on_where_it_is_drawn():
    tape = Tape()
    toy_learner(tape, nbatches=1).fit(1)
    assert [line for line in tape.lines if line[1]] == [line for line in drawn() if line[1]]


def test_an_evaluation_and_a_prediction_do_what_is_drawn():
    tape = type("Computing", (Tape,), {"state_access": {"step": Write}})()  # one that only reads takes no part
    learner = toy_learner(tape, nbatches=1)
    learner.evaluate()
    learner.predict([xs for xs, _ in learner.data.validation])
    assert [name for name, _ in tape.lines] == [name for name, _ in drawn(EVALUATION)]
    assert [line for line in tape.lines if line[1]] == [line for line in drawn(EVALUATION) if line[1]]


def test_events_handlers_and_the_rows_of_the_page_are_the_same():
    rows = re.findall(r"^\| `(\w+)` \| `(on_\w+)` \| .*? \| (.*?) \|$", PAGE, re.MULTILINE)
    stated = {name: (handler, tuple(re.findall(r"`(\w+)`", arguments))) for name, handler, arguments in rows}
    assert stated == {event.__name__: (event.hook, event.arguments) for event in PUBLIC}
    core = {hook for hook, event in known_events().items() if event.__module__ == events.__name__}
    assert {event.hook for event in PUBLIC} == core - {"on_init"}


def test_operations_and_the_rows_of_the_page_are_the_same():
    rows = re.findall(r"^\| `([a-z_]+)` \| [^|]* \| (.*?) \|$", PAGE, re.MULTILINE)
    stated = {name: tuple(re.findall(r"`(\w+)`", arguments)) for name, arguments in rows}
    operations = {name: operation.arguments for name, operation in known_operations().items()}
    assert stated == {name: operations[name] for name in (*OPERATIONS, "agree")}


def test_processes_agree_where_it_is_drawn():
    lines: list[str] = []

    class Points(Callback):
        def agree(self, point, request):
            lines.append(f"◇ {point}")
            return False if request is None else request

    def note(event):
        return CustomCallback(lambda learner: lines.append(f"● {event.__name__}"), event)

    data = toy_learner(nbatches=1).data.training
    toy_learner(Points(), *map(note, PUBLIC), data=(data,)).fit(1)
    assert lines == re.findall(r"^ *([●◇] \w+(?: \w+)?)(?:  .*)?$", PROCESSES, re.MULTILINE)


@pytest.mark.parametrize("phase", [TrainingPhase, ValidationPhase])
def test_the_drawing_names_the_phases_that_fit_runs(phase):
    assert f"in {phase.__name__}" in DRAWING
