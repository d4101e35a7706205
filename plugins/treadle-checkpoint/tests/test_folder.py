import json
import os

import pytest
from treadle.errors import ArgumentTypeError
from treadle_checkpoint import CheckpointError, DamagedCheckpointError, NoCheckpointError, best, checkpoints, latest
from treadle_checkpoint.folder import name_of, numbered, prune
from treadle_checkpoint.manifest import manifest_digest, read_manifest, replace_manifest, write_manifest
from treadle_checkpoint.score import Score


@pytest.fixture
def put(tmp_path):
    """Puts checkpoints with these values of a metric into a folder."""

    def entries(*values, mode="min", metric="Loss", first=1):
        for number, value in enumerate(values, first):
            entry = tmp_path / name_of(number, number, 10 * number, value)
            entry.mkdir()
            score = Score(metric, "TrainingPhase", mode, value).as_dict()
            about = {"run": "r", "epoch": number, "steps": 10 * number, "loss": None, "score": score, "whole_run": True}
            write_manifest(entry, about, {})
        return tmp_path

    return entries


def numbers(folder):
    return [one.number for one in checkpoints(folder)]


def test_names_start_with_the_epoch_and_the_loss():
    assert name_of(7, 3, 48, 0.01234) == "checkpoint_epoch_003_loss_0.0123_step_48_save_7"
    assert name_of(1, 1000, 9, None) == "checkpoint_epoch_1000_loss_nan_step_9_save_1"


def test_they_are_listed_in_the_order_in_which_they_were_saved(put):
    folder = put(*[0.5] * 11)
    assert numbers(folder) == list(range(1, 12))
    assert (latest(folder).epoch, latest(folder).steps, latest(folder).score.value) == (11, 110, 0.5)


def test_the_best_is_the_lowest_or_the_highest_and_of_equals_the_first(put):
    assert best(put(3.0, 1.0, 2.0, 1.0)).number == 2
    assert best(put(3.0, 1.0, 9.0, 9.0, mode="max", metric="Accuracy", first=5)).number == 7


def test_what_has_no_finite_value_is_never_the_best(put):
    assert best(put(float("nan"), 4.0, float("-inf"), None)).number == 2
    with pytest.raises(
        CheckpointError, match=r"has a finite value of Other in TrainingPhase, so none is the best.\nFix: take"
    ):
        best(put(None, metric="Other", first=5))


@pytest.mark.parametrize(
    ("k", "values", "kept"),
    [
        (0, [3.0, 1.0, 2.0], [3]),
        (1, [3.0, 1.0, 2.0], [2, 3]),
        (2, [3.0, 1.0, 2.0, 9.0], [2, 3, 4]),
        (3, [3.0, 1.0], [1, 2]),
        (2, [1.0, 1.0, 1.0], [1, 2, 3]),
        (1, [float("nan"), 2.0, None], [2, 3]),
        (2, [None, None, None, None], [3, 4]),
    ],
)
def test_the_k_best_and_the_newest_are_kept(put, k, values, kept):
    folder = put(*values)
    prune(folder, k)
    assert numbers(folder) == kept


def test_what_was_compared_by_another_metric_counts_as_worst(put):
    put(0.1, metric="Other")
    folder = put(5.0, 6.0, first=2)
    prune(folder, 1)
    assert numbers(folder) == [2, 3]


def test_other_things_in_the_folder_are_left_alone(put):
    folder = put(1.0, 2.0)
    (folder / "notes.txt").write_text("mine")
    (folder / "checkpoint_of_mine").mkdir()
    prune(folder, 0)
    assert sorted(path.name for path in folder.iterdir() if not path.name.startswith("checkpoint_epoch")) == [
        "checkpoint_of_mine",
        "notes.txt",
    ]
    assert numbers(folder) == [2]


