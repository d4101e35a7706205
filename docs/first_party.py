"""The first-party distributions, their callbacks as their contract tests make them, and how each pair combines."""

import functools
import importlib.util
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import networkx as nx
from loguru import logger
from packaging.requirements import Requirement
from treadle import Callback, CallbackConflictError, Read, Write, callback_graph
from treadle.access import overlaps
from treadle.ordering.handlers import handlers
from treadle.ordering.participants import meetings
from treadle.testing import CallbackContract

ROOT = Path(__file__).parents[1]


#: The events and operations in the order in which they come.
LOOP = (
    *("on_init", "on_fit_begin", "epoch", "on_epoch_begin", "step", "on_step_begin", "accumulate", "forward"),
    *("on_loss_begin", "loss", "on_backward_begin", "backward", "on_backward_end", "finalize_gradients"),
    *("on_update_begin", "update", "on_update_end", "on_step_end", "on_epoch_end", "on_fit_end"),
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
    present = list(callbacks)
    while True:
        written = {path for callback in present for path, mode in callback.state_access.items() if mode is Write}
        needed = [
            path
            for callback in present
            for path, mode in callback.state_access.items()
            if mode is Read and path.startswith("cbstate.") and not any(overlaps(path, other) for other in written)
        ]
        if not needed:
            return present[len(callbacks) :]
        writers = [example.make() for example in known if not example.options]
        offers = [writer for writer in writers if writer.state_access.get(needed[0]) is Write]
        present.append(min(offers, key=lambda writer: sum(path.startswith("cbstate.") for path in writer.state_access)))


def judged(label: str, a: Callback, other_label: str, b: Callback, present: Sequence[Callback]) -> Pair:
    try:
        graph = callback_graph([a, b, *present])
    except CallbackConflictError as error:
        (problem,) = error.problems
        if not {a, b} <= set(problem.callbacks):  # the providers do not fit, whatever the pair does
            raise
        return Pair(label, other_label, "refused", problem.what)
    for before, after, names in ((a, b, (label, other_label)), (b, a, (other_label, label))):
        if path := path_at_an_event(graph, before, after):
            reason = "; ".join(graph.edges[edge]["reason"] for edge in path)
            hooks = tuple(hook.hook for hook in shared_hooks(a, b) if path_at(graph, before, after, hook))
            return Pair(*names, "ordered", reason, hooks)
    return Pair(label, other_label, "compatible", why_compatible(a, b))


def path_at_an_event(graph: nx.DiGraph, before: Callback, after: Callback) -> list[tuple[Callback, Callback]]:
    """The edges from one callback to another that hold together where the two meet, or none."""
    paths = (path_at(graph, before, after, hook) for hook in shared_hooks(before, after))
    return next(filter(None, paths), [])


def path_at(graph: nx.DiGraph, before: Callback, after: Callback, hook: Any) -> list[tuple[Callback, Callback]]:
    """The edges from one callback to another that hold at a hook, or none.

    An edge that the data flow made holds at the hooks where its ends meet, one of `run_after` everywhere.
    """
    here = nx.DiGraph()
    here.add_nodes_from(graph)
    here.add_edges_from(
        (x, y) for x, y, data in graph.edges(data=True) if hook in data["events"] or ".run_after" in data["reason"]
    )
    return list(nx.utils.pairwise(nx.shortest_path(here, before, after))) if nx.has_path(here, before, after) else []


def shared_hooks(a: Callback, b: Callback) -> list[Any]:
    """The hooks that both handle in one phase."""
    groups = meetings([handlers(a), handlers(b)])
    shared = {hook for group, hooks in groups.items() if group.members == 0b11 for hook in hooks}
    return sorted(shared, key=lambda hook: LOOP.index(hook.hook))


def why_compatible(a: Callback, b: Callback) -> str:
    shared = {
        max(path, other, key=len): Write in (mode, other_mode)
        for path, mode in a.state_access.items()
        for other, other_mode in b.state_access.items()
        if overlaps(path, other)
    }
    written = [path for path, write in shared.items() if write]
    if not shared:
        return "they use no state in common"
    if not written:
        return "neither writes what the other uses"
    if not shared_hooks(a, b):
        return f"they never meet at an event, though both use {listed(written)}"
    return f"any order is right for {listed(written)}, from `resolve_conflict`"


def listed(paths: Sequence[str]) -> str:
    return ", ".join(f"`{path}`" for path in paths)
