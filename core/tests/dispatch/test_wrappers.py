import gc
import sys
import traceback
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pluggy
import pytest
import torch
import treadle
from hypothesis import given, settings
from hypothesis import strategies as st
from treadle import (
    Callback,
    CallbackError,
    CancelStepException,
    Operation,
    PropDict,
    StepEnd,
    TrainingPhase,
    ValidationPhase,
    hookimpl,
    step,
    toy_learner,
)
from treadle.dispatch import wrappers
from treadle.events import PROJECT
from treadle.operations import Forward, Loss


class Around(Callback):
    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    @hookimpl(wrapper=True)
    def on_step_end(self, learner, phase: TrainingPhase):
        self.log.append(f"{self.name} in")
        try:
            return (yield)
        finally:
            self.log.append(f"{self.name} out")


class Inside(Callback):
    def __init__(self, name: str, log: list[str], error: BaseException | None = None) -> None:
        self.name, self.log, self.error = name, log, error

    def on_step_end(self, phase: TrainingPhase):
        self.log.append(self.name)
        if self.error is not None:
            raise self.error


def test_the_wrappers_of_an_event_go_around_all_of_its_handlers_in_their_order() -> None:
    log: list[str] = []
    toy_learner(Inside("a", log), Around("b", log), Inside("c", log), Around("d", log), nbatches=1).fit(1)
    assert log == ["b in", "d in", "a", "c", "d out", "b out"]


def test_wrappers_unwind_and_the_note_names_only_the_callback_that_raised() -> None:
    log: list[str] = []
    error = ValueError("inside")
    with pytest.raises(ValueError, match="inside") as raised:
        toy_learner(Around("b", log), Inside("a", log, error), Around("d", log), Inside("c", log)).fit(1)
    assert log == ["b in", "d in", "a", "d out", "b out"]
    assert raised.value is error
    assert error.__notes__ == ["Raised by a in on_step_end, TrainingPhase, epoch 1, step 1."]


@pytest.mark.parametrize("when", ["before", "after"])
def test_the_note_names_a_wrapper_that_raises(when) -> None:
    class Raises(Callback):
        @hookimpl(wrapper=True)
        def on_step_end(self):
            if when == "before":
                raise ValueError("mine")
            yield
            raise ValueError("mine")

    log: list[str] = []
    with pytest.raises(ValueError, match="mine") as raised:
        toy_learner(Around("A", log), Raises(), Inside("c", log)).fit(1)
    assert raised.value.__notes__ == ["Raised by Raises in on_step_end, TrainingPhase, epoch 1, step 1."]
    assert log == (["A in", "A out"] if when == "before" else ["A in", "c", "A out"])


def test_the_note_names_a_wrapper_that_replaces_the_exception() -> None:
    class Replaces(Callback):
        @hookimpl(wrapper=True)
        def on_step_end(self):
            try:
                yield
            except ValueError as error:
                raise KeyError("new") from error

    with pytest.raises(KeyError, match="new") as raised:
        toy_learner(Replaces(), Inside("a", [], ValueError("old"))).fit(1)
    assert raised.value.__notes__ == ["Raised by Replaces in on_step_end, TrainingPhase, epoch 1, step 1."]


@pytest.mark.parametrize("hook", ["on_step_end", "forward"])
@pytest.mark.parametrize("times", [0, 2, 3])
def test_a_wrapper_yields_once(hook, times) -> None:
    log: list[str] = []

    @hookimpl(wrapper=True)
    def handle(self):
        try:
            for _ in range(times):
                yield
        finally:
            log.append("closed")

    count = "nothing" if times == 0 else "more than once"
    with pytest.raises(
        CallbackError,
        match=rf"^Mine\.{hook} is a wrapper and yields {count}\.\n"
        rf"Fix: yield once; what it wraps runs there:\n    result = yield\n    return",
    ):
        toy_learner(type("Mine", (Callback,), {hook: handle})()).fit(1)
    assert log == ["closed"]


# As pluggy does it.


class Compute(Operation):
    """Whose result callbacks change."""

    @staticmethod
    def run(learner, phase):
        return learner.core()