def test_a_damaged_one_is_reported_and_neither_listed_nor_removed(put, loguru_warnings):
    folder = put(1.0, 2.0, 3.0)
    (latest(folder).path / "manifest.json").write_text("")
    assert numbers(folder) == [1, 2]
    (warning,) = loguru_warnings
    assert warning.startswith(f"A checkpoint is left out. {folder}")
    assert "save_3/manifest.json is damaged" in warning
    with pytest.raises(DamagedCheckpointError, match=r"manifest.json is damaged"):
        latest(folder)
    prune(folder, 0)
    assert len(list(folder.iterdir())) == 2


def test_a_folder_without_any_says_so(tmp_path):
    assert checkpoints(tmp_path / "missing") == []
    for ask in (latest, best):
        with pytest.raises(
            NoCheckpointError, match=r"There is no checkpoint in .*\nFix: train with .*\n    Checkpointer\("
        ):
            ask(tmp_path)


ODD = [
    ("score", None),
    ("score", {}),
    ("score", {"metric": "Loss", "phase": "P", "mode": "min"}),
    ("score", {"metric": "Loss", "phase": "P", "mode": "min", "value": "0"}),
    ("run", 3),
    ("epoch", -1),
    ("steps", "3"),
    ("loss", float("inf")),
    ("loss", True),
    ("whole_run", 1),
    ("format", None),
    ("format", 99),
]


@pytest.mark.parametrize(("name", "value"), ODD)
def test_one_odd_entry_does_not_block_the_folder(put, loguru_warnings, name, value):
    folder = put(1.0, 2.0, 3.0)
    path = checkpoints(folder)[1].path
    rewrite(path, **{name: value})
    assert numbers(folder) == [1, 3]
    assert str(path) in loguru_warnings[0]
    assert (best(folder).number, latest(folder).number) == (1, 3)
    prune(folder, 0)
    assert [number for number, _ in numbered(folder)] == [2, 3]


def rewrite(path, **entries):
    """Write a manifest with other entries and the right digest."""
    manifest = {**read_manifest(path), **entries}
    (path / "manifest.json").write_text(json.dumps({**manifest, "sha256": manifest_digest(manifest)}))


def test_more_than_is_known_in_an_entry_does_not_matter(put):
    folder = put(1.0)
    path = latest(folder).path
    manifest = read_manifest(path)
    replace_manifest(path, {**manifest, "notes": 1, "score": {**manifest["score"], "notes": 1}})
    assert numbers(folder) == [1]


def test_of_a_checkpoint_that_is_a_link_only_the_link_is_removed(put, tmp_path_factory):
    folder, elsewhere = put(1.0, 2.0), tmp_path_factory.mktemp("elsewhere")
    path = checkpoints(folder)[0].path
    path.rename(elsewhere / "kept")
    path.symlink_to(elsewhere / "kept", target_is_directory=True)
    assert numbers(folder) == [1, 2]
    prune(folder, 0)
    assert numbers(folder) == [2]
    assert (elsewhere / "kept" / "manifest.json").exists()


def test_a_checkpoint_that_cannot_be_removed_is_reported_and_the_rest_goes_on(put, loguru_warnings, monkeypatch):
    folder = put(1.0, 2.0, 3.0)
    first = checkpoints(folder)[0].path
    really = os.replace

    def rename(source, target):  # as Windows refuses it for a folder that another program has open
        if source == first:
            raise PermissionError(13, "Permission denied")
        really(source, target)

    monkeypatch.setattr(os, "replace", rename)
    prune(folder, 0)
    assert numbers(folder) == [1, 3]
    assert loguru_warnings == [f"{first} could not be removed (Permission denied). The training goes on."]


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    def refused(folder):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(tmp_path), "iterdir", refused)
    for ask in (checkpoints, latest, best):
        with pytest.raises(CheckpointError, match=r"cannot be read \(Permission denied\).\nFix: allow this user to"):
            ask(tmp_path)


@pytest.mark.parametrize("ask", [checkpoints, latest, best])
def test_what_is_not_a_path_is_refused(ask):
    with pytest.raises(ArgumentTypeError, match=r"folder must be a path, got None.\nFix: write, for example:\n    "):
        ask(None)
