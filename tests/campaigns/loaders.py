"""The runs whose loaders have a state of their own: torchdata's, and subclasses of torch's `DataLoader`."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import torch
from setups import ROWS, Counting, Setup, batch_list, rows, shuffled
from torch.utils.data import DataLoader, IterableDataset, TensorDataset
from torchdata.stateful_dataloader import StatefulDataLoader

warnings.filterwarnings("ignore", message="'set_vital' is deprecated")  # torchdata's own, with a new torch

WORKER: dict[str, Any] = {"num_workers": 1, "multiprocessing_context": "fork"}


class Shifting(DataLoader[Any]):
    """Shifts its targets by the number of its passes, which is its state; it does not know where in a pass it is."""

    def __init__(self) -> None:
        super().__init__(TensorDataset(*rows(1)), batch_size=4, shuffle=True)
        self.__dict__["passes"] = 0

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        self.__dict__["passes"] += 1
        for xs, ys in super().__iter__():
            yield xs, ys + 0.1 * self.__dict__["passes"]

    def state_dict(self) -> dict[str, Any]:
        return {"passes": self.__dict__["passes"]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.__dict__["passes"] = state["passes"]


class Placed(Shifting):
    """Knows where in a pass it is, too."""

    at = 0

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        passes = self.__dict__["passes"] = self.__dict__["passes"] + (not self.at)
        order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(passes))
        batches = order.split(4)
        while self.at < len(batches):
            i, self.at = batches[self.at], self.at + 1
            yield self.dataset[i][0], self.dataset[i][1] + 0.1 * passes
        self.at = 0

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "at": self.at}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.at = state["at"]


class Stream(IterableDataset[Any]):
    """Rows that go on from pass to pass; its state is where they are, and where in the pass, as torchdata asks for."""

    def __init__(self) -> None:
        self.given = self.at = 0

    def __iter__(self) -> Iterator[Any]:
        xs, ys = rows(1)
        while self.at < ROWS:
            self.at, self.given = self.at + 1, self.given + 1
            yield xs[self.given * 5 % ROWS] + 0.01 * self.given, ys[self.given * 5 % ROWS]
        self.at = 0

    def state_dict(self) -> dict[str, Any]:
        return {"given": self.given, "at": self.at}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.given, self.at = state["given"], state["at"]


def torchdata(dataset: Any = None, **options: Any) -> Any:
    return StatefulDataLoader(TensorDataset(*rows(1)) if dataset is None else dataset, batch_size=4, **options)


LOADERS = [
    Setup("validation by a loader that counts its passes", data=lambda: (shuffled(), Shifting())),
    Setup("a loader that knows its place", data=lambda: (Placed(), batch_list(2))),
    Setup("torchdata's loader", data=lambda: (torchdata(), batch_list(2))),
    Setup("torchdata's loader, shuffled", data=lambda: (torchdata(shuffle=True), torchdata(shuffle=True))),
    Setup(
        "torchdata's loader with a generator",
        data=lambda: (torchdata(shuffle=True, generator=torch.Generator().manual_seed(3)), batch_list(2)),
    ),
    Setup("torchdata's loader of data with a state", data=lambda: (torchdata(Counting()), batch_list(2))),
    Setup("validation by torchdata's loader of data with a state", data=lambda: (shuffled(), torchdata(Counting()))),
    Setup("torchdata's loader of a stream", data=lambda: (torchdata(Stream()), batch_list(2))),
    Setup("torchdata's loader with a worker", data=lambda: (torchdata(shuffle=True, **WORKER), batch_list(2))),
    Setup("torchdata's loader with a counting worker", data=lambda: (torchdata(Counting(), **WORKER), batch_list(2))),
]
