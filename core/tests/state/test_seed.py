"""Two processes that are seeded alike draw alike, in the workers of their loaders too."""

import os
import random
import subprocess
import sys

import pytest
import torch
from treadle import seed_everything, toy_learner
from treadle.errors import ArgumentTypeError, ArgumentValueError

DRAWS = """
import random, sys
import torch
from torch.utils.data import DataLoader, Dataset
from treadle import seed_everything, toy_learner

class Noise(Dataset):
    def __len__(self):
        return 4
    def __getitem__(self, i):
        numbers = [i, random.random(), torch.rand(()).item()]
        try:
            import numpy
        except ImportError:
            return torch.tensor(numbers)
        return torch.tensor([*numbers, numpy.random.rand()])

if __name__ == "__main__":
    seed_everything(int(sys.argv[1]))
    model = torch.nn.Linear(2, 2)
    loader = DataLoader(Noise(), shuffle=True, num_workers=2)
    print([batch.tolist() for _ in range(2) for batch in loader], model.weight.tolist(), random.random())
"""


def drawn(tmp_path, seed: int, hash_seed: str) -> str:
    """What a fresh process draws."""
    program = tmp_path / "draws.py"
    program.write_text(DRAWS, encoding="utf-8")
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(
        [sys.executable, program, str(seed)], env=environment, capture_output=True, text=True, timeout=300, check=True
    )
    return done.stdout


def test_two_fresh_processes_draw_alike_in_the_workers_of_a_loader_too(tmp_path) -> None:
    first = drawn(tmp_path, 42, "1")
    assert first == drawn(tmp_path, 42, "2")
    assert first != drawn(tmp_path, 43, "1")


def test_all_global_generators_begin_anew() -> None:
    numpy = pytest.importorskip("numpy", reason="NumPy is not installed")

    def draws():
        assert seed_everything(7).generators == ("random", "numpy", "torch")
        return random.random(), numpy.random.rand(), torch.rand(1).item()

    assert draws() == draws()


def test_without_numpy_the_others_are_seeded(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy.random", None)
    assert seed_everything(7).generators == ("random", "torch")


def test_what_is_not_reached_is_named(monkeypatch) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "3")
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    always = seed_everything(1).not_reached
    assert [text.partition(",")[0] for text in always] == [
        "the generators that objects own",
        "processes that are running already",
    ]
    monkeypatch.delenv("PYTHONHASHSEED")
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    seeded = seed_everything(1)
    assert [text.rpartition(": ")[2] for text in seeded.not_reached[2:]] == [
        "set PYTHONHASHSEED before Python is started",
        "torch.use_deterministic_algorithms(True)",
        "torch.backends.cudnn.benchmark = False",
    ]
    assert str(seeded).count("\n  - ") == 5
    torch.use_deterministic_algorithms(True)
    try:
        assert not any("deterministic" in text for text in seed_everything(1).not_reached)
    finally:
        torch.use_deterministic_algorithms(False)


def test_a_generator_that_an_object_owns_is_not_reached() -> None:
    own = torch.Generator().manual_seed(3)
    first = torch.rand(1, generator=own)
    seed_everything(3)
    assert not torch.equal(torch.rand(1, generator=own), first)


def test_two_runs_in_one_process_are_equal() -> None:
    def weight() -> float:
        seed_everything(5)
        learner = toy_learner(optimizer=lambda params: torch.optim.SGD(params, lr=1e-3 * torch.rand(()).item()))
        learner.fit(1)
        return learner.model.weight.item()

    assert weight() == weight()


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_out_of_range_is_refused(seed) -> None:
    with pytest.raises(ArgumentValueError, match=r"seed_everything\(seed\) must be a whole number .*, got .*\nFix: "):
        seed_everything(seed)


@pytest.mark.parametrize("seed", [1.5, "42", None, True])
def test_a_seed_that_is_not_a_whole_number_is_refused(seed) -> None:
    with pytest.raises(ArgumentTypeError, match=r"seed_everything\(seed\) must be a whole number of at least 0"):
        seed_everything(seed)
