"""The options of torch's engine: checked, and as its version names them."""

from __future__ import annotations

import inspect
from typing import Any

from torch.nn.parallel import DistributedDataParallel
from treadle.authoring import did_you_mean
from treadle.errors import ArgumentTypeError

PARAMETERS = inspect.signature(DistributedDataParallel).parameters

#: What is not for the user to say: where it runs and with whom, and what torch gives another name.
NOT_OPTIONS = (
    *("module", "device_ids", "output_device", "dim", "process_group", "device_mesh", "init_sync"),
    *("broadcast_buffers", "forward_sync_buffers", "mixed_precision", "delay_all_reduce_named_params"),
    "param_to_hook_all_reduce",
)


def checked_options(options: dict[str, Any]) -> dict[str, Any]:
    """The options of `DistributedDataParallel`.

    Raises:
        ArgumentTypeError: for one that it does not have.

    Example:
        >>> checked_options({"static_graph": True})
        {'static_graph': True}
    """
    known = [name for name in PARAMETERS if name not in NOT_OPTIONS]
    for name in options:
        if name not in known:
            raise ArgumentTypeError(
                f"DDP has no option {name!r}. {did_you_mean(name, known)}\n"
                f"Fix: pass those of DistributedDataParallel:\n    DDP(gradient_as_bucket_view=True)"
            )
    return options


def of_buffers(broadcast: bool) -> dict[str, bool]:
    """Whether the buffers of the main process are taken in each forward pass, as this version of torch calls it."""
    name = "forward_sync_buffers" if "forward_sync_buffers" in PARAMETERS else "broadcast_buffers"
    return {name: broadcast}
