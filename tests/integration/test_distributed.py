"""Two processes are one: they end with its weights and measure what it does, and what cannot be divided is refused."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(Path(__file__).parent)
    import distributed_runs

Results = list[dict[str, Any]]

#: In 16 bits each process rounds its gradients before they are combined.
ROUNDED = {"bf16": 5e-3, "fp16": 5e-4}


#: What one process does not do, or otherwise.
ALONE = ("refused", "epochs_of_iterables", "cancelled")


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """What each of two processes has come to, in all runs."""
    if not torch.distributed.is_available():
        pytest.skip("needs torch.distributed")
    folder = tmp_path_factory.mktemp("runs")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*launch, str(Path(distributed_runs.__file__)), str(folder)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-5000:]
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in (0, 1)]


def differences(one: Any, other: Any, path: str = "") -> dict[str, float]:
    """Where two outcomes differ, and by how much; not in how many batches of validation a process had."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        found = [differences(one[key], other[key], f"{path}/{key}") for key in one]
        return {name: value for by_path in found for name, value in by_path.items()}
    first, second = (torch.as_tensor(value, dtype=torch.float64) for value in (one, other))
    assert first.shape == second.shape, path
    if torch.equal(first, second) or "history/ValidationPhase()/steps" in path:
        return {}
    return {path: (first - second).abs().max().item()}


@pytest.mark.parametrize("name", [name for name in distributed_runs.RUNS if name not in ("refused",)])
def test_both_processes_end_with_the_same_bits(together: Results, name: str) -> None:
    first, second = (results[name] for results in together)
    assert not differences(first, second)
    assert first["history"] == second["history"]


@pytest.mark.filterwarnings("ignore:No (positive|negative) samples")
@pytest.mark.parametrize("name", [n for n in distributed_runs.RUNS if n not in ALONE])
def test_they_are_one_process_with_batches_of_twice_the_size(together: Results, name: str) -> None:
    found = differences(distributed_runs.RUNS[name](2), together[0][name])
    assert all(value < ROUNDED.get(name, 1e-12) for value in found.values()), found


def test_data_that_draw_from_the_global_generators_are_reshuffled_alike_in_every_epoch(together: Results) -> None:
    orders = together[0]["epochs_of_iterables"]["orders"]
    assert torch.equal(orders.sort().values, torch.arange(24).expand(3, 24))
    assert not torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[1], orders[2])


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("different data", "DataError: The processes do not see the same data in TrainingPhase()"),
        ("different models", "ProcessGroupError: DDP trains one model, and that of process 1 is another than that of"),
        ("a state", "DataError: data.training, a DataLoader, cannot be divided between processes: it keeps a state"),
        ("no rows", "DataError: The last batches of data.training have unequal numbers of rows, or there are fewer"),
        ("a metric", "MetricError: The metric 'Unmerged' is measured by several processes, each on its own rows, and"),
        ("a lossfn", "ArgumentValueError: The optimizer has 4 parameters that are not the model's, as those of a loss"),
        (
            "unused parameters",
            "ProcessGroupError: The loss of this batch does not depend on `unused.weight`, `unused.b",
        ),
        ("unused parameters, accumulated", "ProcessGroupError: The loss of this batch does not depend on `unused.we"),
        ("rows twice", "DataError: The DistributedSampler of the data of EvaluationPhase gives 5 rows to each of 2 p"),
        ("no order", "DataError: DistributedSampler divides the data, and `predict` gives all rows in their order."),
        ("another process", "DataError: The DistributedSampler of data.training is process 2 of 3, and this one is"),
    ],
)
def test_what_cannot_be_divided_is_refused_by_name_in_every_process(together: Results, what: str, message: str) -> None:
    for results in together:
        assert results["refused"][what].startswith(message)
        assert "\nFix: " in results["refused"][what]


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("rates", r"ApartError: .* optimizer, group 0: lr: process 0 has 0\.1, process 1 has 0\.2"),
        (
            "clipping",
            r"ApartError: The processes train apart: `0.weight` of process 1 is not that of process 0, nor are 3",
        ),
        ("lists", r"DataError: .* batches: process 0 has 10, process 1 has 12"),
        ("rows", r"DataError: .* a digest of some rows: process 0 has \w+, process 1 has \w+\n"),
        ("unsized", r"DataError: The data of TrainingPhase\(\) end at another batch in process 1 .* after 10,? .* 9\."),
        ("raw", r"DataError: OverRaw goes over its data by itself, so that each of 2 processes would see all rows"),
        ("epochs", r"ApartError: .* epochs of the fit: process 0 has 1, process 1 has 2"),
        ("steps", r"ApartError: .* steps of the fit: process 0 has 5, process 1 has 6"),
        ("accumulation", r"ApartError: .* process 0 came to 'backward' of .* process 1 to 'backward, accumulating' of"),
    ],
)
def test_processes_that_would_train_apart_are_refused(together: Results, what: str, message: str) -> None:
    for results in together:
        assert re.match(message, results["refused"][what], re.DOTALL)
        assert "\nFix: " in results["refused"][what]
