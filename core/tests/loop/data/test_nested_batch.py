from collections import Counter, OrderedDict, UserDict, UserList, defaultdict, deque, namedtuple
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils.rnn import PackedSequence, pack_sequence, pad_packed_sequence
from treadle.authoring import map_tensors
from treadle.errors import ArgumentTypeError

Pair = namedtuple("Pair", "left right")


@dataclass(frozen=True)
class Frozen:
    pixels: object
    label: str = "seven"


@dataclass(slots=True)
class Slotted:
    pixels: object


class Named(Mapping):
    """A mapping that keeps its items in an attribute."""

    def __init__(self, **items: object) -> None:
        self._items = items

    def __getitem__(self, key: str) -> object:
        return self._items[key]

    def __iter__(self):
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)


class Row(Sequence):
    """A sequence that keeps its items in a slot."""

    __slots__ = ("__cells",)

    def __init__(self, *cells: object) -> None:
        self.__cells = list(cells)

    def __getitem__(self, i):
        return self.__cells[i]

    def __len__(self) -> int:
        return len(self.__cells)


class Attributed(dict):
    """A dictionary whose keys are attributes as well."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.__dict__ = self


class Doubling(dict):
    """A dictionary that changes what is put in."""

    def __setitem__(self, key, value) -> None:
        super().__setitem__(key, value * 2)


class Noted(list):
    """A list with a note."""

    note: object = None


class Graph:
    """As libraries for graphs have them: moves itself, in place."""

    def __init__(self, nodes: torch.Tensor) -> None:
        self.nodes = nodes

    def to(self, dtype: torch.dtype) -> "Graph":
        self.nodes = self.nodes.to(dtype)
        return self


def double(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to(torch.float64)


def listed(items):
    return st.lists(items, max_size=3)


def named(items):
    return st.dictionaries(st.sampled_from("abc"), items, max_size=3)


def containers(items):
    return st.one_of(
        listed(items),
        listed(items).map(tuple),
        listed(items).map(deque),
        listed(items).map(UserList),
        listed(items).map(lambda values: Row(*values)),
        named(items),
        named(items).map(OrderedDict),
        named(items).map(UserDict),
        named(items).map(Counter),
        named(items).map(MappingProxyType),
        named(items).map(Attributed),
        named(items).map(lambda values: Named(**values)),
        named(items).map(lambda values: defaultdict(list, values)),
        st.builds(Pair, items, items),
        st.builds(Frozen, items),
        st.builds(Slotted, items),
    )


LEAVES = st.one_of(
    st.integers(0, 5).map(lambda n: torch.arange(float(n))),
    st.integers(1, 5).map(lambda n: pack_sequence([torch.ones(n)])),
    st.frozensets(st.integers()).map(lambda numbers: {torch.tensor(float(n)) for n in numbers}),
    st.integers(0, 5).map(lambda n: Graph(torch.ones(n))),
    st.sampled_from([None, 1, 2.5, "text", b"bytes", frozenset({1}), range(3), torch.float32]),
)
BATCHES = st.recursive(LEAVES, containers, max_leaves=12)


def content(part: object, dtype: torch.dtype | None = None) -> object:
    """The types of the containers of a batch, and the values and types of its tensors; as if these had a `dtype`."""
    kind = type(part).__name__
    if isinstance(part, torch.Tensor):
        return kind, dtype or part.dtype, part.tolist()
    if isinstance(part, PackedSequence):
        return kind, content(part.data, dtype), part.batch_sizes.tolist()
    if isinstance(part, Graph):
        return kind, content(part.nodes, dtype)
    if isinstance(part, Mapping):
        return kind, {key: content(value, dtype) for key, value in part.items()}
    if isinstance(part, set):
        return kind, sorted((content(item, dtype) for item in part), key=repr)
    if isinstance(part, list | tuple | deque | Sequence) and not isinstance(part, str | bytes | range):
        return kind, [content(item, dtype) for item in part]
    if isinstance(part, Frozen | Slotted):
        return kind, content(part.pixels, dtype)
    return kind, part


@settings(max_examples=100, deadline=None)
@given(BATCHES)
def test_every_tensor_is_replaced_and_the_batch_itself_is_never_changed(batch) -> None:
    before, wanted = content(batch), content(batch, torch.float64)
    assert content(map_tensors(double, batch)) == wanted
    assert content(batch) == before
    assert content(map_tensors(double, batch)) == wanted


@settings(max_examples=30, deadline=None)
@given(BATCHES)
def test_a_batch_in_which_nothing_is_replaced_comes_back_as_it_is(batch) -> None:
    if "Graph" not in repr(content(batch)):
        assert map_tensors(lambda tensor: tensor, batch) is batch


def test_containers_keep_what_they_are_beside_their_items() -> None:
    factory = map_tensors(double, defaultdict(list, a=torch.ones(1)))
    assert factory["not there"] == []
    assert map_tensors(double, deque([torch.ones(1)], maxlen=3)).maxlen == 3
    noted = Noted([torch.ones(1)])
    noted.note = torch.zeros(1)
    assert map_tensors(double, noted).note.dtype == torch.float64
    attributed = map_tensors(double, Attributed(a=torch.ones(1)))
    assert attributed.a is attributed["a"]
    assert attributed.a.dtype == torch.float64


def test_no_method_of_a_container_changes_what_is_put_in() -> None:
    batch = Doubling(a=torch.ones(1), b=3)
    assert map_tensors(double, batch) == {"a": torch.ones(1, dtype=torch.float64), "b": 3}
    counts = Counter(a=torch.ones(1))
    for _ in range(3):
        assert map_tensors(double, counts)["a"].item() == 1


def test_a_tensor_that_is_there_twice_is_replaced_once() -> None:
    tensor = torch.ones(1)
    first, (second,) = map_tensors(double, (tensor, [tensor]))
    assert first is second


def test_a_list_inside_of_itself_ends() -> None:
    batch: list[object] = [torch.ones(1)]
    batch.append(batch)
    assert map_tensors(double, batch)[0].dtype == torch.float64


def test_a_packed_sequence_keeps_its_order() -> None:
    sequences = [torch.tensor([1.0]), torch.tensor([2.0, 3.0])]
    packed = map_tensors(double, pack_sequence(sequences, enforce_sorted=False))
    assert packed.sorted_indices.dtype == torch.int64
    assert pad_packed_sequence(packed, batch_first=True)[0].tolist() == [[1.0, 0.0], [2.0, 3.0]]


def test_what_is_a_class_or_a_module_like_object_without_tensors_stays() -> None:
    batch = (Frozen, torch.float32, object)
    assert map_tensors(double, batch) is batch


class Hidden(Mapping):
    """A mapping that makes its items when asked."""

    def __getitem__(self, key: str) -> torch.Tensor:
        return torch.ones(1)

    def __iter__(self):
        return iter(["a"])

    def __len__(self) -> int:
        return 1


class Fixed(tuple):
    """A tuple that is not made of an iterable."""

    def __new__(cls, left, right):
        return super().__new__(cls, (left, right))


@pytest.mark.parametrize("batch", [Hidden(), Fixed(torch.ones(1), torch.ones(1))], ids=["mapping", "tuple"])
def test_a_container_that_cannot_be_made_anew_is_refused_by_name(batch) -> None:
    message = (
        rf"The batch holds a {type(batch).__name__}, which cannot be rebuilt with other tensors.\n"
        r"Fix: give it a method that moves it, or let the loader yield a tuple or a dict:\n"
        rf"    class {type(batch).__name__}:\n        def to\(self, device\): ..."
    )
    with pytest.raises(ArgumentTypeError, match=message):
        map_tensors(double, (batch,))
