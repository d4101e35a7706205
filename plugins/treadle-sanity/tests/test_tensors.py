from collections import deque, namedtuple

import torch
from torch.nn.utils.rnn import pack_sequence
from treadle_sanity.tensors import finite, opaque, tensors

Point = namedtuple("Point", "x y")


def test_every_tensor_of_a_nested_batch_is_found():
    batch = {"a": [torch.tensor(1), "text"], "b": Point(torch.tensor(2), 3), "c": deque([torch.tensor(3)])}
    assert [t.item() for t in tensors(batch)] == [1, 2, 3]
    assert [t.tolist() for t in tensors(pack_sequence([torch.ones(2)]))] == [[1.0, 1.0]]


def test_finite_means_all_numbers_of_all_tensors():
    assert finite((torch.ones(2), [torch.tensor([1])]))
    assert not finite((torch.ones(2), deque([torch.tensor(float("inf"))])))


def test_what_holds_no_tensor_that_is_found_and_is_no_plain_value_is_opaque():
    unknown = object()
    batch = [1, "a", None, torch.ones(1), deque([torch.ones(1)]), pack_sequence([torch.ones(2)]), {"b": unknown}]
    assert list(opaque(batch)) == [unknown]
