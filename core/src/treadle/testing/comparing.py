"""Whether two trainings came to the same end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from treadle.access import Write
from treadle.testing.findings import Finding
from treadle.testing.freeze import frozen, same
from treadle.testing.run import Run
from treadle.testing.subject import Subject


def differs(one: Run, other: Run, whose: str, subject: Subject) -> None:
    """Raise a finding if two runs came to different ends."""
    assert one.callback is not None
    assert other.callback is not None
    if one.ended != other.ended:
        raise Finding(f"with {whose}, {other.ended} instead of {one.ended}.")
    # Who ends a fit at the end of a step may run before or beside the trail, so its last entry may be missing.
    own, its = ([*run.trail.steps[: one.learner.progress.steps - 1], weights(run)] for run in (one, other))
    if not same(frozen(own), frozen(its)):
        raise Finding(f"with {whose}, the weights are others.")
    if not same(frozen(one.callback.state_dict()), frozen(other.callback.state_dict())):
        raise Finding(f"with {whose}, state_dict gives something else in the end.")
    for path in written_below_cbstate(subject):
        found = [frozen(entry(run.learner.cbstate, path)) for run in (one, other)]
        if not same(*found):
            raise Finding(f"with {whose}, `{path}` holds something else in the end.")


def weights(run: Run) -> list[dict[str, torch.Tensor]]:
    """All parameters and buffers that a training ended with."""
    return [model.state_dict() for model in run.learner.models]


def entry(entries: Mapping[str, Any], path: str) -> Any:
    """What is at a path below `cbstate`, or None."""
    value: Any = entries
    for name in path.split(".")[1:]:
        if not isinstance(value, Mapping) or name not in value:
            return None
        value = value[name]
    return value


def written_below_cbstate(subject: Subject) -> list[str]:
    """The entries of `cbstate` that the callback writes."""
    return [path for path, mode in subject.declared.items() if mode is Write and path.startswith("cbstate.")]
