"""`check_finished`: whether torch's engine has reduced all gradients of a backward pass."""

from __future__ import annotations

import re

from torch.nn.parallel import DistributedDataParallel

from treadle_distributed.group import ProcessGroupError


def check_finished(engine: DistributedDataParallel, name: str) -> None:
    """Refuse a backward pass after which some gradients are still those of this process alone.

    torch waits for all parameters of a bucket, and says only in the next forward pass that one did not come. No device
    is waited for. The message names the callback.

    Raises:
        ProcessGroupError: if parameters were not part of the pass; it names them.
    """
    try:
        engine.reducer._check_reducer_finalized()
    except RuntimeError as error:
        parameters = dict(engine.module.named_parameters())
        trained = [key for key, parameter in parameters.items() if parameter.requires_grad]
        found = re.search(r"did not receive grad for rank \d+: ([\d ]+)", str(error))
        numbers = [int(number) for number in found[1].split()] if found else []
        unused = [trained[number] for number in numbers if number < len(trained)]
        listed = ", ".join(f"`{key}`" for key in unused[:5]) or "some parameters"
        more = f" and {len(unused) - 5} others" if len(unused) > 5 else ""
        raise ProcessGroupError(
            f"The loss of this batch does not depend on {listed}{more}, and {name} waits for the gradients of all "
            f"parameters: those of other parameters, too, are still what this process alone has computed.\n"
            f"Fix: if batches may leave out parameters:\n    {name}(find_unused_parameters=True)\n"
            f"Or freeze them, before the fit:\n    parameter.requires_grad_(False)"
        ) from error
