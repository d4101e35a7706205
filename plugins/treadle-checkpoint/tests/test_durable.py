import pytest
from treadle_checkpoint.durable import clear_remainders, remove_folder, whole_file, whole_folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_has_its_name_only_when_it_is_whole(tmp_path):
    with whole_file(tmp_path / "a" / "file") as path:
        path.write_text("new")
        assert not (tmp_path / "a" / "file").exists()
    assert (tmp_path / "a" / "file").read_text() == "new"
    assert names(tmp_path / "a") == ["file"]


def test_a_file_whose_writing_failed_leaves_the_old_one_and_nothing_else(tmp_path):
    (tmp_path / "file").write_text("old")

    def write():
        with whole_file(tmp_path / "file") as path:
            path.write_text("ne")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write()
    assert (tmp_path / "file").read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_folder_has_its_name_only_when_all_its_files_are_written(tmp_path):
    with whole_folder(tmp_path / "a" / "entry") as folder:
        (folder / "one").write_text("1")
        assert not (tmp_path / "a" / "entry").exists()
    assert names(tmp_path / "a" / "entry") == ["one"]


def test_a_folder_whose_writing_failed_leaves_nothing(tmp_path):
    def write():
        with whole_folder(tmp_path / "entry") as folder:
            (folder / "one").write_text("1")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert names(tmp_path) == []


def test_what_is_removed_and_what_was_left_unfinished_is_gone(tmp_path):
    for name in ("checkpoint_1", ".checkpoint_2.unfinished", ".of_another_program"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
    remove_folder(tmp_path / "checkpoint_1")
    clear_remainders(tmp_path)
    assert names(tmp_path) == [".of_another_program"]
