import pytest
from treadle import Callback, CallbackError, TrainingPhase, hookimpl, toy_learner


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


def test_they_unwind_and_the_note_names_only_who_raised() -> None:
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

    said = "nothing" if times == 0 else "more than once"
    with pytest.raises(
        CallbackError,
        match=rf"^Mine\.{hook} is a wrapper and yields {said}\.\n"
        rf"Fix: yield once; what it wraps runs there:\n    result = yield\n    return",
    ):
        toy_learner(type("Mine", (Callback,), {hook: handle})()).fit(1)
    assert log == ["closed"]
