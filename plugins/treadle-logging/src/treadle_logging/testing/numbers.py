"""Do numbers come back as they were logged?"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence

import torch
from treadle import TreadleError
from treadle.testing import Checked, DoesNotApply, Finding

from treadle_logging.backend import LoggerBackend, UnsupportedLoggable, log_to
from treadle_logging.loggable import Value
from treadle_logging.testing.place import Place, Places, warnings

#: Numbers, as floats and in tensors; 32 bits are enough to tell them apart.
NUMBERS = (0.5, -3.25, 0.0, 1e-30, 1234.5678, 1e30)
ITERATIONS = (0, 1, 2, 3, 10, 1000)
GROUPS = (("Step", "TrainingPhase", "Metrics"), ("Epoch", "TrainingPhase", "Metrics"), ())
NAMES = (
    *("a b", "a_b", "a/b", "a:b", "a%b", "a.b", "0.weight", "<lambda>", "Genauigkeit (ä)"),
    *('a,"b"', "x" * 200),
)
FIX = "Fix: write `loggable.number` under `self.tag(name, group)` with the iteration `i`, each when it comes."

Log = Mapping[str, Sequence[tuple[int, float]]]


def numbers(places: Places) -> Checked:
    """Numbers come back under their tag and iteration, in their order."""
    with places.place() as place:
        backend = taking_numbers(place)
        if places.read is None:
            raise DoesNotApply("Nobody said how to read the log; pass read=.")
        expected: dict[str, list[tuple[int, float]]] = {}
        for i, number in zip(ITERATIONS, NUMBERS, strict=True):
            for group in GROUPS:
                number = -number if group == GROUPS[1] else number
                log_to(backend, Value(number if i % 2 else torch.tensor(number, dtype=torch.float64)), "Loss", i, group)
                expected.setdefault(LoggerBackend.tag("Loss", group), []).append((i, number))
        backend.flush()
        compare(expected, place.read() or {})
        return Checked(sum(map(len, expected.values())), "numbers")


def not_finite(places: Places) -> Checked:
    """Numbers that are not finite never become other numbers."""
    for number in (math.nan, math.inf, -math.inf):
        with places.place() as place, warnings() as messages:
            backend = taking_numbers(place)
            try:
                backend.log(Value(number), "Loss", 1, ("Step",))
                refused = False
            except UnsupportedLoggable:
                refused = True
            except Exception as error:
                raise Finding(
                    f"Logging Value({number}) fails: {type(error).__name__}: {error}\n"
                    f"Fix: write it, or refuse it with the reason:\n"
                    f'    raise UnsupportedLoggable("only finite numbers can be shown here")'
                ) from error
            backend.flush()
            log = place.read()
            if log is None:
                continue
            found = [value for rows in log.values() for _, value in rows]
            if not found and not refused and not messages:
                raise Finding(
                    f"Value({number}) is lost: it is not in the log, and nothing was reported.\n"
                    f"Fix: write it, or refuse it with the reason:\n"
                    f'    raise UnsupportedLoggable("only finite numbers can be shown here")'
                )
            if any(not alike(number, value) for value in found):
                raise Finding(
                    f"Value({number}) is {found[0]} in the log, which somebody will believe.\n"
                    f"Fix: write it as it is, or refuse it with the reason:\n"
                    f'    raise UnsupportedLoggable("only finite numbers can be shown here")'
                )
    return Checked(3, "numbers")


def names(places: Places) -> Checked:
    """Every name is taken, or refused by name, and no two share a tag."""
    with places.place() as place:
        backend, taken, refused = taking_numbers(place), [], []
        for number, name in enumerate(NAMES, 1):
            try:
                backend.log(Value(number), name, 1, ("Step",))
                taken.append(name)
            except TreadleError as error:
                if name not in str(error):
                    raise Finding(
                        f"The name {name!r} is refused by an error that does not have it: {error}\n"
                        f'Fix: name it:\n    raise UnsupportedLoggable(f"... {{name!r}} ...")'
                    ) from error
                refused.append(name)
            except Exception as error:
                raise Finding(
                    f"The name {name!r} fails: {type(error).__name__}: {error}\n"
                    f"Fix: replace in `log` what the place does not take, so that no two names become one, or refuse "
                    f'it with the reason:\n    raise UnsupportedLoggable(f"... {{name!r}} ...")'
                ) from error
        backend.flush()
        log = place.read()
        rows = [] if log is None else [number for values in log.values() for _, number in values]
        if log is not None and len(taken) != len(log):
            shared = [tag for tag, values in log.items() if len(values) > 1]
            lost = [NAMES[i - 1] for i in range(1, len(NAMES) + 1) if NAMES[i - 1] in taken and i not in rows]
            what = f"several of them became {shared[0]!r}" if shared else f"{lost[0]!r} is not there" if lost else "?"
            raise Finding(
                f"{len(taken)} different names were taken, and the log has {len(log)} tags: {what}.\n"
                f"Fix: replace in `log` what the place does not take so that no two names become one."
            )
        return Checked(len(taken) + len(refused), "names")


def threads(places: Places) -> Checked:
    """It can be used from several threads, and nothing is lost or doubled."""
    with places.place() as place:
        backend, errors = taking_numbers(place), list[Exception]()

        def work(thread: int) -> None:
            try:
                for i in range(5):
                    log_to(backend, Value(10 * thread + i), "Loss", i, ("Step", f"Thread{thread}"))
            except Exception as error:
                errors.append(error)

        workers = [threading.Thread(target=work, args=(thread,)) for thread in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        if errors:
            raise Finding(
                f"Logging from another thread fails: {type(errors[0]).__name__}: {errors[0]}\n"
                f"Fix: let every thread use the connection: the calls come one at a time, since `receive` holds "
                f"`self.lock`:\n    sqlite3.connect(path, check_same_thread=False)"
            ) from errors[0]
        backend.flush()
        log = place.read()
        if log is not None:
            compare({f"Step/Thread{k}/Loss": [(i, 10.0 * k + i) for i in range(5)] for k in range(4)}, log)
        return Checked(20, "numbers")


def taking_numbers(place: Place) -> LoggerBackend:
    """A new backend.

    Raises:
        DoesNotApply: if it does not take numbers.
    """
    backend = place.make()
    if not backend.supports(Value(0.5)):
        raise DoesNotApply("It does not take a Value.")
    return backend


def compare(expected: Log, found: Log) -> None:
    """Raise a finding where a log does not hold what was logged."""
    for tag in [*expected, *(tag for tag in found if tag not in expected)]:
        logged, there = expected.get(tag, ()), found.get(tag, ())
        if not there:
            raise Finding(f"{tag!r} is not in the log, which has {', '.join(map(repr, found)) or 'nothing'}.\n{FIX}")
        at, found_at = [i for i, _ in logged], [i for i, _ in there]
        if at != found_at:
            raise Finding(f"The log has {tag!r} at the iterations {found_at}, not at {at}.\n{FIX}")
        for (i, number), (_, value) in zip(logged, there, strict=True):
            if not alike(number, value):
                raise Finding(f"{tag!r} is {value!r} at the iteration {i}, and {number!r} was logged.\n{FIX}")


def expect(place: Place, iterations: Sequence[int], when: str, fix: str) -> None:
    """Raise a finding unless a log holds 0.5 at these iterations, and nothing else.

    Args:
        when: When it has to: "after `flush`".
        fix: What the author of the backend can do about it.
    """
    log = place.read()
    if log is None:
        return
    try:
        compare({"Step/Loss": [(i, 0.5) for i in iterations]}, log)
    except Finding as finding:
        raise Finding(f"The log is wrong {when}. {str(finding).splitlines()[0]}\n{fix}") from None


def alike(number: float, value: float) -> bool:
    """Whether a number of a log is that which was logged, to 32 bits; some places keep an infinity as their largest."""
    if math.isnan(number) or math.isnan(value):
        return math.isnan(number) and math.isnan(value)
    if math.isinf(number):
        return abs(value) > 3.4e38 and (value > 0) == (number > 0)
    return math.isclose(number, value, rel_tol=1e-6, abs_tol=1e-37)
