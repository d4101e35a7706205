"""What `check_callback` accepts, `save_run` can save and `resume` gives back; and the other way round."""

import tempfile
from pathlib import Path

import numpy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from treadle import Callback, toy_learner
from treadle.testing import CallbackCheckError, check_callback
from treadle_checkpoint import NotSaveableError, resume, save_run

DTYPES = [torch.bool, torch.int64, torch.uint16, torch.bfloat16, torch.float64, torch.complex64, torch.complex128]
TENSORS = st.sampled_from([*(torch.ones(2, dtype=dtype) for dtype in DTYPES), torch.eye(2).to_sparse()])
KINDS = ["bool", "int8", "uint16", "float16", "float64", "longdouble", "complex64", "complex128", "datetime64[s]", "U1"]
ARRAYS = st.sampled_from([numpy.zeros(2, kind) for kind in KINDS] + [numpy.array([None])])
NUMBERS = ARRAYS.map(lambda array: array[0])
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.binary(max_size=3)
OTHERS = st.sampled_from([1j, {1}, frozenset(), bytearray(b"a"), range(2), print, int, Path("a"), object()])
KEYS = (
    st.text(max_size=2)
    | st.integers()
    | st.none()
    | st.just("$tensor")
    | st.tuples(st.integers(), TENSORS | st.text(max_size=2))
    | st.sampled_from([1j, Path("a"), frozenset()])
)
VALUES = st.recursive(
    PLAIN | TENSORS | ARRAYS | NUMBERS | OTHERS,
    lambda inner: (
        st.lists(inner, max_size=2) | st.lists(inner, max_size=2).map(tuple) | st.dictionaries(KEYS, inner, max_size=2)
    ),
    max_leaves=4,
)
ALL_BUT_STATE = dict.fromkeys(
    ("declarations", "handlers", "init", "training", "access", "audit", "watching", "runners"), "only the state counts"
)


class Keeps(Callback):
    """Keeps a value, and what it was given back of it."""

    def __init__(self, value=None):
        self.value = value

    def on_epoch_end(self): ...

    def state_dict(self):
        return {"value": self.value}

    def load_state_dict(self, state):
        self.value = state["value"]


def passes_the_check(value) -> bool:
    try:
        check_callback(lambda: Keeps(value), skip=ALL_BUT_STATE, nbatches=1)
    except CallbackCheckError as error:
        if "A checkpoint cannot hold callbacks/Keeps/state/value" in str(error):
            return False
        raise
    return True


def can_be_saved_and_resumed(value, path: Path) -> bool:
    try:
        save_run(toy_learner(Keeps(value), nbatches=1), path)
    except NotSaveableError:
        return False
    resume(toy_learner(Keeps(), nbatches=1), path)
    return True


@settings(max_examples=20, deadline=None)
@given(VALUES)
def test_a_value_passes_the_check_of_the_state_if_and_only_if_it_can_be_saved(value):
    with tempfile.TemporaryDirectory() as folder:
        assert passes_the_check(value) == can_be_saved_and_resumed(value, Path(folder, "run"))
