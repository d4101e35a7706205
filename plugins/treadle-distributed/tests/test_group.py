"""The process group: whose it is, and what is refused."""

from datetime import timedelta

import pytest
import torch
from treadle.errors import ArgumentTypeError, ArgumentValueError
from treadle_distributed.group import Group, ProcessGroupError, join_group, make_group


def test_without_torchrun_there_is_one_process_and_no_group_is_made() -> None:
    assert join_group(timeout=60) == Group(rank=0, size=1)
    assert not torch.distributed.is_initialized()


def test_torchrun_with_one_process_makes_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("RANK", "0")
    assert join_group() == Group(rank=0, size=1)
    assert not torch.distributed.is_initialized()


def test_variables_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    monkeypatch.delenv("MASTER_PORT", raising=False)
    with pytest.raises(ProcessGroupError, match="MASTER_ADDR, MASTER_PORT, which a process needs"):
        join_group()


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ProcessGroupError, match=r"process 1, counted from 0, has none of its own, and there is 1\."):
        make_group(None)


@pytest.mark.parametrize("timeout", ["60", True, [60]])
def test_a_time_limit_is_a_number_of_seconds_or_a_timedelta(timeout: object) -> None:
    with pytest.raises(ArgumentTypeError, match="timeout must be a number of seconds or a timedelta"):
        join_group(timeout)  # type: ignore[arg-type]


@pytest.mark.parametrize("timeout", [0, -1.5, timedelta(seconds=-1)])
def test_a_time_limit_is_positive(timeout: float | timedelta) -> None:
    with pytest.raises(ArgumentValueError, match="timeout must be positive"):
        join_group(timeout)