ERRORS = [ValueError, KeyboardInterrupt, GeneratorExit, StopIteration, CancelStepException]


def do(what: Any, name: str) -> Any:
    """Return a value, or raise an error that says where it comes from."""
    if isinstance(what, type):
        raise what(name)
    return what


def override(name: str, what: Any, log: list[Any]) -> Callable[..., Any]:
    def compute(self):
        log.append(name)
        return do(what, name)

    return hookimpl(compute)


def wrapper(name: str, before: Any, after: Any, log: list[Any]) -> Callable[..., Any]:
    def compute(self):
        log.append(f"{name} in")
        do(before, name)
        try:
            result = yield
        except BaseException as error:
            log.append((f"{name} saw", type(error), str(error)))
            if after == "pass on":
                raise
            if after == "replace":
                raise KeyError(name) from error
            return do(after, name)
        log.append((f"{name} out", result))
        return result if after == "pass on" else do(after, name)

    return hookimpl(compute, wrapper=True)


Drawn = tuple[bool, Any, Any]
drawn_wrappers = st.tuples(
    st.just(True),
    st.sampled_from([None, None, None, *ERRORS]),
    st.one_of(st.sampled_from(["pass on", "pass on", "replace", *ERRORS]), st.integers()),
)
drawn_overrides = st.tuples(st.just(False), st.one_of(st.sampled_from([None, None, *ERRORS]), st.integers()), st.none())


def methods(drawn: Sequence[Drawn], log: list[Any]) -> dict[str, Callable[..., Any]]:
    """The drawn wrappers and overrides, the wrappers first, by names in their order."""
    ordered = enumerate(sorted(drawn, key=lambda part: not part[0]))
    return {
        f"C{i}": wrapper(f"C{i}", before, after, log) if wraps else override(f"C{i}", before, log)
        for i, (wraps, before, after) in ordered
    }


def by_pluggy(drawn: Sequence[Drawn], core: Any, log: list[Any]) -> Any:
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(type("Specs", (), {"compute": staticmethod(Compute.spec)}))
    every = {"core": override("core", core, log), **dict(reversed(methods(drawn, log).items()))}
    for name, method in every.items():  # pluggy calls the latest first
        manager.register(type(name, (), {"compute": method})(), name)
    return manager.hook.compute(learner=None, phase=None)


def by_a_learner(drawn: Sequence[Drawn], core: Any, log: list[Any]) -> Any:
    names: list[str] = []
    callbacks = []
    for name, method in methods(drawn, log).items():
        callbacks.append(type(name, (Callback,), {"compute": method, "run_after": tuple(names)})())
        names.append(name)
    learner = toy_learner(*callbacks)
    learner.core = lambda: override("core", core, log)(None)
    return learner.handle(TrainingPhase())[Compute]()


def outcome(compute: Callable[..., Any], *args: Any) -> tuple[Any, list[Any], BaseException | None]:
    """What was returned or raised, and what was done for it."""
    log: list[Any] = []
    try:
        return compute(*args, log), log, None
    except BaseException as error:
        return (type(error), str(error)), log, error


@settings(deadline=None)
@given(
    st.lists(st.one_of(drawn_wrappers, drawn_overrides), max_size=5), st.one_of(st.sampled_from(ERRORS), st.integers())
)
def test_wrappers_and_overrides_do_what_pluggy_does(drawn, core) -> None:
    expected, expected_log, _ = outcome(by_pluggy, drawn, core)
    result, log, error = outcome(by_a_learner, drawn, core)
    assert (result, log) == (expected, expected_log)
    if error is not None:  # the note names the callback that raised it, and no other
        raiser = str(error.__context__ if isinstance(error, RuntimeError) else error).strip("'")
        notes = [note.split()[2] for note in getattr(error, "__notes__", [])]
        assert notes == ([] if raiser == "core" else [raiser])


# What pluggy leaves undone.


def test_the_outer_wrappers_unwind_also_around_one_that_yields_twice() -> None:
    log: list[str] = []

    class Twice(Callback):
        @hookimpl(wrapper=True)
        def on_step_end(self):
            yield
            yield

    with pytest.raises(CallbackError, match=r"^Twice\.on_step_end is a wrapper and yields more than once"):
        toy_learner(Around("A", log), Twice()).fit(1)
    assert log == ["A in", "A out"]


