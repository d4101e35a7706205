"""`Agreement`: all processes of a run decide together what takes effect of what was raised on one of them."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any
from zlib import crc32

import torch
import torch.distributed as dist
from treadle import Phase
from treadle.authoring import differing_entries, plan_of
from treadle.errors import EndOfData

from treadle_distributed.agreement.notices import Notices, is_lost_connection
from treadle_distributed.agreement.requests import (
    END_OF_DATA,
    ERROR,
    NOTHING,
    ApartError,
    ProcessError,
    Request,
    effect,
    width_of,
)

#: How long a process that ends by an error waits for the others at most: they end anyway.
GRACE = timedelta(seconds=20)

#: Below all checksums of places, and all that are turned round.
NOWHERE = -(2**40)

numbers = itertools.count()


@dataclass(frozen=True)
class Place:
    """Where a process is.

    Args:
        point: The point that it has come to, or what was raised, and when.
        plan: At the first point of a fit, the entries of the plan that all processes must have in common.
    """

    point: str
    plan: dict[str, str] | None = None


class Agreement:
    """How the processes of a run agree, on a group of their own, by tensors of the CPU.

    At each point there is one `all_reduce` of a few numbers; more only where somebody asks for something, or the
    processes have come apart. It is what a callback overrides the operation `agree` with, in every process:

        def agree(self, learner, phase, point, request):
            return self.agreement.agree(learner, phase, point, request)

    Args:
        timeout: How long a process waits for the others. Default: as long as in its process group.
    """

    def __init__(self, timeout: timedelta | None = None) -> None:
        self.timeout, self._number = timeout, next(numbers)
        self._count = 0  # of agreements, equal in all processes
        self._group: dist.ProcessGroup | None = None
        self._lost: str | None = None
        self._notices = Notices()

    def __getstate__(self) -> dict[str, Any]:
        """Without connections, which a copy makes anew."""
        return {**vars(self), "_group": None, "_notices": Notices()}

    def agree(
        self, learner: Any, phase: Phase | None, point: str, request: BaseException | None
    ) -> BaseException | bool:
        """What takes effect on this process at a point, or False; see `treadle.operations.Agree`.

        Raises:
            ApartError: if the processes are not at the same point, or a fit begins and they have different plans.
            ProcessError: if the others do not answer.
        """
        self._count += 1
        rank, key = dist.get_rank(), f"treadle/agreement/{self._number}/{self._count}"
        if request is not None and is_lost_connection(request) and (notice := self._notices.found(key, rank)):
            self._lost = str(notice.raised_here())
            return notice.raised_here()
        if self._lost is not None:  # who has gone does not come back
            return ProcessError(self._lost) if request is None else request
        place = place_of(learner, phase, point) if request is None else Place(f"raises {request!r}")
        if width_of(request) == ERROR:
            self._notices.leave(key, Request.of(rank, request))
        try:
            return self._agreed(rank, place, phase, request)
        except ApartError:
            raise
        except RuntimeError as error:
            notice = self._notices.found(key, rank)
            self._lost = lost(place, error) if notice is None else str(notice.raised_here())
            if notice is not None and width_of(request) < ERROR:
                return notice.raised_here()
            raise ProcessError(self._lost) from error

    def _agreed(
        self, rank: int, place: Place, phase: Phase | None, request: BaseException | None
    ) -> BaseException | bool:
        here, width = checksum(place) if request is None else NOWHERE, width_of(request)
        widest, batches, highest, lowest = self._largest(
            [width, int(width != END_OF_DATA), here, NOWHERE if here == NOWHERE else -here],
            patience=GRACE if width == ERROR else None,
        )
        apart = highest != NOWHERE and highest != -lowest
        if not apart and widest == NOTHING:
            return False
        if not apart and widest == END_OF_DATA:
            training = phase is not None and phase.training
            return False if batches and not training else request or EndOfData()
        gathered = self._gathered(place, Request.of(rank, request))
        if apart and widest < ERROR:
            raise come_apart([(place, other.rank) for place, other in gathered if other.width == NOTHING])
        return effect(request, [other for _, other in gathered])

    def _largest(self, values: list[int], patience: timedelta | None) -> list[int]:
        """The largest of each of these numbers, over all processes."""
        tensor = torch.tensor(values, dtype=torch.int64)
        if patience is None or (self.timeout is not None and self.timeout < patience):
            dist.all_reduce(tensor, dist.ReduceOp.MAX, self.group)
        else:
            dist.all_reduce(tensor, dist.ReduceOp.MAX, self.group, async_op=True).wait(patience)
        largest: list[int] = tensor.tolist()
        return largest

    def _gathered(self, place: Place, request: Request) -> list[tuple[Place, Request]]:
        """The places and requests of all processes, by their ranks."""
        text = json.dumps([place.point, place.plan, asdict(request)]).encode()  # not pickled, which needs numpy
        (length,) = self._largest([len(text)], None)
        mine = torch.tensor(list(text.ljust(length)), dtype=torch.uint8)
        found = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
        dist.all_gather(found, mine, self.group)
        gathered = []
        for tensor in found:
            point, plan, fields = json.loads(bytes(tensor.tolist()))
            gathered.append((Place(point, plan), Request(**{**fields, "notes": tuple(fields["notes"])})))
        return gathered

    @property
    def group(self) -> dist.ProcessGroup:
        """The group, made when it is first needed, which is at the same point in all processes."""
        if self._group is None:
            self._group = dist.new_group(backend="gloo", timeout=self.timeout)
        return self._group


def place_of(learner: Any, phase: Phase | None, point: str) -> Place:
    """Where a process is that comes to a point."""
    progress = learner.progress
    where = "" if phase is None else f" of {type(phase).__name__}"
    text = f"{point!r}{where} in epoch {progress.epoch}, after {progress.steps} steps and {progress.updates} updates"
    return Place(text, plan_of(learner).everywhere.entries if point == "epoch" else None)


def checksum(place: Place) -> int:
    """A number for a place: equal for equal ones, and hardly for others."""
    return crc32(f"{place.point} {'' if place.plan is None else sorted(place.plan.items())}".encode())


def come_apart(places: list[tuple[Place, int]]) -> ApartError:
    """The error for processes of which these, with their ranks, are at different places or have different plans."""
    first, rank = places[0]
    other, other_rank = next(pair for pair in places if pair[0] != first)
    if first.plan is not None and other.plan is not None and first.point == other.point:
        lines = differing_entries(first.plan, other.plan, (f"process {rank}", f"process {other_rank}"))
        return ApartError(
            f"Process {rank} and process {other_rank} would not call the same callbacks:\n    "
            + "\n    ".join(lines)
            + "\nFix: pass the same callbacks in every process; one that prints, logs or writes files takes part on "
            "the main process only if it says so:\n    main_process_only = True"
        )
    return ApartError(
        f"The processes have come apart: process {rank} came to {first.point}; process {other_rank} to {other.point}.\n"
        f"Fix: let every process do the same. Look for what one of them alone does: a step or an evaluation under an "
        f"`if` by its rank, an update that it leaves out, or data of another length without treadle.authoring.batches."
    )


def lost(place: Place, error: BaseException) -> str:
    """The message where the other processes do not answer."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return (
        f"Another process has ended, or has not come within the time limit to where this one is ({place.point}): "
        f"{reason}\n"
        f"Fix: look for the traceback in the output of the others; if they only need longer, pass a time limit:\n"
        f"    DDP(timeout=3600)"
    )
