"""What is made equal in all processes: parameters, buffers and gradients."""

from __future__ import annotations

import torch
import torch.distributed as dist
from treadle.authoring import Processes

from treadle_distributed.group import ProcessGroupError


def make_equal(model: torch.nn.Module, processes: Processes, name: str) -> int:
    """Give every process the parameters and buffers of the main one.

    Returns:
        A seed that all processes have in common: that of the main one.

    Raises:
        ProcessGroupError: if the models differ in more than their numbers; it names the first difference.
    """
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    listed = [f"{key}: {tuple(tensor.shape)}, {tensor.dtype}" for key, tensor in tensors.items()]
    gathered = processes.gather((listed, torch.initial_seed()))
    for rank, (theirs, _) in enumerate(gathered):
        if theirs != gathered[0][0]:
            differ = sorted(set(theirs) ^ set(gathered[0][0])) or theirs
            raise ProcessGroupError(
                f"{name} trains one model, and that of process {rank} is another than that of process 0: they differ "
                f"in {differ[0]}.\nFix: let the script make the same model in every process."
            )
    with torch.no_grad():
        for tensor in tensors.values():
            dist.broadcast(tensor.detach(), 0)
    seed: int = gathered[0][1]
    return seed


def broadcast_buffers(model: torch.nn.Module) -> None:
    """Give every process the buffers of the main one."""
    with torch.no_grad():
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)


def reduce_gradients(model: torch.nn.Module, size: int) -> None:
    """Give every process the mean of the gradients of all; a parameter without one counts as zero, if another has one.

    This is what torch's engine does in a backward pass, for gradients of which that has not been done.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        return
    present = torch.tensor([parameter.grad is not None for parameter in parameters], dtype=torch.uint8)
    present = present.to(parameters[0].device)
    dist.all_reduce(present, dist.ReduceOp.MAX)
    for parameter, somewhere in zip(parameters, present.tolist(), strict=True):
        if not somewhere:
            continue
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        parameter.grad.div_(size)
        dist.all_reduce(parameter.grad)
