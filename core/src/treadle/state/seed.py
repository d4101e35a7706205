"""`seed_everything`: seed the random generators that are global, and name what that does not reach."""

from __future__ import annotations

import importlib
import os
import random
from dataclasses import dataclass

import torch

from treadle.arguments import whole_number
from treadle.errors import ArgumentValueError

#: What no seed reaches, in every process.
OBJECTS = (
    "the generators that objects own, such as the `generator` of a loader, numpy.random.default_rng() and "
    "random.Random(): seed them where they are made"
)
PROCESSES = "processes that are running already, such as persistent workers of a loader"
HASHES = "the order of sets of texts, which is another one in each process: set PYTHONHASHSEED before Python is started"
KERNELS = "kernels of the accelerator that are not deterministic: torch.use_deterministic_algorithms(True)"
BENCHMARK = "the choice of kernels by their speed: torch.backends.cudnn.benchmark = False"


@dataclass(frozen=True)
class Seeded:
    """What `seed_everything` did.

    Attributes:
        seed: The seed.
        generators: The modules whose global generators have it.
        not_reached: What else can make two runs differ in this process.
    """

    seed: int
    generators: tuple[str, ...]
    not_reached: tuple[str, ...]

    def __str__(self) -> str:
        listed = "".join(f"\n  - {name}" for name in self.not_reached)
        return f"Seeded {', '.join(self.generators)} with {self.seed}. Not reached:{listed}"


def seed_everything(seed: int) -> Seeded:
    """Seed the global generators of Python, of NumPy where it is installed, and of torch on every device.

    The workers of a `DataLoader` are seeded too, all three generators in each: a loader draws what it seeds its workers
    with from torch's generator, or from its own one, which is not reached.

    Call it first, before the model is made. What it cannot reach is named in what it returns: the generators that
    objects own, processes that are running already, and in this process, as far as they apply, the order of sets of
    texts and kernels that are not deterministic.

    Args:
        seed: From 0 to 2**32 - 1, which is what NumPy takes.

    Raises:
        ArgumentTypeError, ArgumentValueError: if it is not such a number.

    Example:
        >>> seeded = seed_everything(42)
        >>> first = torch.rand(2)
        >>> print(seed_everything(42))
        Seeded random, numpy, torch with 42. Not reached:
          - the generators that objects own, such as the `generator` of a loader, ...
        >>> torch.equal(torch.rand(2), first)
        True
    """
    example = "seed_everything(42)"
    seed = whole_number(seed, "seed_everything(seed)", example, least=0)
    if seed >= 2**32:
        raise ArgumentValueError(
            f"seed_everything(seed) must be a whole number below 2**32, got {seed}.\n"
            f"Fix: write, for example:\n    {example}"
        )
    generators = ["random", "torch"]
    random.seed(seed)
    torch.manual_seed(seed)  # on all devices, also on those that are not in use yet
    try:
        numpy_random = importlib.import_module("numpy.random")
    except ImportError:  # no callback nor loader can draw from it
        pass
    else:
        numpy_random.seed(seed)
        generators.insert(1, "numpy")
    return Seeded(seed, tuple(generators), not_reached())


def not_reached() -> tuple[str, ...]:
    """What no seed reaches, in this process."""
    found = [OBJECTS, PROCESSES]
    if os.environ.get("PYTHONHASHSEED", "random") == "random":
        found.append(HASHES)
    accelerated = torch.cuda.is_available() or torch.backends.mps.is_available()
    if accelerated and not torch.are_deterministic_algorithms_enabled():
        found.append(KERNELS)
    if torch.backends.cudnn.benchmark:
        found.append(BENCHMARK)
    return tuple(found)
