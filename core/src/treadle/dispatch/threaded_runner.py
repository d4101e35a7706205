"""`ThreadedRunner`: runs the handlers of an event side by side, where that is valid."""

from __future__ import annotations

import contextvars
import functools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

import torch

from treadle.arguments import whole_number
from treadle.dispatch.call import Call
from treadle.dispatch.raised import exception_of, leading
from treadle.dispatch.runners import CallbackRunner, Run, one_after_the_other
from treadle.errors import FitException
from treadle.loop.scope import closed


class ThreadedRunner(CallbackRunner):
    """Runs handlers side by side in threads where their declarations show that it is valid.

    Handlers that are ordered, or of which one writes what the other uses, run in their order; so
    the state afterwards is the one that `LinearRunner` gives, also after a cancel. Beside a handler that
    raises an error, those that are not ordered after it have run already. Worth its cost only for
    handlers that wait for something, such as a disk.

    A callback that declares `"loop": Write` is called on its own, in the thread of the fit; a handler that enters
    the loop without it, beside others, is refused. Callbacks that share something of the process, such as
    collectives, all declare `"cbstate.process": Write`, and so never run side by side.

    Args:
        max_workers: The maximum number of threads. Default: 4.

    Raises:
        ThreadError: in a fit, if a handler enters its loop beside others.
        ArgumentTypeError, ArgumentValueError: if `max_workers` is not a whole number of at least 1.

    Example:
        >>> from treadle import CustomCallback, FitEnd, toy_learner
        >>> done = set()
        >>> callbacks = [CustomCallback(lambda learner, i=i: done.add(i), FitEnd) for i in range(3)]
        >>> _ = toy_learner(*callbacks, runner=ThreadedRunner()).fit(0)
        >>> sorted(done)
        [0, 1, 2]
    """

    def __init__(self, max_workers: int = 4) -> None:
        self.max_workers = whole_number(max_workers, "max_workers", "ThreadedRunner(max_workers=4)", least=1)
        self._worker = threading.local()
        self._pool = ThreadPoolExecutor(
            self.max_workers, thread_name_prefix="treadle", initializer=setattr, initargs=(self._worker, "here", True)
        )

    def __reduce__(self) -> tuple[type[ThreadedRunner], tuple[int]]:
        return type(self), (self.max_workers,)

    def compile(self, calls: Sequence[Call]) -> Run:
        if len(calls) == 1:
            return one_after_the_other(calls)
        groups = stages(calls)

        def run_stages() -> None:
            exceptions: dict[Call, BaseException] = {}
            for group in groups:
                exceptions.update(self._run_together(group))
                if not all(isinstance(exception, FitException) for exception in exceptions.values()):
                    break
            if not exceptions:
                return
            in_order = [call for call in calls if call in exceptions]
            for call in in_order:
                call.annotate(exceptions[call])
            try:
                raise leading([(call.callback, exceptions[call]) for call in in_order], calls[0])
            finally:
                exceptions.clear()  # the tracebacks hold this frame

        return run_stages

    def _run_together(self, group: Sequence[Call]) -> dict[Call, BaseException]:
        """Make calls side by side, and return what they raised."""
        first, *others = group
        in_pool = hasattr(self._worker, "here")  # a loop inside a handler: all threads of the pool may be taken
        with closed(first.learner) if others and not in_pool else nullcontext():
            futures = [] if in_pool else self._submit(others)
            found: list[BaseException | None] = []
            try:
                found.append(exception_of(first))
                found += [future.result() for future in futures] or [exception_of(call) for call in others]
                return {call: exception for call, exception in zip(group, found, strict=True) if exception is not None}
            finally:
                wait(futures)  # also after an interrupt: no handler runs on beside what follows
                futures.clear()
                found.clear()  # the tracebacks hold this frame

    def _submit(self, calls: Sequence[Call]) -> list[Future[BaseException | None]]:
        """Make calls in other threads, as if they were made in this one."""
        modes = torch_modes() if calls else []
        return [self._pool.submit(contextvars.copy_context().run, run_in, modes, call) for call in calls]


Mode = Callable[[], AbstractContextManager[Any]]


def torch_modes() -> list[Mode]:
    """What sets torch's modes for gradients and autocast in another thread as they are in this one."""
    gradients = functools.partial(torch.set_grad_enabled, torch.is_grad_enabled())
    autocasts = (
        functools.partial(torch.autocast, device, torch.get_autocast_dtype(device))
        for device in ("cpu", "cuda", "mps", "xpu")
        if torch.is_autocast_enabled(device)
    )
    return [gradients, *autocasts]


def run_in(modes: Sequence[Mode], call: Call) -> BaseException | None:
    """Make a call, in another thread, under these modes, and return what it raised."""
    with ExitStack() as stack:
        for mode in modes:
            stack.enter_context(mode())
        return exception_of(call)


def stages(calls: Sequence[Call]) -> list[list[Call]]:
    """The calls in groups: those of one group are independent, and each comes after all that it depends on."""
    levels: list[int] = []
    for i, call in enumerate(calls):
        levels.append(max((levels[j] + 1 for j in range(i) if not call.independent(calls[j])), default=0))
    return [[call for call, level in zip(calls, levels, strict=True) if level == n] for n in range(max(levels) + 1)]