def test_an_error_while_one_that_yields_twice_is_closed_is_raised() -> None:
    class Twice(Callback):
        @hookimpl(wrapper=True)
        def forward(self):
            yield
            try:
                yield
            finally:
                raise ValueError("while closing")

    with pytest.raises(ValueError, match="while closing") as raised:
        toy_learner(Twice()).fit(1)
    assert raised.value.__notes__[0] == "Raised by Twice in forward, TrainingPhase, epoch 1, step 1."


HERE = (__file__.rpartition("/")[2], "forward")


def frames(error: BaseException) -> list[tuple[str, str]]:
    """The frames of a traceback from the loop's step on: the file's last part and the function."""
    found = [(frame.filename.rpartition("/")[2], frame.name) for frame in traceback.extract_tb(error.__traceback__)]
    return found[found.index(("training_step.py", "training_step")) :]


class Ring(Callback):
    @hookimpl(wrapper=True)
    def forward(self):
        return (yield)


class Broken(Callback):
    def forward(self):
        raise ValueError("broken")


def test_a_traceback_through_wrappers_shows_one_frame_of_dispatch() -> None:
    class Again(Ring): ...

    with pytest.raises(ValueError, match="broken") as raised:
        toy_learner(Ring(), Again(), Broken()).fit(1)
    assert frames(raised.value) == [
        ("training_step.py", "training_step"),
        ("wrappers.py", "run_with_callbacks"),
        HERE,
        HERE,
        HERE,
    ]


def test_a_traceback_through_one_wrapper_shows_one_frame_of_dispatch() -> None:
    learner = toy_learner(Ring())
    learner.model.forward = Broken().forward
    with pytest.raises(TypeError) as raised:
        learner.fit(1)
    assert frames(raised.value)[:4] == [
        ("training_step.py", "training_step"), ("wrappers.py", "run_in_ring"), HERE, ("operations.py", "run")
    ]  # fmt: skip


WRAPPED = ["epoch", "step", "forward", "on_step_begin"]
PACKAGE = str(Path(treadle.__file__).parent)


def shown(callbacks: list[Callback]) -> tuple[int, int, str]:
    """How many frames of pluggy and of this package a traceback shows, and the function of its last."""
    with pytest.raises(ValueError, match="broken") as raised:
        toy_learner(*callbacks).fit(1)
    files = [(frame.filename, frame.name) for frame in traceback.extract_tb(raised.value.__traceback__)]
    pluggys = sum(Path(pluggy.__file__).parent == Path(file).parent for file, _ in files)
    return pluggys, sum(file.startswith(PACKAGE) for file, _ in files), files[-1][1]


@settings(deadline=None, max_examples=30)
@given(
    st.fixed_dictionaries(dict.fromkeys(WRAPPED, st.integers(0, 5))),
    st.sampled_from(WRAPPED),
    st.sampled_from(["alone", "before", "after"]),
)
def test_a_traceback_shows_no_frame_of_pluggy_and_one_of_this_package_for_each_wrapped_hook(counts, hook, when) -> None:
    def broken(self):
        raise ValueError("broken")

    @hookimpl(wrapper=True)
    def broken_around(self):
        if when == "before":
            raise ValueError("broken")
        yield
        raise ValueError("broken")

    def wrapper_of(name: str) -> Callback:
        return type("Wraps", (Callback,), {name: hookimpl(lambda self: (yield), wrapper=True)})()

    culprit = type("Broken", (Callback,), {hook: broken if when == "alone" else broken_around})()
    bare = shown([type("Broken", (Callback,), {hook: broken})()])
    wrappers = [wrapper_of(name) for name, count in counts.items() for _ in range(count)]
    pluggys, ours, last = shown([*wrappers, culprit])
    assert pluggys == bare[0] == 0
    assert ours <= bare[1] + sum(count > 0 for count in counts.values())
    assert last == ("broken" if when == "alone" else "broken_around")


