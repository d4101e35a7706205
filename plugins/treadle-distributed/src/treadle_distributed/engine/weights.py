"""`Weights`: whether all processes have the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from treadle_distributed.agreement.requests import ApartError

#: Whole numbers of so many bytes.
WHOLE = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class Weights:
    """The parameters of a model, compared between processes where an epoch of training ends.

    Args:
        parameters: By their names.
    """

    def __init__(self, parameters: Mapping[str, torch.Tensor]) -> None:
        self.parameters = parameters

    def part(self) -> torch.Tensor:
        """A whole number for each, the sum of its bits: the same for the same ones, and hardly for others.

        Example:
            >>> Weights({"weight": torch.ones(2), "bias": torch.zeros(1)}).part()
            tensor([2130706432,          0])
        """
        return torch.stack([checksum(parameter.detach()) for parameter in self.parameters.values()])

    def merge(self, parts: Sequence[torch.Tensor]) -> None:
        """Compare those of all processes.

        Raises:
            ApartError: if they differ.
        """
        for rank, part in enumerate(parts):
            differ = [name for name, same in zip(self.parameters, (part == parts[0]).tolist(), strict=True) if not same]
            if differ:
                raise ApartError(
                    f"The processes train apart: `{differ[0]}` of process {rank} is not that of process 0, nor are "
                    f"{len(differ) - 1} of the other {len(self.parameters) - 1} parameters.\n"
                    f"Fix: let every process do the same: the same arguments of callbacks, schedules and optimizers, "
                    f"and random numbers that change weights or gradients drawn alike.",
                    rank,
                )


def checksum(tensor: torch.Tensor) -> torch.Tensor:
    """The sum of a tensor's numbers, read as whole ones; added up in any order it is the same."""
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    return tensor.view(WHOLE[tensor.element_size()]).sum(dtype=torch.int64)
