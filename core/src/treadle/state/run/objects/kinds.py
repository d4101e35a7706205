"""Kinds of objects: which of them the walk enters, which are iterators under way, which are random generators."""

from __future__ import annotations

import operator
import random
import sys
import types
from array import array
from collections import deque
from typing import Any

import torch

from treadle.state.run.objects.attributes import by_class

CONTAINERS = (dict, list, tuple, set, frozenset, deque, types.MappingProxyType)

#: What belongs to the standard library, and is looked into nevertheless. All else of it is machinery: queues, locks.
OPEN = ("builtins", "collections", "functools", "types")

#: The built-in types that are entered.
ENTERED = (types.FunctionType, types.MethodType, types.CellType)

#: The parts of this package that hold a whole learner, and are no part of what holds them.
MACHINERY = tuple(
    f"treadle.{room}" for room in ("learner", "loop", "dispatch", "ordering", "plugins", "state.views", "testing")
)

#: The compiler of torch, whose objects lead to a great many others of its own, and hold nothing of a run.
COMPILER = ("torch._dynamo", "torch._functorch", "torch._inductor", "torch._C._dynamo")


#: The kinds of objects that are yielded and not entered.
ENDS = frozenset({"generator", "end"})


@by_class
def kind_of(cls: type) -> str:
    """How the walk treats the objects of a class: "plain" are passed over, at `ENDS` it ends, others are entered."""
    if issubclass(cls, generators()) and not issubclass(cls, random.SystemRandom):  # which has no state
        return "generator"
    if issubclass(cls, (torch.Tensor, array, random.SystemRandom)) or is_opaque_iterator(cls):
        return "end"
    if issubclass(cls, CONTAINERS) and cls is not torch.Size:
        return "container"
    module = cls.__module__ or ""
    root = module.partition(".")[0]
    if root == "numpy":
        return "end" if cls.__name__ == "ndarray" else "plain"
    if module.startswith((*MACHINERY, *COMPILER)) or (
        module == "torch.utils.data.dataloader" and "Iter" in cls.__name__
    ):
        return "plain"
    if issubclass(cls, (type, types.ModuleType, types.BuiltinFunctionType, property)) or cls.__module__ == "torch":
        return "plain"
    if root in sys.stdlib_module_names and (root not in OPEN or (root == "builtins" and cls not in ENTERED)):
        return "plain"
    return "object"


#: The modules whose iterators have no attributes to look into.
ITERATORS = ("builtins", "itertools", "collections", "_collections", "_io", "csv", "_csv")


def is_opaque_iterator(cls: type) -> bool:
    """Whether its objects are iterators of which nobody can tell where they are: generators, zip, open files."""
    return (
        hasattr(cls, "__next__")
        and not issubclass(cls, CONTAINERS)
        and (cls.__module__ or "").partition(".")[0] in ITERATORS
    )


def is_live(iterator: Any) -> bool:
    """Whether an iterator may have more to give."""
    if isinstance(iterator, types.GeneratorType):
        return iterator.gi_frame is not None
    try:
        return operator.length_hint(iterator, 1) > 0
    except Exception:
        return True


@by_class
def user_classes(cls: type) -> tuple[type, ...]:
    """Those of a class's bases whose attributes may be part of a run: not the libraries'."""
    libraries = ("torch", "numpy", "treadle")
    return tuple(
        base
        for base in cls.__mro__
        if (root := (base.__module__ or "").partition(".")[0]) not in libraries and root not in sys.stdlib_module_names
    )


def is_generator(value: Any) -> bool:
    """Whether it is a random generator whose state can be read and set."""
    return kind_of(type(value)) == "generator"


def generators() -> tuple[type, ...]:
    """The types of random generators that are in use."""
    numpy = sys.modules.get("numpy")
    numpys = (numpy.random.Generator, numpy.random.BitGenerator, numpy.random.RandomState) if numpy else ()
    return (torch.Generator, random.Random, *numpys)
