import collections
import functools
import random
import types
from dataclasses import dataclass

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler
from treadle import Callback, ValidationPhase, toy_learner
from treadle.state.random_state import RandomState, own_generators, sources_of
from treadle.state.run.objects.kinds import is_generator
from treadle.state.run.objects.walk import LARGEST, walk

MAKERS = [
    lambda: torch.Generator().manual_seed(3),
    lambda: random.Random(3),
    lambda: numpy.random.default_rng(3),
    lambda: numpy.random.RandomState(3),
    lambda: numpy.random.PCG64(3),
]


class Plain:
    def __init__(self, name, value):
        setattr(self, name, value)


@dataclass
class Field:
    inside: object


class Slotted:
    __slots__ = ("inside",)

    def __init__(self, inside):
        self.inside = inside


class Method:
    def __init__(self, inside):
        self.inside = inside

    def collate(self, batch):
        return batch


def closure(inside):
    return lambda batch: (batch, inside)


NESTINGS = {
    "an attribute": lambda name, value: Plain(name, value),
    "a list": lambda name, value: [None, value],
    "a tuple": lambda name, value: (value, 1),
    "a named tuple": lambda name, value: collections.namedtuple("Pair", ["first", "second"])(1, value),
    "a dict": lambda name, value: {name: value},
    "a default dict": lambda name, value: collections.defaultdict(list, {name: value}),
    "a deque": lambda name, value: collections.deque([value]),
    "a user's dict": lambda name, value: collections.UserDict({name: value}),
    "a namespace": lambda name, value: types.SimpleNamespace(**{name: value}),
    "a partial function": lambda name, value: functools.partial(print, value),
    "a keyword of one": lambda name, value: functools.partial(print, **{name: value}),
    "a closure": lambda name, value: closure(value),
    "a default": lambda name, value: types.FunctionType((lambda batch, rng=None: batch).__code__, {}, argdefs=(value,)),
    "a dataclass": lambda name, value: Field(value),
    "a slot": lambda name, value: Slotted(value),
    "a bound method": lambda name, value: Method(value).collate,
    "a module": lambda name, value: setattr(module := nn.Identity(), name, value) or module,
    "a data set": lambda name, value: setattr(data := Points(), name, value) or data,
    "a class": lambda name, value: type("Made", (), {name: value})(),
}


class Points(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return index


PARTS = ["dataset", "sampler", "batch_sampler", "collate_fn", "worker_init_fn", "callback", "model", "loss"]
NAMES = ["rng", "_rng", "random_state", "np_random", "gen", "g", "noise", "x1"]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(MAKERS),
    st.lists(st.tuples(st.sampled_from(sorted(NESTINGS)), st.sampled_from(NAMES)), max_size=4),
    st.sampled_from(
        ["dataset", "sampler", "batch_sampler", "collate_fn", "worker_init_fn", "callback", "model", "loss"]
    ),
)
def test_a_generator_is_found_and_put_back_in_any_nesting_under_any_name_of_any_part(make, nestings, part) -> None:
    generator = make()
    value = generator
    for kind, name in nestings:
        value = NESTINGS[kind](name, value)
    learner = learner_holding(part, value)
    found = own_generators(sources_of(learner))
    assert [one is generator for one in found.values()] == [True]
    assert next(iter(found)).startswith(f"{ROOTS.get(part, 'data.training')}")
    state = RandomState(sources_of(learner))
    drawn = draw(generator)
    state.put_back()
    assert draw(generator) == drawn


ROOTS = {"callback": "callbacks['Holder']", "model": "model", "loss": "lossfn"}


class Holder(Callback):
    def __init__(self, held):
        self.held = held


class Order(Sampler):
    def __init__(self, held):
        self.held = held

    def __iter__(self):
        return iter([0, 1])

    def __len__(self):
        return 2


class Batches(Order):
    def __iter__(self):
        return iter([[0, 1]])


class Loss:
    def __init__(self, held):
        self.held = held

    def __call__(self, yhats, ys):
        return (yhats - ys).abs().mean()


def learner_holding(part, value):
    points, callbacks, options = Points(), [], {}
    if part == "callback":
        callbacks = [Holder(value)]
    elif part == "loss":
        return toy_learner(lossfn=None) if value is None else learner_with_loss(Loss(value))
    elif part == "dataset":
        points.held = value
    elif part == "sampler":
        options = {"sampler": Order(value)}
    elif part == "batch_sampler":
        options = {"batch_sampler": Batches(value)}
    elif part in ("collate_fn", "worker_init_fn"):
        options = {part: functools.partial(print, value)}
    learner = toy_learner(*callbacks, data=(DataLoader(points, **options),))
    if part == "model":
        learner.model.held = value
    return learner


