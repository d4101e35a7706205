"""Which callbacks use the same state."""

from treadle import Callback, Read, RunFirst, TrainingPhase, Write, callback_graph, hookimpl, toy_learner
from treadle.operations import Epoch
from treadle.ordering.conflicts import shared_state

# Who shares state: also those of which one looks at the others' own state.


class Watch(Callback):
    """Reads the callbacks, and is to be the outermost wrapper."""

    state_access = {"callbacks": Read}
    name = "Zenith"

    def resolve_conflict(self, other):
        return RunFirst(self)

    @hookimpl(wrapper=True)
    def epoch(self):
        return (yield)


class Timer(Callback):
    """Shares no state, and has some of its own, which changes after the epoch."""

    def __init__(self):
        self.epochs = 0

    @hookimpl(wrapper=True)
    def epoch(self):
        result = yield
        self.epochs += 1
        return result


def test_a_reader_of_callbacks_makes_a_pair_with_each_of_them() -> None:
    access = [{"step.loss": Read}, {"callbacks": Read}, {}]
    assert shared_state(access) == {(0, 1): [], (1, 2): []}


def test_a_pair_is_asked_for_its_order_even_if_no_path_overlaps() -> None:
    watch, timer = Watch(), Timer()
    learner = toy_learner(timer, watch)
    assert learner.ordering.order(Epoch, TrainingPhase) == (watch, timer)
    reason = callback_graph([timer, watch]).edges[watch, timer]["reason"]
    assert reason == "RunFirst(Zenith), from Zenith.resolve_conflict"


def test_without_a_resolution_reading_the_callbacks_orders_nothing() -> None:
    class Reader(Callback):
        state_access = {"callbacks": Read, "cbstate.seen": Write}

        def on_epoch_end(self): ...

    class Other(Callback):
        def on_epoch_end(self): ...

    assert list(callback_graph([Reader(), Other(), Reader.__base__()]).edges) == []
