"""Which event files a resumed run cuts, and which it leaves alone."""

import pytest
from torch.utils.tensorboard import SummaryWriter
from treadle_logging import LogChangedError, Value, log_to
from treadle_tensorboard import TensorBoardBackend
from treadle_tensorboard.event_files import event_files


def log(backend, *numbers):
    for i in numbers:
        log_to(backend, Value(i), "a", i)


def steps(events, tag="a"):
    return [event.step for event in events.Scalars(tag)]


def test_a_new_process_cuts_the_files_of_those_before_it_and_removes_later_ones(tmp_path, read) -> None:
    first = TensorBoardBackend(tmp_path)
    log(first, 1, 2)
    position = first.position()
    log(first, 3)
    first.close()
    second = TensorBoardBackend(tmp_path)  # killed before its first checkpoint
    log(second, 3, 4)
    second.close()
    with TensorBoardBackend(tmp_path) as third:
        third.rewind(position)
        log(third, 3)
    assert steps(read(tmp_path)) == [1, 2, 3]
    assert len(list(tmp_path.iterdir())) == 2


def test_the_same_backend_goes_on_as_well(tmp_path, read) -> None:
    with TensorBoardBackend(tmp_path, purge_step=0) as backend:
        log(backend, 1)
        position = backend.position()
        log(backend, 2)
        backend.rewind(position)
        log(backend, 7)
    assert steps(read(tmp_path)) == [1, 7]


def test_what_others_write_to_the_folder_is_left_alone(tmp_path, read) -> None:
    backend = TensorBoardBackend(tmp_path)
    position = backend.position()
    with SummaryWriter(str(tmp_path)) as other:
        other.add_scalar("theirs", 1.0, 1)
    (tmp_path / "notes about tfevents.txt").write_text("")
    backend.rewind(position)
    backend.close()
    assert steps(read(tmp_path), "theirs") == [1]
    assert (tmp_path / "notes about tfevents.txt").exists()


def test_a_position_names_files_and_nothing_outside_of_the_folder_is_cut(tmp_path) -> None:
    outside = tmp_path / "outside.tfevents"
    outside.write_text("keep this")
    with TensorBoardBackend(tmp_path / "run") as backend:
        with pytest.raises(LogChangedError, match=r"\(of \.\./outside\.tfevents\)"):
            backend.rewind({"../outside.tfevents": 3})
        assert outside.read_text() == "keep this"


def test_a_file_that_is_gone_is_named_and_nothing_is_cut(tmp_path, read) -> None:
    with TensorBoardBackend(tmp_path) as first:
        log(first, 1)
        position = first.position()
    (file,) = event_files(tmp_path)
    file.unlink()
    with TensorBoardBackend(tmp_path) as second:
        log(second, 2)
        with pytest.raises(LogChangedError, match=rf"\(of {file.name}\), so nothing is cut off.*\nFix: .*\n    Tensor"):
            second.rewind(position)
        log(second, 3)
    assert steps(read(tmp_path)) == [2, 3]


def test_it_shows_how_it_was_made(tmp_path) -> None:
    with TensorBoardBackend(tmp_path, max_queue=3) as backend:
        assert repr(backend) == f"TensorBoardBackend('{tmp_path}', max_queue=3)"
