import threading

import pytest
import torch
from treadle_logging import Histogram, LoggerBackend, Text, UnsupportedLoggable, Value, log_to
from treadle_logging.loggable import Loggable


class OnlyValues(LoggerBackend):
    supported = (Value,)

    def __init__(self) -> None:  # does not call the base's, as a subclass may forget
        self.seen: list[float] = []

    def log(self, loggable: Loggable, name: str, i: int, group: tuple[str, ...]) -> None:
        assert isinstance(loggable, Value)
        self.seen.append(loggable.number)


class Picky(LoggerBackend):
    def log(self, loggable: Loggable, name: str, i: int, group: tuple[str, ...]) -> None:
        raise UnsupportedLoggable("Not on a Monday.")


def test_what_is_not_supported_is_said_once_for_each_kind(said) -> None:
    backend = OnlyValues()
    for i in range(3):
        backend.receive(Text("a"), "Note", i, ("Step",))
        backend.receive(Histogram([1]), "Weights", i, ())
        backend.receive(Value(i), "Loss", i, ())
    assert backend.seen == [0, 1, 2]
    assert said == [
        "OnlyValues does not support Text, so 'Step/Note' and others of its kind are not logged there. It "
        "takes: Value.",
        "OnlyValues does not support Histogram, so 'Weights' and others of its kind are not logged there. "
        "It takes: Value.",
    ]


def test_each_backend_says_it_for_itself(said) -> None:
    log_to([OnlyValues(), OnlyValues()], Text("a"), "Note", 1)
    assert len(said) == 2


def test_a_backend_can_refuse_while_it_logs(said) -> None:
    backend = Picky()
    backend.receive(Value(1), "a", 1, ())
    backend.receive(Value(1), "b", 1, ())
    assert said == [
        "Picky does not support Value, so 'a' and others of its kind are not logged there. Not on a Monday."
    ]


def test_a_backend_without_log_cannot_be_made() -> None:
    class Nothing(LoggerBackend):
        pass

    with pytest.raises(TypeError, match="log"):
        Nothing()  # type: ignore[abstract]


def test_leaving_the_block_closes_the_backend() -> None:
    class Door(Picky):
        closed = False

        def close(self) -> None:
            self.closed = True

    with Door() as door:
        assert not door.closed
    assert door.closed


def test_closing_flushes_unless_a_backend_says_otherwise(memory) -> None:
    memory.close()
    assert memory.flushes == 1


def test_calls_come_one_at_a_time() -> None:
    inside = threading.Semaphore(1)
    clashes: list[int] = []

    class Narrow(LoggerBackend):
        def log(self, loggable: Loggable, name: str, i: int, group: tuple[str, ...]) -> None:
            if not inside.acquire(blocking=False):
                clashes.append(i)
                return
            sum(range(1000))
            inside.release()

    backend = Narrow()
    threads = [
        threading.Thread(target=lambda: [backend.receive(Value(1), "a", i, ()) for i in range(200)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clashes == []


def test_the_tag_joins_groups_and_name() -> None:
    assert LoggerBackend.tag("0.weight", ("Step", "Histograms", "Weights")) == "Step/Histograms/Weights/0.weight"
    assert LoggerBackend.tag("Loss", ()) == "Loss"


def test_a_tensor_is_read_only_when_it_is_logged(memory) -> None:
    value = Value(torch.tensor(0.5))
    assert isinstance(value.data, torch.Tensor)
    memory.receive(value, "a", 1, ())
    assert memory.rows == [("a", 1, 0.5)]
