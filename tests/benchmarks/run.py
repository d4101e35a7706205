"""Measure what Treadle costs, against its budgets: `make bench`.

Every time is a ratio to the same loop written by hand, of runs taken side by side in this process
on one thread: the machine's moods meet both. An epoch of 2,000 batches goes through each contender in
turn, and the median of the rounds' ratios counts.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import os
import statistics
import subprocess
import sys
import time
import timeit
import tracemalloc
from collections.abc import Callable
from typing import Any

import discovery
import loops
import saves
import torch
from rich.console import Console
from rich.table import Table
from treadle import Callback, Read, Write, callback_graph, toy_learner


def ratios(contenders: dict[str, loops.Run], *, rounds: int) -> dict[str, float]:
    """Each contender's time as a multiple of the first one's, which is the loop by hand."""
    data = loops.batches()
    for run in contenders.values():
        run(data[:200])
    found: dict[str, list[float]] = {name: [] for name in contenders}
    order = list(contenders.items())
    for _ in range(rounds):
        times = {}
        for name, run in order:
            begin = time.perf_counter()
            run(data)
            times[name] = time.perf_counter() - begin
        order = order[1:] + order[:1]  # none of them always comes first
        for name, taken in times.items():
            found[name].append(taken / times[next(iter(contenders))])
    return {name: statistics.median(values) for name, values in found.items()}


def ratio_of_a_short_fit(steps: int = 10, fits: int = 1000) -> float:
    """The time of a fit of few steps, called many times, as a multiple of the loop by hand, called as often."""
    data = loops.batches(steps)
    by_hand, fit = loops.by_hand(), loops.with_treadle()
    found: dict[loops.Run, list[float]] = {by_hand: [], fit: []}
    for _ in range(fits):  # in turn: the machine's moods meet both
        for run, times in found.items():
            begin = time.perf_counter()
            run(data)
            times.append(time.perf_counter() - begin)
    return statistics.median(found[fit]) / statistics.median(found[by_hand])


def of_the_update() -> dict[str, tuple[loops.Run, loops.Run]]:
    """The callbacks that change an update, each with the same thing written by hand."""
    from treadle_amp import MixedPrecision
    from treadle_optim import EMA, Accumulate, ClipGradients

    return {
        "Accumulate(4)": (loops.by_hand_accumulated(4), loops.with_treadle((Accumulate(4),))),
        "ClipGradients(norm=1.0)": (loops.by_hand_clipped(1.0), loops.with_treadle((ClipGradients(norm=1.0),))),
        "EMA": (loops.by_hand_with_ema(), loops.with_treadle((EMA(0.999),))),
        'MixedPrecision("bf16")': (loops.by_hand_in_bf16(), loops.with_treadle((MixedPrecision("bf16"),))),
    }


def of_loaders(rounds: int) -> dict[str, float]:
    """The seconds of a batch from each loader: whole shuffled passes over 60,000 rows, in turn; the medians."""
    loaders = {
        "by hand": loops.gathered_by_hand(),
        "torch": loops.loaded_by_torch(),
        "treadle-flux": loops.loaded_from_memory(),
    }
    found: dict[str, list[float]] = {name: [] for name in loaders}
    for _ in range(rounds):
        for name, begin_pass in loaders.items():
            begin = time.perf_counter()
            count = sum(1 for _ in begin_pass())
            found[name].append((time.perf_counter() - begin) / count)
    return {name: statistics.median(times) for name, times in found.items()}


def seconds_of_a_handler(handlers: int = 50) -> float:
    """The time that one handler that does nothing adds to a dispatch."""
    from treadle import StepEnd, TrainingPhase

    class Idle(Callback):
        def on_step_end(self, learner: Any, phase: TrainingPhase) -> None:
            pass

    phase = TrainingPhase()
    empty = toy_learner().handle(phase)[StepEnd]
    full = toy_learner(*[Idle() for _ in range(handlers)]).handle(phase)[StepEnd]
    calls = 2000

    def best(run: Callable[[], object]) -> float:
        return min(timeit.repeat(run, number=calls, repeat=15)) / calls

    return (best(full) - best(empty)) / handlers


def seconds_of_a_graph(callbacks: int = 1000) -> float:
    """The time to order this number of callbacks, each writing an entry and reading those of three others."""

    def kind(i: int) -> type[Callback]:
        reads = {f"cbstate.entry{j}": Read for j in (i // 2, i // 3, i // 5) if j != i}
        access = {f"cbstate.entry{i}": Write, "step.loss": Read, **reads}

        class Numbered(Callback):
            state_access = access

            def on_step_end(self, learner: Any) -> None: ...
            def on_epoch_end(self, learner: Any) -> None: ...

        Numbered.__name__ = f"Callback{i}"
        return Numbered

    many = [kind(i)() for i in range(callbacks)]
    callback_graph(many[:2])
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        callback_graph(many)
        times.append(time.perf_counter() - begin)
    return min(times)


def seconds_of_import(runs: int = 7) -> float:
    """The time that `import treadle` takes after `import torch`, in fresh processes, from compiled modules."""
    code = "import time, torch; begin = time.process_time(); import treadle; print(time.process_time() - begin)"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return min(
        float(
            subprocess.run(
                [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment
            ).stdout
        )
        for _ in range(runs)
    )


def bytes_of_a_step(steps: int = 100_000) -> float:
    """How much Python's memory grows for each step with the default callbacks, after the first 1,000."""
    run = loops.with_default_callbacks()
    data = loops.batches(10, rows=2)
    run(data * 100)
    gc.collect()
    tracemalloc.start()
    run(data * 100)
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    run(data * (steps // 10))
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return grown / steps


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--steps", type=int, default=100_000, help="steps of the memory measurement")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rounds = 3 if arguments.quick else 15
    console = Console()

    measured = ratios(
        {
            "by hand": loops.by_hand(),
            "no callbacks": loops.with_treadle(),
            "default callbacks": loops.with_default_callbacks(),
        },
        rounds=rounds,
    )
    rows: list[tuple[str, str, str]] = [
        ("Step, no callbacks", f"{measured['no callbacks']:.3f} x by hand", "1.02"),
        ("Step, default callbacks", f"{measured['default callbacks']:.3f} x by hand", "1.07"),
        ("A fit of ten steps", f"{ratio_of_a_short_fit():.3f} x by hand", "1.15"),
        ("A handler that does nothing", f"{seconds_of_a_handler() * 1e6:.3f} us", "0.07 us"),
        ("Graph of 1,000 callbacks", f"{seconds_of_a_graph():.3f} s", "0.1 s"),
        ("import treadle, over torch", f"{seconds_of_import() * 1e3:.0f} ms", "30 ms"),
        ("Plugins of 300 distributions, anew", f"{discovery.seconds_of_discovery()[2] * 1e3:.1f} ms", "20 ms"),
        (f"Memory, {arguments.steps:,} steps", f"{bytes_of_a_step(arguments.steps):.1f} bytes a step", "16 a value"),
    ]
    for name, (by_hand, with_callback) in of_the_update().items():
        ratio = ratios({"by hand": by_hand, name: with_callback}, rounds=rounds)[name]
        rows.append((name, f"{ratio:.3f} x by hand", "1.03"))
    from treadle_compile import CompiledStep

    cpp = {"cpp_wrapper": True}
    steps = {"CompiledStep": CompiledStep(), "CompiledStep, cpp_wrapper": CompiledStep(options=cpp)}
    compiled = {name: loops.with_default_callbacks(step) for name, step in steps.items()}
    for name, ratio in list(ratios({"by hand": loops.by_hand(), **compiled}, rounds=rounds).items())[1:]:
        rows.append((f"{name}, default callbacks", f"{ratio:.3f} x by hand", "0.45"))
    ratio = ratios({"by hand": loops.by_hand(), "train": loops.with_train()}, rounds=rounds)["train"]
    rows.append(("treadle-flux: train", f"{ratio:.3f} x by hand", ""))
    loaders = of_loaders(rounds)
    for name, seconds in loaders.items():
        rows.append((f"A batch of rows in memory, {name}", f"{seconds * 1e6:.1f} us", ""))
    times = loaders["torch"] / loaders["treadle-flux"]
    rows.append(("treadle-flux: DataLoader", f"torch's takes {times:.0f} times as long", "at least 30"))
    for size in saves.SIZES:
        saved, resumed = saves.ratios(size, rounds if size < 100 else 3)
        rows.append((f"save_run, {size} MB", f"{saved:.2f} x torch.save and fsync", "1.5"))
        rows.append((f"resume, {size} MB", f"{resumed:.2f} x torch.load", "1.5"))
    peers: dict[str, loops.Run] = {}
    if importlib.util.find_spec("ignite"):
        peers |= {"Ignite, nothing": loops.with_ignite(), "Ignite, bar": loops.with_ignite(bar=True)}
    if importlib.util.find_spec("lightning"):
        peers |= {"Lightning, nothing": loops.with_lightning(), "Lightning, bar": loops.with_lightning(bar=True)}
    if peers:
        compared = ratios({"by hand": loops.by_hand(), **peers}, rounds=max(3, rounds // 3))
        rows += [(name, f"{compared[name]:.3f} x by hand", "") for name in peers]

    table = Table("What", "Measured", "Budget", title="MLP 32-64-64-1, batch 32, SGD, one thread")
    for row in rows:
        table.add_row(*row)
    console.print(table)


if __name__ == "__main__":
    main()
