from collections import namedtuple

import torch
from torch.nn.utils.rnn import pack_sequence
from treadle_sanity.tensors import finite, map_tensors, others, tensors

Point = namedtuple("Point", "x y")


def test_every_tensor_of_a_nested_batch_is_reached():
    batch = {"a": [torch.tensor(1), "text"], "b": Point(torch.tensor(2), 3)}
    assert map_tensors(lambda t: t.item() * 10, batch) == {"a": [10, "text"], "b": Point(20, 3)}
    assert [t.item() for t in tensors(batch)] == [1, 2]


def test_a_packed_sequence_is_left_alone():
    packed = pack_sequence([torch.ones(2)])
    assert map_tensors(torch.Tensor.double, packed) is packed
    assert list(others([packed, 1, None, "a"])) == [packed]


def test_finite_means_all_numbers_of_all_tensors():
    assert finite((torch.ones(2), [torch.tensor([1])]))
    assert not finite((torch.ones(2), [torch.tensor(float("inf"))]))
