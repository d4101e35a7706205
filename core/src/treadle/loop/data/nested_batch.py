"""`map_tensors`: apply a function to every tensor of a nested batch."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import is_dataclass
from typing import Any

import torch
from torch.nn.utils.rnn import PackedSequence

from treadle.arguments import function
from treadle.errors import ArgumentTypeError
from treadle.state.run.objects.attributes import attributes_of

#: What holds no tensor, though some of it is a sequence.
PLAIN = (str, bytes, bytearray, memoryview, range, int, float, complex, type(None), type)


def map_tensors(f: Callable[[Any], Any], batch: Any) -> Any:
    """The same batch with every tensor replaced by what `f` makes of it; the batch itself is never changed.

    Goes through tuples, lists, deques, sets, mappings, dataclasses and packed sequences, of classes of your own as
    well. They come back as new ones of their type, with their other attributes; one in which nothing is replaced
    comes back as it is. Of an object that has a method `to`, as batches of graphs and of text have, `f` gets a shallow
    copy as a whole. Everything else stays as it is.

    Raises:
        ArgumentTypeError: if `f` is not a function; if a container cannot be made anew, since it does not show where
            its tensors are.

    Example:
        >>> import torch
        >>> map_tensors(lambda t: t.double(), {"x": torch.ones(2), "names": ["a", "b"]})
        {'x': tensor([1., 1.], dtype=torch.float64), 'names': ['a', 'b']}
    """
    function(f, "f", "map_tensors(lambda tensor: tensor.double(), batch)")
    return f(batch) if isinstance(batch, torch.Tensor) else _Mapping(f)(batch)


class _Mapping:
    """One pass over a batch. What is there twice is replaced once, and is afterwards there twice."""

    def __init__(self, f: Callable[[Any], Any]) -> None:
        self.f = f
        self.done: dict[int, tuple[Any, Any]] = {}  # the parts themselves too, so that no id is used twice

    def __call__(self, part: Any) -> Any:
        if isinstance(part, PLAIN):
            return part
        if id(part) not in self.done:
            self.done[id(part)] = part, part  # for a container inside of itself
            self.done[id(part)] = part, self.new(part)
        return self.done[id(part)][1]

    def new(self, part: Any) -> Any:
        """A part with its tensors replaced."""
        if isinstance(part, torch.Tensor):
            return self.f(part)
        if isinstance(part, PackedSequence):
            return self.packed(part)
        if callable(getattr(part, "to", None)):
            return self.f(shallow_copy(part))
        if isinstance(part, dict):
            return self.dictionary(part)
        if isinstance(part, list | deque):
            return self.items(part)
        if isinstance(part, tuple | set | frozenset):
            return self.collection(part)
        if isinstance(part, Mapping | Sequence | Set) or is_dataclass(part):
            return self.holder(part)
        return part

    def replaced(self, values: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
        """Of names or keys with their values those whose value becomes another."""
        return {name: new for name, value in values if (new := self(value)) is not value}

    def dictionary(self, part: dict[Any, Any]) -> Any:
        """A dictionary, also of a class whose `update` or `[]` does something else, as that of `Counter`."""
        attributes = self.replaced(attributes_of(part))
        if not self.replaced(dict.items(part)) and not attributes:
            return part
        made = shallow_copy(part)
        for key, value in dict.items(part):
            dict.__setitem__(made, key, self(value))
        if getattr(part, "__dict__", None) is part:  # keys that are attributes
            made.__dict__ = made
        return with_attributes(made, attributes)

    def items(self, part: list[Any] | deque[Any]) -> Any:
        """A list or a deque."""
        attributes = self.replaced(attributes_of(part))
        if not self.replaced(enumerate(part)) and not attributes:
            return part
        made = shallow_copy(part)
        kind: Any = list if isinstance(part, list) else deque
        for i, value in enumerate(part):
            kind.__setitem__(made, i, self(value))
        return with_attributes(made, attributes)

    def collection(self, part: Any) -> Any:
        """A tuple or a set, which is made of its items."""
        values = [self(item) for item in part]
        attributes = self.replaced(attributes_of(part))
        if not attributes and all(new is old for new, old in zip(values, part, strict=True)):
            return part
        kind = type(part)
        try:
            made = kind._make(values) if hasattr(kind, "_make") else kind(values)
        except TypeError as error:
            raise cannot_be_made(part) from error
        return with_attributes(made, attributes)

    def holder(self, part: Any) -> Any:
        """A dataclass, or a container of another kind, which holds its tensors in attributes."""
        values = self.contents(part)
        attributes = self.replaced(attributes_of(part))
        made = with_attributes(shallow_copy(part), attributes) if attributes else part
        if not values or self.shows(made, values):
            return made
        kind: Any = type(part)
        try:  # what was not in an attribute
            made = kind({**part, **values}) if isinstance(part, Mapping) else kind(map(self, part))
        except TypeError as error:
            raise cannot_be_made(part) from error
        if not self.shows(made, values):
            raise cannot_be_made(part)
        return made

    def contents(self, part: Any) -> dict[Any, Any]:
        """What a container holds that is to be replaced, by its keys, indices or the old values; else nothing."""
        if isinstance(part, Mapping):
            return self.replaced(part.items())
        if isinstance(part, Sequence):
            return self.replaced(enumerate(part))
        return self.replaced((item, item) for item in part) if isinstance(part, Set) else {}

    def shows(self, made: Any, values: dict[Any, Any]) -> bool:
        """Whether a container holds the new values."""
        if isinstance(made, Set):
            present = {id(item) for item in made}
            return all(id(value) in present for value in values.values())
        return all(made[key] is value for key, value in values.items())

    def packed(self, part: PackedSequence) -> PackedSequence:
        """A packed sequence, whose batch sizes stay on the CPU and whose indices stay integers."""
        data = self(part.data)
        if data is part.data:
            return part
        indices = (part.sorted_indices, part.unsorted_indices)
        return PackedSequence(data, part.batch_sizes, *(i if i is None else i.to(data.device) for i in indices))


def with_attributes(made: Any, attributes: Mapping[str, Any]) -> Any:
    """An object after some of its attributes were set, also those of a frozen dataclass."""
    for name, value in attributes.items():
        object.__setattr__(made, name, value)
    return made


def shallow_copy(part: Any) -> Any:
    """A copy that holds the same."""
    try:
        return copy.copy(part)
    except TypeError as error:
        raise cannot_be_made(part) from error


def cannot_be_made(part: Any) -> ArgumentTypeError:
    """The error for a container that hides its tensors."""
    name = type(part).__name__
    return ArgumentTypeError(
        f"The batch holds a {name}, which cannot be rebuilt with other tensors.\n"
        f"Fix: give it a method that moves it, or let the loader yield a tuple or a dict:\n"
        f"    class {name}:\n        def to(self, device): ..."
    )
