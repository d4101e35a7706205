"""`ThreadedRunner`: runs the handlers of an event side by side, where that is valid."""

from __future__ import annotations

import contextvars
import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import torch

from treadle.arguments import whole_number
from treadle.dispatch.call import Call
from treadle.dispatch.runners import CallbackRunner, LinearRunner, Run
from treadle.errors import FitException


class ThreadedRunner(CallbackRunner):
    """Runs handlers side by side in threads where their declarations show that it is valid.

    Handlers that are ordered, or of which one writes what the other uses, run in their order; so
    the state afterwards is the one that `LinearRunner` gives, as long as none raises: beside one that
    does, those that are not ordered after it have run already. Worth its cost only for handlers that
    wait for something, such as a disk.

    Args:
        max_workers: The maximum number of threads. Default: 4.

    Raises:
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
        self._pool = ThreadPoolExecutor(self.max_workers, thread_name_prefix="treadle")

    def __reduce__(self) -> tuple[type[ThreadedRunner], tuple[int]]:
        return type(self), (self.max_workers,)

    def compile(self, calls: Sequence[Call]) -> Run:
        if len(calls) == 1:
            return LinearRunner().compile(calls)
        groups = stages(calls)

        def run_stages() -> None:
            for group in groups:
                self._run_together(group)

        return run_stages

    def _run_together(self, group: Sequence[Call]) -> None:
        """Make calls side by side; afterwards raise what the first of them raised."""
        first, *others = group
        modes = torch_modes()
        futures = [self._pool.submit(contextvars.copy_context().run, run_in, modes, call) for call in others]
        raised: list[tuple[Call, BaseException]] = []
        try:
            first()
        except BaseException as error:
            raised.append((first, error))
        for call, future in zip(others, futures, strict=True):
            if (exception := future.exception()) is not None:
                raised.append((call, exception))
        for call, exception in raised:
            call.annotate(exception)
        if raised:
            # An error goes before a cancel, which must not hide it.
            (_, leading), *rest = sorted(raised, key=lambda pair: isinstance(pair[1], FitException))
            for call, other in rest:
                leading.add_note(f"Beside it, {call.callback.name} raised {other!r} in {call.hook.hook}.")
            raise leading


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


def run_in(modes: Sequence[Mode], call: Call) -> object:
    """Make a call, in another thread, under these modes."""
    with ExitStack() as stack:
        for mode in modes:
            stack.enter_context(mode())
        return call()


def stages(calls: Sequence[Call]) -> list[list[Call]]:
    """The calls in groups: those of one group are independent, and each comes after all that it depends on."""
    levels: list[int] = []
    for i, call in enumerate(calls):
        levels.append(max((levels[j] + 1 for j in range(i) if not call.independent(calls[j])), default=0))
    return [[call for call, level in zip(calls, levels, strict=True) if level == n] for n in range(max(levels) + 1)]
