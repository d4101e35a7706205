"""The first-party distributions, their callbacks made with few arguments, and how each pair of them gets on."""

import functools
import importlib
import tempfile
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement, count
from pathlib import Path
from typing import Any

import networkx as nx
from loguru import logger
from packaging.requirements import Requirement
from treadle import Callback, CallbackConflictError, Read, Write, callback_graph
from treadle.access import overlaps
from treadle.ordering.handlers import handlers
from treadle.ordering.participants import meetings
from treadle_logging import LoggerBackend
from treadle_schedule import LearningRate, Momentum

ROOT = Path(__file__).parents[1]


#: The events and operations in the order in which they come.
LOOP = (
    *("on_init", "on_fit_begin", "epoch", "on_epoch_begin", "step", "on_step_begin", "forward", "on_loss_begin"),
    *("loss", "on_backward_begin", "backward", "on_backward_end", "update", "on_step_end", "on_epoch_end"),
    "on_fit_end",
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
    found = [
        Distribution(
            own["name"],
            str(folder.relative_to(ROOT)),
            own["description"],
            own.get("entry-points", {}).get("treadle.callbacks", {}),
        )
        for folder in folders
        for own in [project(folder)]
    ]
    rank = {name: place for place, name in enumerate(standard)}
    return sorted(found, key=lambda each: (rank.get(each.name, len(rank)), each.name))


def project(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]


class Nowhere(LoggerBackend):
    """A backend that forgets what it is given."""

    def log(self, loggable: Any, name: str, i: int, group: tuple[str, ...]) -> None:
        pass


#: Where checkpoints go, each callback's into a folder of its own.
FOLDER, NUMBERS = tempfile.TemporaryDirectory(), count()


def folder() -> Path:
    return Path(FOLDER.name, str(next(NUMBERS)))


#: Makes a callback of its class; two of a kind get different numbers, where they have to differ.
Make = Callable[[Any, int], Callback]

#: For each entry point how to make its callback: with few arguments first, then with options that declare other state.
MAKE: dict[str, dict[str, Make]] = {
    "checkpointer": {
        "": lambda cls, n: cls(folder()),
        "every_steps=...": lambda cls, n: cls(folder(), every_steps=2),
    },
    "early_stopping": {
        "": lambda cls, n: cls(3),
        "monitor=...": lambda cls, n: cls(3, monitor="Loss"),
        "restore_best=True": lambda cls, n: cls(3, restore_best=True),
    },
    "garbage_collect": {"": lambda cls, n: cls()},
    "log_histograms": {
        "": lambda cls, n: cls(Nowhere()),
        "gradients=True, activations=True": lambda cls, n: cls(Nowhere(), gradients=True, activations=True),
    },
    "log_hyper_params": {"": lambda cls, n: cls(Nowhere())},
    "log_metrics": {"": lambda cls, n: cls(Nowhere())},
    "log_traces": {"": lambda cls, n: cls(Nowhere())},
    "log_visualization": {"": lambda cls, n: cls(lambda step: step.xs[None] / 100, Nowhere())},
    "metrics": {"": lambda cls, n: cls()},
    "metrics_printer": {"": lambda cls, n: cls()},
    "progress_printer": {"": lambda cls, n: cls()},
    "recorder": {"": lambda cls, n: cls()},
    "sanity_check": {"": lambda cls, n: cls()},
    "scheduler": {"": lambda cls, n: cls({(LearningRate, Momentum)[n]: 0.1})},
    "stop_on_nan_loss": {"": lambda cls, n: cls()},
    "to_device": {"": lambda cls, n: cls("cpu")},
    "to_gpu": {"": lambda cls, n: cls()},
    "traces": {"": lambda cls, n: cls({f"trace {n}": lambda learner: learner.step.loss})},
}


@dataclass(frozen=True)
class Example:
    """A first-party callback with certain options.

    Args:
        entry_point: The entry point's name.
        options: The options as they are written, or "".
        cls: The class.
    """

    entry_point: str
    options: str
    cls: type[Callback]

    @property
    def label(self) -> str:
        return f"{self.cls.__name__}({self.options})" if self.options else self.cls.__name__

    def make(self, n: int = 0) -> Callback:
        logger.disable("treadle_device")  # where there is no GPU, ToGPU says so each time
        try:
            return MAKE[self.entry_point][self.options](self.cls, n)
        finally:
            logger.enable("treadle_device")


@functools.cache
def examples() -> tuple[Example, ...]:
    """Every first-party callback with each of its options, by the names of the classes."""
    entry_points = {name: value for each in distributions() for name, value in each.callbacks.items()}
    assert entry_points.keys() == MAKE.keys(), (
        f"docs/first_party.py says how to make every first-party callback, and no other. "
        f"Add to MAKE, or remove: {', '.join(sorted(entry_points.keys() ^ MAKE.keys()))}"
    )
    found = [Example(name, options, load(entry_points[name])) for name, ways in MAKE.items() for options in ways]
    return tuple(sorted(found, key=lambda example: (example.cls.__name__, example.options)))


def load(value: str) -> type[Callback]:
    module, _, name = value.partition(":")
    return getattr(importlib.import_module(module), name)


@dataclass(frozen=True)
class Pair:
    """How two callbacks get on.

    Args:
        first: The one that runs first, if they are ordered; else the one whose name is first.
        second: The other one.
        verdict: "ordered", "compatible" or "refused".
        reason: Why.
        hooks: Where they meet, if they are ordered.
    """

    first: str
    second: str
    verdict: str
    reason: str
    hooks: tuple[str, ...] = ()


@functools.cache
def pairs() -> tuple[tuple[Example, Example, Pair], ...]:
    """Every pair of the examples, also two of a kind, and how they get on."""
    return tuple((one, other, pair(one, other)) for one, other in combinations_with_replacement(examples(), 2))


def pair(one: Example, other: Example) -> Pair:
    a, b = one.make(0), other.make(1)
    return judged(one.label, a, other.label, b, providers([a, b], examples()))


def providers(callbacks: Sequence[Callback], known: Sequence[Example]) -> list[Callback]:
    """Callbacks that write the entries of `cbstate` which the given ones read, and which those read in turn."""
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
        writers = (example.make(0) for example in known if not example.options)
        present.append(next(w for w in writers if w.state_access.get(needed[0]) is Write))


def judged(label: str, a: Callback, other_label: str, b: Callback, present: Sequence[Callback]) -> Pair:
    try:
        graph = callback_graph([a, b, *present])
    except CallbackConflictError as error:
        (problem,) = error.problems
        if not {a, b} <= set(problem.callbacks):  # the providers do not fit, which says nothing about the pair
            raise
        return Pair(label, other_label, "refused", problem.what)
    for before, after, names in ((a, b, (label, other_label)), (b, a, (other_label, label))):
        if path := path_at_an_event(graph, before, after):
            reason = "; ".join(graph.edges[edge]["reason"] for edge in path)
            hooks = tuple(hook.hook for hook in meeting(a, b))
            return Pair(*names, "ordered", reason, hooks)
    return Pair(label, other_label, "compatible", why_compatible(a, b))


def path_at_an_event(graph: nx.DiGraph, before: Callback, after: Callback) -> list[tuple[Callback, Callback]]:
    """The edges from one callback to another that hold together where the two meet, or none.

    An edge that the data flow made holds at the hooks where its ends meet, one of `run_after` everywhere.
    """
    for hook in meeting(before, after):
        here = nx.DiGraph()
        here.add_nodes_from(graph)
        here.add_edges_from(
            (x, y) for x, y, data in graph.edges(data=True) if hook in data["events"] or ".run_after" in data["reason"]
        )
        if nx.has_path(here, before, after):
            return list(nx.utils.pairwise(nx.shortest_path(here, before, after)))
    return []


def meeting(a: Callback, b: Callback) -> list[Any]:
    """The hooks that both handle in one phase."""
    return sorted(meetings([handlers(a), handlers(b)]).get(0b11, []), key=lambda hook: LOOP.index(hook.hook))


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
    if not meeting(a, b):
        return f"they never meet at an event, though both use {listed(written)}"
    return f"any order is right for {listed(written)}, says `resolve_conflict`"


def listed(paths: Sequence[str]) -> str:
    return ", ".join(f"`{path}`" for path in paths)
