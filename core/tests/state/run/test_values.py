import json
import math

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from treadle.errors import DamagedCheckpointError, NotSaveableError
from treadle.state.run.values import flatten, unflatten

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | st.just("$tensor")
)
KEYS = (
    st.text(max_size=3)
    | st.integers()
    | st.booleans()
    | st.tuples(st.integers(), st.text(max_size=2))
    | st.just("$dict")
)
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple) | st.dictionaries(KEYS, inner, max_size=3)
    ),
    max_leaves=12,
)


def through_json(tree):
    tensors = {}
    plain = json.loads(json.dumps(flatten(tree, "tree", tensors), allow_nan=False))
    return unflatten(plain, tensors)


@given(TREES)
def test_a_tree_of_plain_values_comes_back_as_it_was(tree):
    assert repr(through_json(tree)) == repr(tree)


@pytest.mark.parametrize("number", [0.1, -0.0, 5e-324, 1.7976931348623157e308, math.inf, -math.inf])
def test_a_float_keeps_every_bit(number):
    assert through_json(number).hex() == number.hex()


@pytest.mark.parametrize(
    "tensor",
    [
        torch.tensor(3),
        torch.zeros(0, 3),
        torch.rand(2, 3).bfloat16(),
        torch.rand(4, 3).t(),
        torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last),
    ],
)
def test_a_tensor_comes_back_with_its_type_shape_and_order_in_memory(tensor):
    back = through_json([tensor])[0]
    assert (back.dtype, back.shape, back.stride()) == (tensor.dtype, tensor.shape, tensor.stride())
    assert torch.equal(back, tensor)


def test_what_comes_back_shares_no_memory_with_what_was_flattened():
    tensors, array = {}, numpy.arange(3)
    plain = flatten({"tensor": torch.zeros(2), "array": array}, "tree", tensors)
    first, second = unflatten(plain, tensors), unflatten(plain, tensors)
    first["tensor"] += 1
    first["array"] += 1
    assert second["tensor"].tolist() == [0, 0]
    assert second["array"].tolist() == [0, 1, 2]


def test_numbers_of_numpy_become_plain_and_arrays_stay_arrays():
    back = through_json(
        {"float": numpy.float32(0.5), "int": numpy.uint64(7), "array": numpy.array([[1, 2]], dtype="u4")}
    )
    assert (type(back["float"]), type(back["int"])) == (float, int)
    assert back["array"].dtype == numpy.uint32
    assert back["array"].tolist() == [[1, 2]]


def test_a_tensor_of_a_device_that_is_not_here_comes_back_on_the_cpu():
    plain = {"$tensor": "far", "device": "cuda:63"}
    assert unflatten(plain, {"far": torch.ones(1)}).device.type == "cpu"


def test_keys_that_look_alike_are_kept_apart():
    back = through_json({1: torch.tensor(1), "1": torch.tensor(2)})
    assert (back[1].item(), back["1"].item()) == (1, 2)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            {"state": {"fn": print}},
            r"cannot hold tree/state/fn, a builtin_function_or_method [^\n]*\nFix: let the state_dict",
        ),
        ([object()], r"cannot hold tree/0, a object"),
        ({1, 2}, r"cannot hold tree, a set"),
        ({frozenset(): 1}, r"its key frozenset\(\) is a frozenset.\nFix: use strings or numbers as keys"),
        (
            torch.eye(2).to_sparse(),
            r"cannot hold tree, a tensor of layout torch.sparse_coo on cpu.\nFix: let the state_dict",
        ),
        (torch.empty(2, device="meta"), r"a tensor of layout torch.strided on meta"),
        (numpy.array(["a"]), r"cannot hold tree, a NumPy array of <U1.\nFix: use an array of numbers"),
        (numpy.longdouble(1), r"cannot hold tree, a NumPy array of \w+.\nFix: use an array of numbers"),
        (
            torch.ones(1, dtype=torch.complex128),
            r"cannot hold tree, a tensor of torch.complex128.\nFix: [^\n]*\n    torch.view_as_real\(tensor\)",
        ),
        ({(1, torch.ones(1)): 2}, r"its key .* is a tuple.\nFix: use strings or numbers as keys"),
    ],
)
def test_what_no_checkpoint_can_hold_is_named(value, message):
    with pytest.raises(NotSaveableError, match=message):
        flatten(value, "tree", {})


def test_a_marker_that_is_not_known_and_a_tensor_that_is_not_there_are_plain():
    with pytest.raises(DamagedCheckpointError, match=r"holds a '\$code', which is not known"):
        unflatten({"$code": "print()"}, {})
    with pytest.raises(DamagedCheckpointError, match=r"lacks the tensor 'mean'.\nFix: resume from another one"):
        unflatten({"$tensor": "mean", "device": "cpu"}, {})


@pytest.mark.parametrize(
    "odd",
    [{"device": 3}, {"device": "toaster"}, {}, {"device": "cpu", "stride": [10**15, 1]}]
    + [{"device": "cpu", "stride": stride} for stride in ([0, 0], [1], "ab", [1.0, 2.0], [3, 2], [-3, 1])],
)
def test_a_device_or_a_stride_that_is_none_is_named(odd):
    with pytest.raises(DamagedCheckpointError, match=r"holds a '\$tensor' of an invalid value .*\nFix: resume from"):
        unflatten({"$tensor": "mean", **odd}, {"mean": torch.ones(2, 3)})


def test_a_state_that_is_nested_too_deep_is_named():
    deep = None
    for _ in range(2000):
        deep = {"$tuple": [deep]}
    with pytest.raises(DamagedCheckpointError, match="recursion"):
        unflatten(deep, {})
