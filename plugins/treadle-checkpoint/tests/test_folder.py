import pytest
from treadle_checkpoint import CheckpointError, DamagedCheckpointError, NoCheckpointError, best, checkpoints, latest
from treadle_checkpoint.folder import name_of, prune
from treadle_checkpoint.manifest import write_manifest
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
    prune(folder, k, Score("Loss", "TrainingPhase", "min"))
    assert numbers(folder) == kept


def test_what_was_compared_by_another_metric_counts_as_worst(put):
    put(0.1, metric="Other")
    folder = put(5.0, 6.0, first=2)
    prune(folder, 1, Score("Loss", "TrainingPhase", "min"))
    assert numbers(folder) == [2, 3]


def test_other_things_in_the_folder_are_left_alone(put):
    folder = put(1.0, 2.0)
    (folder / "notes.txt").write_text("mine")
    (folder / "checkpoint_of_mine").mkdir()
    prune(folder, 0, Score("Loss", "TrainingPhase", "min"))
    assert sorted(path.name for path in folder.iterdir() if not path.name.startswith("checkpoint_epoch")) == [
        "checkpoint_of_mine",
        "notes.txt",
    ]
    assert numbers(folder) == [2]


def test_a_damaged_one_is_not_listed_and_not_removed(put):
    folder = put(1.0, 2.0, 3.0)
    (latest(folder).path / "manifest.json").write_text("")
    assert numbers(folder) == [1, 2]
    with pytest.raises(DamagedCheckpointError, match=r"manifest.json is damaged"):
        latest(folder)
    prune(folder, 0, Score("Loss", "TrainingPhase", "min"))
    assert len(list(folder.iterdir())) == 2


def test_a_folder_without_any_says_so(tmp_path):
    assert checkpoints(tmp_path / "missing") == []
    for ask in (latest, best):
        with pytest.raises(
            NoCheckpointError, match=r"There is no checkpoint in .*\nFix: train with .*\n    Checkpointer\("
        ):
            ask(tmp_path)
