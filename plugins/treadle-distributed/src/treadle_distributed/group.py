"""`join_group`: the process group that a run is a part of; one that the script has made, or one made of torchrun's."""

from __future__ import annotations

import atexit
import os
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from treadle.errors import ArgumentTypeError, ArgumentValueError, TreadleError

#: What torchrun sets for each process that it starts.
ENVIRONMENT = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class ProcessGroupError(TreadleError, RuntimeError):
    """The processes of a run cannot work together."""


@dataclass(frozen=True)
class Group:
    """The processes of a run.

    Attributes:
        rank: The number of this one, from 0, which is the main one.
        size: How many there are.
    """

    rank: int = 0
    size: int = 1


def join_group(timeout: float | timedelta | None = None) -> Group:
    """Join the processes of the run: the group that the script has made or, under torchrun, one that is made here.

    In a single process nothing is made. A group that is made here is destroyed when the process ends; one that the
    script has made is the script's.

    Args:
        timeout: How long a process waits for the others, in seconds or as a `timedelta`. Default: torch's own, 30
            minutes for CPUs and 10 for NCCL.

    Raises:
        ArgumentTypeError, ArgumentValueError: if `timeout` is not a positive time.
        ProcessGroupError: if the variables of torchrun are incomplete, or a process has no GPU of its own.

    Example:
        >>> join_group()
        Group(rank=0, size=1)
    """
    limit = checked_timeout(timeout)
    if not dist.is_available():
        return Group()
    if not dist.is_initialized():
        size = launched()
        if size == 1:
            return Group()
        make_group(limit)
        atexit.register(leave_group)
    return Group(dist.get_rank(), dist.get_world_size())


def launched() -> int:
    """How many processes torchrun has started; 1 where it has not.

    Raises:
        ProcessGroupError: if only some of its variables are there.
    """
    if "WORLD_SIZE" not in os.environ or os.environ["WORLD_SIZE"] == "1":
        return 1
    missing = [name for name in ENVIRONMENT if name not in os.environ]
    if missing:
        raise ProcessGroupError(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']}, and {', '.join(missing)}, which a process needs to find the "
            f"others, {'is' if len(missing) == 1 else 'are'} not set.\n"
            f"Fix: start the script by torchrun, which sets all of them:\n    torchrun --nproc-per-node=2 train.py\n"
            f"Or make the group in the script, before the callbacks:\n    torch.distributed.init_process_group(...)"
        )
    return int(os.environ["WORLD_SIZE"])


def make_group(timeout: timedelta | None) -> None:
    """Make a group of the processes that torchrun has started; each takes the GPU of its number, where there are some.

    Tensors on CPUs go by gloo, those on GPUs by NCCL.
    """
    backend = "gloo"
    if torch.cuda.is_available():
        number, count = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
        if number >= count:
            raise ProcessGroupError(
                f"torchrun has started more processes than this machine has GPUs: process {number}, counted from 0, "
                f"has none of its own, and there {'is' if count == 1 else 'are'} {count}.\n"
                f"Fix: start one for each GPU:\n    torchrun --nproc-per-node={count} train.py\n"
                f"Or train on the CPU:\n    CUDA_VISIBLE_DEVICES= torchrun --nproc-per-node=2 train.py"
            )
        torch.cuda.set_device(number)
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, **({} if timeout is None else {"timeout": timeout}))  # type: ignore[arg-type]


def leave_group() -> None:
    """Destroy the group that was made here."""
    if dist.is_initialized():
        dist.destroy_process_group()


def checked_timeout(timeout: object) -> timedelta | None:
    """A time limit as torch takes it."""
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float, timedelta)):
        raise ArgumentTypeError(
            f"timeout must be a number of seconds or a timedelta, got {timeout!r}.\n"
            f"Fix: write, for example:\n    DDP(timeout=300)"
        )
    limit = timeout if isinstance(timeout, timedelta) else timedelta(seconds=timeout)
    if limit <= timedelta(0):
        raise ArgumentValueError(
            f"timeout must be positive, got {timeout!r}.\nFix: write, for example:\n    DDP(timeout=300)"
        )
    return limit
