"""torchdata's loader: what keeps a run from being resumed is refused. The campaign of resumes has what works."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import Sampler, TensorDataset
from torchdata.stateful_dataloader import StatefulDataLoader
from treadle import Learner
from treadle.errors import MismatchError, NotResumableError
from treadle_checkpoint import Checkpointer, checkpoints, resume

pytestmark = pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")  # torchdata's own, with a new torch


class Numbered(StatefulDataLoader):
    """Adds the number of its passes."""

    passes = 0

    def __iter__(self) -> Any:
        self.passes += 1
        return super().__iter__()

    def state_dict(self) -> dict[str, Any]:
        return {"passes": self.passes, "loader": super().state_dict()}


class Rotating(Sampler[int]):
    """Has a state, and its iterator has none, so torchdata begins it anew in the middle of a pass."""

    passes = 0

    def __len__(self) -> int:
        return 8

    def __iter__(self) -> Any:
        self.passes += 1
        return iter([(i + self.passes) % 8 for i in range(8)])

    def state_dict(self) -> dict[str, Any]:
        return {"passes": self.passes}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.passes = state["passes"]


def learner(kind: type[StatefulDataLoader], folder: Path, **options: Any) -> Learner:
    torch.manual_seed(0)
    data = TensorDataset(torch.rand(8, 1), torch.rand(8, 1))
    return Learner(
        torch.nn.Linear(1, 1),
        torch.nn.MSELoss(),
        data=(kind(data, 2, **options),),
        callbacks=[Checkpointer(folder, every_steps=1)],
        use_default_callbacks=False,
    )


def test_a_subclass_that_adds_to_the_state_is_refused_before_the_first_step(tmp_path: Path) -> None:
    refused = learner(Numbered, tmp_path)
    with pytest.raises(NotResumableError, match=r"Numbered\.state_dict begins a pass .*\nFix: keep that in"):
        refused.fit(2)
    assert refused.progress.steps == 0


def test_workers_that_outlive_the_epoch_are_refused_before_the_first_step(tmp_path: Path) -> None:
    refused = learner(StatefulDataLoader, tmp_path, num_workers=1, persistent_workers=True)
    with pytest.raises(NotResumableError, match=r"its workers outlive the epoch.*\nFix: use persistent_workers=False"):
        refused.fit(2)
    assert refused.progress.steps == 0


def test_a_sampler_that_torchdata_begins_anew_ends_the_resumed_run(tmp_path: Path) -> None:
    learner(StatefulDataLoader, tmp_path / "run", sampler=Rotating()).fit(2)
    second = next(saved for saved in checkpoints(tmp_path / "run") if "_step_2" in saved.path.name)
    again = learner(StatefulDataLoader, tmp_path / "again", sampler=Rotating())
    resume(again, second.path)
    with pytest.raises(MismatchError, match=r"was given its state after 2 batches, and gave more than the 2 that were"):
        again.fit(2)
