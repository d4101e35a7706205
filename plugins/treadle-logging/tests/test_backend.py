import threading

import pytest
import torch
from treadle.errors import ArgumentTypeError, ArgumentValueError
from treadle_logging import CSVBackend, Histogram, LoggerBackend, Text, UnsupportedLoggable, Value, log_to
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


def test_what_is_not_supported_is_reported_once_for_each_kind(warnings) -> None:
    backend = OnlyValues()
    for i in range(3):
        backend.receive(Text("a"), "Note", i, ("Step",))
        backend.receive(Histogram([1]), "Weights", i, ())
        backend.receive(Value(i), "Loss", i, ())
    assert backend.seen == [0, 1, 2]
    assert warnings == [
        "OnlyValues does not support Text, so 'Step/Note' and others of its kind are not logged there. It "
        "takes: Value.",
        "OnlyValues does not support Histogram, so 'Weights' and others of its kind are not logged there. "
        "It takes: Value.",
    ]


def test_each_backend_warns(warnings) -> None:
    log_to([OnlyValues(), OnlyValues()], Text("a"), "Note", 1)
    assert len(warnings) == 2


def test_a_backend_can_refuse_while_it_logs(warnings) -> None:
    backend = Picky()
    backend.receive(Value(1), "a", 1, ())
    backend.receive(Value(1), "b", 1, ())
    assert warnings == [
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


def test_a_group_is_one_name_or_several(memory) -> None:
    log_to(memory, Value(1), "a", 1)
    log_to(memory, Value(2), "b", 2, "Step")
    log_to(memory, Value(3), "c", 3, group=("Step", "Metrics"))
    log_to(memory, Value(4), "d", 4, group=["Step", "Metrics"])
    assert memory.rows == [
        ("a", 1, 1.0),
        ("Step/b", 2, 2.0),
        ("Step/Metrics/c", 3, 3.0),
        ("Step/Metrics/d", 4, 4.0),
    ]


def test_every_backend_gets_it(new_memory) -> None:
    first, second = new_memory(), new_memory()
    log_to((first, second), Value(1), "a", 1)
    assert first.rows == second.rows == [("a", 1, 1.0)]


def test_what_a_backend_raises_reaches_the_caller(new_memory) -> None:
    with pytest.raises(OSError, match="the disk is full"):
        log_to(new_memory(fail_on=lambda call: True), Value(1), "a", 1)


def test_a_bare_number_is_refused_with_the_fix(memory) -> None:
    with pytest.raises(
        ArgumentTypeError, match=r"must be an instance of Loggable, got 0\.5\.\nFix: .*\n.*Value\(0\.5\)"
    ):
        log_to(memory, 0.5, "a", 1)  # type: ignore[arg-type]


def test_the_iteration_is_an_int(memory) -> None:
    with pytest.raises(ArgumentTypeError, match=r"log_to\(i\) must be a whole number, got 1\.5"):
        log_to(memory, Value(1), "a", 1.5)  # type: ignore[arg-type]


def test_names_are_strings_that_are_not_empty(memory) -> None:
    with pytest.raises(ArgumentTypeError, match=r"log_to\(name\) must be an instance of str, got 3"):
        log_to(memory, Value(1), 3, 1)  # type: ignore[arg-type]
    with pytest.raises(ArgumentTypeError, match=r"log_to\(group\)\[1\] must be an instance of str, got None"):
        log_to(memory, Value(1), "a", 1, group=("Step", None))  # type: ignore[arg-type]
    with pytest.raises(
        ArgumentValueError, match=r'log_to got an empty name\.\nFix: .*\n    log_to\(backend, .*, "Loss"'
    ):
        log_to(memory, Value(1), "", 1)


def test_a_backend_is_needed() -> None:
    with pytest.raises(
        ArgumentValueError, match=r'log_to has no backend\.\nFix: .*\n    log_to\(CSVBackend\("log.csv"\)'
    ):
        log_to([], Value(1), "a", 1)
    with pytest.raises(ArgumentTypeError, match=r"must be an instance of LoggerBackend, got 'log\.csv'"):
        log_to("log.csv", Value(1), "a", 1)  # type: ignore[arg-type]
    with pytest.raises(ArgumentTypeError, match=r"got the class CSVBackend\.\nFix: make an instance"):
        log_to(CSVBackend, Value(1), "a", 1)  # type: ignore[arg-type]
    with pytest.raises(ArgumentTypeError, match=r"must be an instance of LoggerBackend, got tensor"):
        log_to(torch.zeros(1), Value(1), "a", 1)  # type: ignore[arg-type]
