"""Whatever a user passes that cannot be right is refused where it is passed, by an error that names it and the fix."""

import math

import pytest
import torch
from torch import nn
from treadle import TreadleError, toy_learner
from treadle_device import GarbageCollect, ToDevice


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: ToDevice(3), "move_data"),
        (lambda: ToDevice(None), "move_data"),
        (lambda: ToDevice(["cpu"]), "move_data"),
        (lambda: ToDevice(torch.ones(1)), "move_data"),
        (lambda: ToDevice("cpu", 3), "move_model"),
        (lambda: ToDevice("cpu", {"model": "cpu"}), "move_model"),
        (lambda: ToDevice(""), "''"),
        (lambda: ToDevice("gpu"), "'gpu'"),
        (lambda: ToDevice("cpu", "cudaa"), "'cudaa'"),
        (lambda: ToDevice("cuda:99"), "'cuda:99'"),
        (lambda: ToDevice("cpu", entries="xs"), "entries"),
        (lambda: ToDevice("cpu", entries=3), "entries"),
        (lambda: ToDevice("cpu", entries=[3]), "entries"),
        (lambda: ToDevice("cpu", entries=None), "entries"),
        (lambda: toy_learner(ToDevice("cpu", entries=["not a name"])), "not a name"),
        (lambda: toy_learner(ToDevice("cpu", lambda model: 3)), "move_model returned 3"),
        (lambda: toy_learner(ToDevice("cpu", lambda model: nn.Linear(2, 1, bias=False))), "move_model returned"),
        (lambda: GarbageCollect(0), "nsteps"),
        (lambda: GarbageCollect(-1), "nsteps"),
        (lambda: GarbageCollect(1.5), "nsteps"),
        (lambda: GarbageCollect("often"), "nsteps"),
        (lambda: GarbageCollect(None), "nsteps"),
        (lambda: GarbageCollect(True), "nsteps"),
        (lambda: GarbageCollect(math.nan), "nsteps"),
        (lambda: GarbageCollect(3, empty_cache="yes"), "empty_cache"),
    ],
)
def test_what_cannot_be_right_is_refused_by_a_typed_error_with_a_fix(call, names):
    with pytest.raises(TreadleError, match=names) as caught:
        call()
    assert "\nFix: " in str(caught.value)
