"""`Notices`: what a process leaves for the others, in the store of the run, before it ends by an error.

A process that waits for another in a collective learns of that one's end by a lost connection or a time limit alone.
Here it finds what has happened. Best effort: where the processes have no store in common, nothing is found.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import torch.distributed as dist

from treadle_distributed.agreement.requests import Request

#: How long the store is asked at most.
PATIENCE = timedelta(seconds=10)

#: What the error of a collective says that failed since another process has gone, or does not come.
SIGNS = ("connection closed", "connection reset", "connection refused", "timed out", "timeout", "gloo", "nccl", "store")

#: What is raised where there is no store, or it does not answer.
NO_ANSWER = (RuntimeError, OSError, LookupError, ValueError, AttributeError)


class Notices:
    """What processes leave for each other."""

    def __init__(self) -> None:
        self._store: Any = None

    def leave(self, key: str, request: Request) -> None:
        """Let all others know why this process ends, unless one did before.

        Args:
            key: The name of the agreement in which they will look for it.
        """
        try:
            self._connected().compare_set(key, "", json.dumps(asdict(request)))
        except NO_ANSWER:
            self._store = None

    def found(self, key: str, rank: int) -> Request | None:
        """Why another process than that of a rank has ended, if it said so."""
        try:
            store = self._connected()
            fields: dict[str, Any] | None = json.loads(store.get(key)) if store.check([key]) else None
        except NO_ANSWER:
            self._store = None
            return None
        if fields is None or fields["rank"] == rank:
            return None
        return Request(**{**fields, "notes": tuple(fields["notes"])})

    def _connected(self) -> Any:
        if self._store is None:
            store: Any = dist.TCPStore  # type: ignore[attr-defined]
            self._store = store(
                os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False, timeout=PATIENCE
            )
        return self._store


def is_lost_connection(error: BaseException) -> bool:
    """Whether an error is one of a collective whose other processes have gone, or do not come.

    Example:
        >>> is_lost_connection(RuntimeError("[../gloo/pair.cc] Connection closed by peer [127.0.0.1]:1234"))
        True
        >>> is_lost_connection(RuntimeError("The size of tensor a (3) must match"))
        False
    """
    if isinstance(error, (dist.DistBackendError, dist.DistNetworkError)):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in SIGNS)
