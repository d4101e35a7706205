from collections import OrderedDict, UserDict, defaultdict, namedtuple
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch.nn.utils.rnn import pack_sequence, pad_packed_sequence
from treadle_device import map_tensors

Pair = namedtuple("Pair", "left right")


@dataclass(frozen=True)
class Sample:
    pixels: torch.Tensor
    label: str


class Batch:
    """As libraries for graphs have them: moves itself."""

    def __init__(self, moved: bool = False) -> None:
        self.moved = moved

    def to(self, where: str) -> "Batch":
        return Batch(moved=True)


def double(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.double()


def dtypes(batch: object) -> object:
    return map_tensors(lambda tensor: tensor.dtype, batch)


def test_containers_of_every_kind_come_back_as_what_they_were() -> None:
    one = torch.ones(1)
    moved = map_tensors(double, [one, (one, {"a": one}), Pair(one, [one]), OrderedDict(b=one)])
    wide = torch.float64
    assert dtypes(moved) == [wide, (wide, {"a": wide}), Pair(wide, [wide]), OrderedDict(b=wide)]
    assert [type(part) for part in moved[1:]] == [tuple, Pair, OrderedDict]


def test_the_batch_itself_is_not_changed() -> None:
    batch = {"a": [torch.ones(1)]}
    map_tensors(double, batch)
    assert batch["a"][0].dtype == torch.float32


def test_what_is_not_a_tensor_stays_as_it_is() -> None:
    batch = {"names": ["a", "b"], "count": 3, "none": None, "set": {1, 2}}
    assert map_tensors(double, batch) == batch


def test_a_mapping_keeps_its_other_attributes() -> None:
    batch = defaultdict(list, a=torch.ones(1))
    moved = map_tensors(double, batch)
    assert moved["a"].dtype == torch.float64
    assert moved["not there"] == []
    assert type(map_tensors(double, UserDict(a=torch.ones(1)))) is UserDict
    assert map_tensors(double, MappingProxyType({"a": torch.ones(1)}))["a"].dtype == torch.float64


def test_a_frozen_dataclass_is_copied() -> None:
    sample = Sample(torch.ones(2), "seven")
    moved = map_tensors(double, sample)
    assert (moved.pixels.dtype, moved.label) == (torch.float64, "seven")
    assert sample.pixels.dtype == torch.float32


def test_a_packed_sequence_keeps_its_order() -> None:
    sequences = [torch.tensor([1.0]), torch.tensor([2.0, 3.0])]
    packed = map_tensors(double, pack_sequence(sequences, enforce_sorted=False))
    assert packed.data.dtype == torch.float64
    assert packed.sorted_indices.dtype == torch.int64
    assert pad_packed_sequence(packed, batch_first=True)[0].tolist() == [[1.0, 0.0], [2.0, 3.0]]
    assert map_tensors(double, pack_sequence(sequences[::-1])).sorted_indices is None


def test_an_object_with_a_method_to_is_passed_to_the_function() -> None:
    moved = map_tensors(lambda thing: thing.to("cuda"), {"graphs": Batch()})
    assert moved["graphs"].moved