def learner_with_loss(loss):
    learner = toy_learner()
    learner.lossfn = loss
    return learner


def draw(generator):
    if isinstance(generator, torch.Generator):
        return torch.rand(3, generator=generator).tolist()
    if isinstance(generator, numpy.random.PCG64):
        return generator.random_raw()
    return generator.random()


rng = random.Random(5)


class UsesAGlobal:
    def __call__(self, batch):
        return [rng.random() for _ in batch]


def test_a_generator_with_a_global_name_that_a_part_of_the_run_uses_is_found() -> None:
    loader = DataLoader(Points(), collate_fn=UsesAGlobal())
    assert own_generators({"loader": loader}) == {"loader.collate_fn.__call__.rng": rng}


def test_objects_that_hold_each_other_are_gone_through_once() -> None:
    first, second = Plain("other", None), Plain("other", None)
    first.other, second.other = second, [first, {"first": first}]
    assert [node.path for node in walk({"first": first})] == [
        "first",
        "first.other",
        "first.other.other",
        "first.other.other[1]",
    ]


def test_what_is_nearer_names_a_generator_and_data_name_it_before_callbacks() -> None:
    generator = torch.Generator()
    learner = toy_learner(Holder(generator), data=(DataLoader(Points(), generator=generator),))
    assert list(own_generators(sources_of(learner))) == ["data.training.generator"]


@pytest.mark.parametrize(
    "crowd",
    [
        list(range(10**5)),
        [("a", i) for i in range(10**5)],
        {i: str(i) for i in range(10**5)},
        [[i] for i in range(10**5)],
    ],
    ids=["numbers", "pairs", "dict", "lists"],
)
def test_a_generator_among_many_values_is_found_and_the_many_are_not_walked(crowd) -> None:
    generator = random.Random(1)
    middle = len(crowd) // 2
    crowd[middle] = generator
    nodes = list(walk({"crowd": crowd}))
    assert [node.path for node in nodes if is_generator(node.value)] == [f"crowd[{middle}]"]
    assert len(nodes) < LARGEST


def test_a_run_with_more_objects_than_are_walked_is_warned_of(monkeypatch) -> None:
    monkeypatch.setattr("treadle.state.run.objects.walk.MOST", 10)
    warned = warnings_of(lambda: list(walk({"data": [Plain("a", [1]) for _ in range(20)]})))
    assert warned == [
        "More than 10 objects belong to data, and random generators are looked for in the nearest only.\n"
        "Fix: keep each generator as an attribute of the loader, its sampler or its data set."
    ]


def warnings_of(call):
    from loguru import logger

    warned = []
    sink = logger.add(lambda message: warned.append(message.record["message"]), level="WARNING")
    call()
    logger.remove(sink)
    return warned


def test_the_machinery_of_libraries_and_of_another_learner_is_left_alone() -> None:
    import multiprocessing
    import threading

    held = [
        threading.Lock(),
        multiprocessing.get_context(),
        toy_learner(Holder(random.Random(1))),
        random.SystemRandom(),
        torch._dynamo.guards.GuardManagerWrapper(),  # as what torch has compiled leads to
    ]
    held[-1].scope = random.Random(1)
    assert own_generators({"held": held}) == {}


def test_validation_leaves_the_generators_of_callbacks_models_and_transforms_as_they_were() -> None:
    class Noise(Callback):
        def __init__(self):
            self.sources = {"noise": (numpy.random.default_rng(1),)}

        def on_step_begin(self, phase: ValidationPhase):
            self.sources["noise"][0].random()
            learner.model.gen.random()

    noise = Noise()
    learner = toy_learner(noise)
    learner.model.gen = random.Random(2)
    learner.fit(2)
    assert noise.sources["noise"][0].random() == numpy.random.default_rng(1).random()
    assert learner.model.gen.random() == random.Random(2).random()


def test_several_generators_in_a_set_are_put_back_and_no_checkpoint_can_hold_them() -> None:
    from treadle.errors import NotResumableError

    held = {random.Random(1), random.Random(2)}
    state = RandomState({"held": held})
    drawn = {one: one.random() for one in held}
    state.put_back()
    assert {one: one.random() for one in held} == drawn
    with pytest.raises(
        NotResumableError, match=r"held\{item\} is one of several .* in a set .*\nFix: keep them in a list"
    ):
        state.as_dict()
