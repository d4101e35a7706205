import pytest
from treadle import Callback, CallbackError, TrainingPhase, hookimpl, toy_learner


@pytest.mark.parametrize("hook", ["on_step_end", "forward"])
def test_a_handler_with_a_yield_is_marked_as_a_wrapper(hook) -> None:
    def handle(self):
        yield

    with pytest.raises(
        CallbackError,
        match=rf"Mine\.{hook} has a `yield`, so calling it would run nothing of it\.\n"
        r"Fix: take the `yield` out, or, to wrap the hook, write above it:\n    @hookimpl\(wrapper=True\)$",
    ):
        toy_learner(type("Mine", (Callback,), {hook: handle})())


@pytest.mark.parametrize("hook", ["on_step_end", "forward"])
@pytest.mark.parametrize("yields", [False, True])
def test_a_handler_is_not_a_coroutine(hook, yields) -> None:
    async def handle(self): ...

    async def generate(self):
        yield

    method = hookimpl(generate if yields else handle)
    with pytest.raises(
        CallbackError,
        match=rf"^Mine\.{hook} is an `async def`, so calling it would run nothing of it\.\n"
        rf"Fix: write a plain function:\n    def {hook}\(self\): \.\.\.$",
    ):
        toy_learner(type("Mine", (Callback,), {hook: method})())


def test_a_handlers_arguments_are_passed_by_position() -> None:
    class Mine(Callback):
        def on_step_end(self, *, learner): ...

    with pytest.raises(
        CallbackError,
        match=r"^Mine\.on_step_end takes `learner` by keyword alone.*\n"
        r"Fix: take the `\*` out:\n    def on_step_end\(self, learner",
    ):
        toy_learner(Mine())


@pytest.mark.parametrize("hook", ["on_step_end", "forward"])
def test_a_wrapper_has_a_yield(hook) -> None:
    @hookimpl(wrapper=True)
    def handle(self):
        return 3

    with pytest.raises(
        CallbackError,
        match=rf"^Mine\.{hook} is a wrapper without a `yield`, so nothing would be inside of it\.\n"
        r"Fix: yield once; what it wraps runs there:\n    result = yield\n    return result\nOr, to handle",
    ):
        toy_learner(type("Mine", (Callback,), {hook: handle})())


@pytest.mark.parametrize("option", ["tryfirst", "trylast", "hookwrapper", "optionalhook"])
def test_options_of_pluggy_that_go_around_the_order_are_refused(option) -> None:
    @hookimpl(**{option: True})
    def on_step_end(self):
        yield

    def plain(self): ...

    method = on_step_end if option == "hookwrapper" else hookimpl(**{option: True})(plain)
    with pytest.raises(
        CallbackError,
        match=rf"Mine\.on_step_end uses @hookimpl\({option}=True\), which has no meaning here: the order comes "
        r"from state_access and run_after\.\n"
        r"Fix: take it out, or, to wrap the hook, write:\n    @hookimpl\(wrapper=True\)$",
    ):
        toy_learner(type("Mine", (Callback,), {"on_step_end": method})())


def test_hookimpl_without_options_changes_nothing() -> None:
    log = []

    class Mine(Callback):
        @hookimpl
        def on_step_end(self, phase: TrainingPhase):
            log.append(1)

    toy_learner(Mine(), nbatches=2).fit(1)
    assert log == [1, 1]


def test_an_argument_with_a_default_is_refused_because_it_would_never_be_passed() -> None:
    class Hopeful(Callback):
        def on_step_end(self, learner, phase=None): ...

    with pytest.raises(
        CallbackError,
        match=r"^Hopeful\.on_step_end gives `phase` a default.*\n"
        r"Fix: take the default out:\n    def on_step_end\(self, phase\)",
    ):
        toy_learner(Hopeful())


def test_a_default_of_an_argument_that_the_hook_does_not_have_stays() -> None:
    class Remembers(Callback):
        def on_step_end(self, seen=[]):  # noqa: B006
            seen.append(1)
            self.seen = seen

    remembers = Remembers()
    toy_learner(remembers, nbatches=1).fit(1)
    assert remembers.seen == [1, 1]