def test_a_wrapper_that_replaces_an_exception_leaves_the_traceback_of_the_first() -> None:
    class Replaces(Callback):
        @hookimpl(wrapper=True)
        def forward(self):
            try:
                return (yield)
            except ValueError as error:
                raise KeyError("new") from error

    with pytest.raises(KeyError) as raised:
        toy_learner(Replaces(), Broken()).fit(1)
    assert frames(raised.value) == [("training_step.py", "training_step"), ("wrappers.py", "run_with_callbacks"), HERE]
    cause = traceback.extract_tb(raised.value.__cause__.__traceback__)
    assert [frame.name for frame in cause] == ["forward", "forward"]


def test_an_exception_is_freed_without_the_garbage_collector() -> None:
    class Referable(Exception): ...

    class Raises(Callback):
        def forward(self):
            raise Referable

    forward = toy_learner(Ring(), Raises()).handle(ValidationPhase())[Forward]
    gc.disable()
    try:
        try:
            forward()
        except Referable as error:
            kept = weakref.ref(error)
        assert kept() is None
    finally:
        gc.enable()


def test_an_operation_inside_of_itself_is_done_on_its_own() -> None:
    log: list[str] = []

    class Twice(Callback):
        @hookimpl(wrapper=True)
        def forward(self):
            log.append("in")
            if len(log) == 1:
                learner.handle(ValidationPhase())[Forward]()
            result = yield
            log.append("out")
            return result

    learner = toy_learner(Twice())
    step(learner, ValidationPhase(), learner.data.validation[0])
    assert log == ["in", "in", "out", "out"]


# Interrupts.


def interrupted(run: Callable[[], Any], at: int) -> bool:
    """Do it, with an interrupt at a traced line of the wrappers' file; whether there were so many lines."""
    left = at

    def trace(frame: Any, event: str, _: Any) -> Any:
        nonlocal left
        if frame.f_code.co_filename != wrappers.__file__:
            return None
        if event == "line":
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        run()
    except (KeyboardInterrupt, ValueError) as error:
        held.append(error)  # what it holds is not freed before the test looks
    finally:
        sys.settrace(before)
    return left <= 0


held: list[BaseException] = []


@pytest.mark.parametrize("hook", ["forward", "on_step_end"])
@pytest.mark.parametrize("fails", [False, True])
def test_an_interrupt_at_any_line_leaves_no_wrapper_entered(hook, fails) -> None:
    log: list[str] = []

    def around(name: str) -> Callback:
        def handle(self):
            log.append(name)
            try:
                return (yield)
            finally:
                log.remove(name)
                assert name == "ABC"[len(log)]  # from the inside out

        return type(name, (Callback,), {hook: hookimpl(handle, wrapper=True)})()

    class Inner(Callback):
        """Handles what is wrapped."""

    def inner(self):
        if fails:
            raise ValueError("broken")

    setattr(Inner, hook, inner)
    learner = toy_learner(*(around(name) for name in "ABC"), Inner())
    learner.step = PropDict({"xs": torch.ones(1, 1)})
    run = learner.handle(ValidationPhase())[StepEnd if hook == "on_step_end" else Forward]
    at = 1
    while interrupted(run, at):
        assert log == [], traceback.format_exception(held[-1])
        at += 1
    assert at > 40
    held.clear()


@pytest.mark.parametrize("fails", [False, True])
def test_an_interrupt_at_any_line_leaves_the_only_wrapper_not_entered(fails) -> None:
    log: list[str] = []

    class Alone(Callback):
        @hookimpl(wrapper=True)
        def loss(self):
            log.append("in")
            try:
                return (yield)
            finally:
                log.remove("in")

    def lossfn(yhats, ys):
        if fails:
            raise ValueError("broken")
        return (yhats - ys).mean()

    learner = toy_learner(Alone())
    learner.lossfn, learner.step = lossfn, PropDict({"yhats": torch.ones(1, 1), "ys": torch.ones(1, 1)})
    run = learner.handle(ValidationPhase())[Loss]
    at = 1
    while interrupted(run, at):
        assert log == [], traceback.format_exception(held[-1])
        at += 1
    assert at > 12
    held.clear()
