"""CUDA graphs: kernels that were recorded once, and are started together in each step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: The modes of `torch.compile` that record graphs.
MODES = ("reduce-overhead", "max-autotune")

#: The option that does.
OPTION = "triton.cudagraphs"


def with_cuda_graphs(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of `torch.compile` with which it records graphs, unless they say how it is to compile.

    Example:
        >>> with_cuda_graphs({"dynamic": False})
        {'dynamic': False, 'options': {'triton.cudagraphs': True}}
        >>> with_cuda_graphs({"mode": "default"})
        {'mode': 'default'}
    """
    if options.get("mode") is not None or options.get("backend", "inductor") != "inductor":
        return dict(options)
    return {**options, "options": {OPTION: True, **(options.get("options") or {})}}


def records(options: Mapping[str, Any]) -> bool:
    """Whether a graph is recorded with these options, which overwrites in each step what it gave in the one before."""
    return options.get("mode") in MODES or bool((options.get("options") or {}).get(OPTION))
