"""The first-party distributions, their callbacks as their contract tests make them, and how each pair combines."""

import functools
import importlib.util
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

from loguru import logger
from packaging.requirements import Requirement
from treadle import Callback
from treadle.authoring import pair_of, writers_for
from treadle.testing import CallbackContract

ROOT = Path(__file__).parents[1]


#: The events and operations in the order in which they come.
LOOP = (
    *("on_init", "on_fit_begin", "epoch", "on_epoch_begin", "step", "on_step_begin", "accumulate", "forward"),
    *("on_loss_begin", "loss", "on_backward_begin", "backward", "on_backward_end", "finalize_gradients"),
    *("on_update_begin", "update", "on_update_end", "on_step_end", "on_epoch_end", "on_fit_end", "agree"),
)


@dataclass(frozen=True)
class Distribution:
    """A distribution of this repository, as its pyproject.toml describes it."""

    name: str
    folder: str
    description: str
    callbacks: dict[str, str]


def distributions() -> list[Distribution]:
    """The distributions: the core, the standard ones in the order of the root's dependencies, the others by name."""
    standard = [Requirement(line).name for line in project(ROOT)["dependencies"]]
    folders = [ROOT / "core", *(file.parent for file in ROOT.glob("plugins/*/pyproject.toml"))]
    rank = {name: place for place, name in enumerate(standard)}
    found = map(distribution, folders)
    return sorted(found, key=lambda distribution: (rank.get(distribution.name, len(rank)), distribution.name))


def distribution(folder: Path) -> Distribution:
    table = project(folder)
    callbacks = table.get("entry-points", {}).get("treadle.callbacks", {})
    return Distribution(table["name"], str(folder.relative_to(ROOT)), table["description"], callbacks)


def project(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@dataclass(frozen=True)
class Example:
    """A first-party callback with certain options, as the contract test of its plugin makes it.

    Args:
        entry_point: The entry point's name.
        cls: The class.
        contract: The `CallbackContract` of these options. Beside what every contract has it may define `options`,
            the options as they are written, and `another()`, which makes a callback that differs from the one of
            `make()` in what two of a kind must differ in.
    """

    entry_point: str
    cls: type[Callback]
    contract: type[CallbackContract]

    @property
    def options(self) -> str:
        return getattr(self.contract, "options", "")

    @property
    def label(self) -> str:
        return f"{self.cls.__name__}({self.options})" if self.options else self.cls.__name__

    def make(self) -> Callback:
        return quiet(self.contract().make)

    def another(self) -> Callback:
        return quiet(getattr(self.contract(), "another", self.contract().make))


def quiet(make: Callable[[], Callback]) -> Callback:
    """Make a callback; where there is no GPU, ToGPU warns each time."""
    logger.disable("treadle_device")
    try:
        return make()
    finally:
        logger.enable("treadle_device")


@functools.cache
def examples() -> tuple[Example, ...]:
    """Every first-party callback that has a contract, with each of its options, by the names of the classes."""
    found = []
    for distribution in distributions():
        entry_points = {load(value): name for name, value in distribution.callbacks.items()}
        for contract in contracts(distribution):
            cls = type(quiet(contract().make))
            found.append(Example(entry_points[cls], cls, contract))
    return tuple(sorted(found, key=lambda example: (example.cls.__name__, example.options)))


def contracts(distribution: Distribution) -> list[type[CallbackContract]]:
    """The contracts in the tests of a distribution."""
    file = ROOT / distribution.folder / "tests" / "test_contract.py"
    if not distribution.callbacks or not file.exists():
        return []
    spec = importlib.util.spec_from_file_location(f"{distribution.name.replace('-', '_')}_contract", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, CallbackContract) and value is not CallbackContract
    ]


def load(value: str) -> type[Callback]:
    module, _, name = value.partition(":")
    return getattr(importlib.import_module(module), name)


@dataclass(frozen=True)
class Pair:
    """How two callbacks combine.

    Args:
        first: The one that runs first, if they are ordered; else the one whose name is first.
        second: The other one.
        verdict: "ordered", "compatible" or "refused".
        reason: Why.
        hooks: What both handle, if they are ordered.
    """

    first: str
    second: str
    verdict: str
    reason: str
    hooks: tuple[str, ...] = ()


@functools.cache
def pairs() -> tuple[tuple[Example, Example, Pair], ...]:
    """Every pair of the examples, also two of a kind, and how they combine."""
    return tuple((one, other, pair(one, other)) for one, other in combinations_with_replacement(examples(), 2))


def pair(one: Example, other: Example) -> Pair:
    a, b = one.make(), other.another()
    return judged(one.label, a, other.label, b, providers([a, b], examples()))


def providers(callbacks: Sequence[Callback], known: Sequence[Example]) -> list[Callback]:
    """Callbacks that write the entries of `cbstate` that the others, and they themselves, read."""
    return writers_for(callbacks, [example.make() for example in known if not example.options])


def judged(label: str, a: Callback, other_label: str, b: Callback, present: Sequence[Callback]) -> Pair:
    pair = pair_of(a, b, present)
    labels = {a: label, b: other_label}
    verdict = "refused" if pair.verdict == "unresolved" else pair.verdict
    hooks = tuple(sorted(pair.hooks, key=LOOP.index))
    return Pair(labels[pair.first], labels[pair.second], verdict, pair.reason, hooks)


def listed(paths: Sequence[str]) -> str:
    return ", ".join(f"`{path}`" for path in paths)
