"""What runs on the main process only: nothing that runs everywhere may depend on it."""

import pytest
from treadle import Callback, CallbackConflictError, Read, StepEnd, Write, callback_graph, hookimpl, throttle


def make(name: str, access=None, *, only: bool = True, **attributes) -> Callback:
    body = {"state_access": access or {}, "main_process_only": only, "on_step_end": lambda self: None, **attributes}
    return type(name, (Callback,), body)()


def problems(*callbacks: Callback) -> list[str]:
    try:
        callback_graph(callbacks)
    except CallbackConflictError as error:
        return [str(problem) for problem in error.problems]
    return []


def wrap(self):
    return (yield)


HARMLESS = {
    "who writes nothing": [make("Printer", {"step.loss": Read})],
    "who writes an entry that nobody uses": [make("Printer", {"cbstate.printed": Write})],
    "an entry that others of the main process read": [
        make("Printer", {"cbstate.printed": Write}),
        make("Reader", {"cbstate.printed": Read}),
    ],
    "who comes before one that runs everywhere": [make("Printer"), make("Late", only=False, run_after=("Printer",))],
    "who wraps an operation": [make("Watch", forward=hookimpl(wrapper=True)(wrap))],
    "who enters the loop beside it": [make("Loop", {"loop": Write}, only=False), make("P", {"cbstate.printed": Write})],
}


@pytest.mark.parametrize("callbacks", HARMLESS.values(), ids=list(HARMLESS))
def test_it_may_stand_there(callbacks) -> None:
    assert problems(*callbacks) == []


SUFFIX = (
    ": in a run of several processes the others would do something else.\n"
    "Fix: leave it out.\nOr, if you wrote Odd, let it run everywhere:\n    main_process_only = False"
)


@pytest.mark.parametrize(
    ("access", "attributes", "why"),
    [
        ({"model": Write}, {}, "it writes `model`"),
        ({"step.grads": Write}, {}, "it writes `step.grads`"),
        ({"cbstate": Write}, {}, "it writes `cbstate`"),
        ({"loop": Write}, {}, "it writes `loop`"),
        ({}, {"forward": lambda self: None}, "it overrides `forward`"),
        ({}, {"guard": True}, "it is a guard"),
    ],
)
def test_what_would_make_the_processes_differ_is_refused_by_name(access, attributes, why) -> None:
    if "forward" in attributes:
        attributes = {"forward": hookimpl(attributes["forward"])}
    assert problems(make("Odd", access, **attributes)) == [
        f"Odd takes part on the main process only, and {why}{SUFFIX}"
    ]


@pytest.mark.parametrize(
    ("path", "access", "uses"),
    [
        ("cbstate.seen", {"cbstate.seen": Read}, "reads it"),
        ("cbstate.seen", {"cbstate": Read}, "reads it"),
        ("cbstate.seen.last", {"cbstate.seen": Read}, "reads it"),
        ("cbstate.seen", {"cbstate.seen": Write}, "writes it too"),
    ],
)
def test_what_runs_everywhere_may_not_use_what_it_writes(path, access, uses) -> None:
    writer, user = make("Writer", {path: Write}), make("User", access, only=False)
    found = problems(writer, user)
    (problem,) = [problem for problem in found if "main process" in problem]
    assert problem.startswith(f"Writer writes `{path}` on the main process only, and User {uses} in every process.\n")
    assert "\nOr, if you wrote User, let it run on the main process only:\n    main_process_only = True" in problem


def test_a_throttled_one_is_what_it_wraps() -> None:
    writer, reader = make("Writer", {"cbstate.seen": Write}), make("Reader", {"cbstate.seen": Read}, only=False)
    assert len(problems(throttle(writer, StepEnd, freq=2), reader)) == 1
    assert problems(throttle(writer, StepEnd, freq=2)) == []
