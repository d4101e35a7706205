"""A checkpoint that somebody wrote, with right digests and odd content: typed errors, or a run."""

from __future__ import annotations

import copy
import json
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from treadle import Callback, toy_learner
from treadle_checkpoint import Checkpointer, CheckpointError, DamagedCheckpointError, checkpoints, load_model, resume
from treadle_checkpoint.manifest import description, manifest_digest
from treadle_checkpoint.model_file import read_model_state
from treadle_checkpoint.tensor_file import write_tensors

#: Three checkpoints of a run, in the middle of an epoch and between two.
RUN = Path(tempfile.mkdtemp())

SCALARS = st.none() | st.booleans() | st.integers(-3, 10**20) | st.floats() | st.text(max_size=3)
ODD = st.recursive(
    SCALARS | st.sampled_from([{"$tensor": "x"}, {"$float": []}, {"$dict": 3}, {"$bytes": "?"}, {"$new": 1}]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


class Keeps(Callback):
    """Keeps values and tensors of several kinds."""

    def __init__(self) -> None:
        self.kept: Any = {"a": (1, [2.5, None]), 3: torch.ones(2, 3).t(), "b": b"x", "inf": float("inf")}

    def on_step_end(self) -> None: ...

    def state_dict(self) -> dict[str, Any]:
        return {"kept": self.kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.kept = state.get("kept")


def learner():
    return toy_learner(Keeps(), optimizer=torch.optim.Adam, nbatches=4)


@pytest.fixture(scope="module", autouse=True)
def run():
    saving = Checkpointer(RUN / "run", every_steps=3, every_epochs=1)
    toy_learner(Keeps(), saving, optimizer=torch.optim.Adam, nbatches=4).fit(1)
    yield
    shutil.rmtree(RUN)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values inside of a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, item in items for found in places(item, (*path, key)))]


def changed(data: Any, value: Any) -> Any:
    """A copy of a value in which something was replaced, removed, added, or nested deeper."""
    value = copy.deepcopy(value)
    *outer, last = data.draw(st.sampled_from([path for path in places(value) if path][:400]))
    inner = value
    for key in outer:
        inner = inner[key]
    how = data.draw(st.sampled_from(["replace", "remove", "add", "nest"]))
    if how == "remove":
        del inner[last]
    elif how == "add" and isinstance(inner, dict):
        inner[data.draw(st.text(max_size=3))] = data.draw(ODD)
    elif how == "nest":
        for _ in range(data.draw(st.sampled_from([1, 3000]))):
            inner[last] = [inner[last]]
    else:
        inner[last] = data.draw(ODD)
    return value


def rewrite(folder: Path, manifest: dict[str, Any]) -> None:
    """Write a manifest with the right digest."""
    manifest = {name: value for name, value in manifest.items() if name != "sha256"}
    (folder / "manifest.json").write_text(json.dumps({**manifest, "sha256": manifest_digest(manifest)}))


@settings(max_examples=25, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(data=st.data(), n=st.integers(0, 1))
def test_a_state_with_anything_in_it_is_refused_by_name_or_is_a_state(data, n):
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(shutil.copytree(checkpoints(RUN / "run")[n].path, Path(temporary, "checkpoint_x")))
        name = "final.json" if (folder / "final.json").exists() else "state.json"
        before = json.loads((folder / name).read_text())
        state = changed(data, before)
        try:
            (folder / name).write_text(json.dumps(state))
        except RecursionError:
            return
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["files"][name] = description(folder / name, None)
        rewrite(folder, manifest)
        resumed = learner()
        with suppress(CheckpointError):
            resume(resumed, folder)
            if state.get("optimizer") == before["optimizer"]:  # what is in it, only its class knows
                resumed.fit(1)


@settings(max_examples=25, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(data=st.data())
def test_a_manifest_with_anything_in_it_is_refused_by_name_and_blocks_no_other(data):
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(shutil.copytree(RUN / "run", Path(temporary, "run")))
        first, *others = checkpoints(folder)
        manifest = changed(data, json.loads((first.path / "manifest.json").read_text()))
        try:
            rewrite(first.path, manifest)
        except (RecursionError, AttributeError):
            return
        assert checkpoints(folder)[-len(others) :] == others
        for take in (lambda: resume(learner(), first.path), lambda: load_model(learner().model, first.path)):
            with suppress(CheckpointError):
                take()


@pytest.mark.parametrize(
    "notes", [3, {}, {"plain": 3, "shared": {}}, {"plain": {}, "shared": {"a": "b"}}, {"plain": {"a": {"$x": 1}}}]
)
def test_notes_of_a_model_that_are_none_are_named(tmp_path, notes):
    write_tensors(tmp_path / "file", {"weight": torch.ones(1, 1)}, notes)
    with pytest.raises(DamagedCheckpointError, match=r"damaged: its notes are not those of a model .*\nFix: load"):
        read_model_state(tmp_path / "file")
