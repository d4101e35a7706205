"""A folder is saved to by one training at a time, also if they are in several processes."""

from __future__ import annotations

import copy
import json
import os
import pickle
import socket
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest
from treadle import Callback, TrainingPhase, epoch, toy_learner
from treadle_checkpoint import Checkpointer, CheckpointError, FolderInUseError, checkpoints, folder_lock, resume
from treadle_checkpoint.folder_lock import FolderLock

#: Trains until it is killed; says when it has the lock.
TRAINING = """
    import sys, time
    from treadle import Callback, TrainingPhase, toy_learner
    from treadle_checkpoint import Checkpointer, checkpoints, resume

    class Wait(Callback):
        optional_state = True

        def on_step_begin(self, learner, phase: TrainingPhase):
            if learner.progress.steps == 20:
                print("training", flush=True)
                sys.stdin.read()

    learner = toy_learner(Checkpointer(sys.argv[1]), Wait())
    if checkpoints(sys.argv[1]):
        resume(learner, sys.argv[1])
    learner.fit(2)
    """


@pytest.fixture
def another(tmp_path):
    """Starts another process that trains in a folder."""
    started = []

    def start(folder):
        command = [sys.executable, "-c", textwrap.dedent(TRAINING), str(folder)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "training\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_second_process_is_refused_before_its_first_step_and_says_who_holds_the_folder(tmp_path, another):
    process = another(tmp_path / "run")
    learner = toy_learner(Checkpointer(tmp_path / "run"))
    resume(learner, tmp_path / "run")  # it is the same run: the lock alone tells them apart
    before = learner.progress.steps
    who = rf"run is in use by process {process.pid} on {socket.gethostname()}, since 2.*\.\nFix: wait until it has "
    with pytest.raises(FolderInUseError, match=who):
        learner.fit(2)
    assert learner.progress.steps == before
    process.communicate("")  # it goes on, and ends
    assert [one.steps for one in checkpoints(tmp_path / "run")] == [16, 32]
    assert sorted(path.name[:10] for path in (tmp_path / "run").iterdir()) == ["checkpoint"] * 2


def test_after_a_process_that_was_killed_the_folder_is_free(tmp_path, another):
    process = another(tmp_path)
    process.kill()
    process.wait()
    assert (tmp_path / ".lock").exists()
    learner = toy_learner(Checkpointer(tmp_path))
    resume(learner, tmp_path)
    assert learner.fit(2).steps == 16
    assert not (tmp_path / ".lock").exists()


def test_two_trainings_of_one_process_are_told_apart_too(tmp_path):
    inner = toy_learner(Checkpointer(tmp_path))

    class Starts(Callback):
        def on_step_begin(self, phase: TrainingPhase):
            inner.fit(1)

    learner = toy_learner(Checkpointer(tmp_path), Starts())
    with pytest.raises(FolderInUseError, match=r"is in use by another training in this process, since 2"):
        learner.fit(1)
    assert inner.progress.steps == 0
    assert inner.fit(1).steps == 16  # it was released when the fit had ended, though by an error


def test_the_lock_is_held_while_a_fit_is_under_way_or_an_epoch_alone(tmp_path):
    seen = []

    class Look(Callback):
        def on_step_begin(self):
            seen.append((tmp_path / ".lock").exists())

    learner = toy_learner(Checkpointer(tmp_path), Look(), nbatches=1)
    learner.fit(1)
    epoch(learner, TrainingPhase())
    assert seen == [True] * 3
    assert not (tmp_path / ".lock").exists()


@pytest.fixture
def no_locks(monkeypatch):
    """A file system that has no locks."""
    monkeypatch.setattr(folder_lock, "lock", lambda descriptor: None)


def written_by(folder, **holder):
    (folder / ".lock").write_text(json.dumps({"host": socket.gethostname(), "since": "2026-01-01", **holder}))


def test_without_locks_of_the_system_a_process_that_is_gone_holds_nothing(tmp_path, no_locks):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for pid in (gone.pid, os.getpid()):  # a process before this one may have had its number
        written_by(tmp_path, pid=pid)
        lock = FolderLock(tmp_path)
        lock.acquire()
        lock.release()
    (tmp_path / ".lock").write_text("")
    FolderLock(tmp_path).acquire()


def test_without_locks_of_the_system_one_that_may_be_there_is_believed(tmp_path, no_locks):
    for holder in ({"pid": os.getppid()}, {"pid": 1, "host": "elsewhere"}):
        written_by(tmp_path, **holder)
        with pytest.raises(
            FolderInUseError, match=r"\nFix: wait until it has ended; or, if it is gone, remove .*\.lock"
        ):
            FolderLock(tmp_path).acquire()
    (tmp_path / ".lock").unlink()
    held = FolderLock(tmp_path)
    held.acquire()
    with pytest.raises(FolderInUseError, match="another training in this process"):
        FolderLock(tmp_path).acquire()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks a process")
def test_a_process_that_was_forked_does_not_hold_the_lock_of_its_parent(tmp_path):
    lock = FolderLock(tmp_path)
    lock.acquire()
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:  # as a worker of a loader, which may live on for some seconds
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    os.close(reading)
    with pytest.raises(FolderInUseError):
        FolderLock(tmp_path).acquire()
    lock.release()
    FolderLock(tmp_path).acquire()
    os.close(writing)
    os.waitpid(child, 0)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda lock: pickle.loads(pickle.dumps(lock))])
def test_a_copy_does_not_hold_it(tmp_path, copied):
    lock = FolderLock(tmp_path)
    lock.acquire()
    other = copied(lock)
    assert (lock.held, other.held) == (True, False)
    with pytest.raises(FolderInUseError):
        other.acquire()


def test_it_is_released_when_nothing_refers_to_it(tmp_path):
    FolderLock(tmp_path).acquire()
    FolderLock(tmp_path).acquire()


# A folder that cannot be used.


@pytest.fixture
def unprivileged(tmp_path_factory):
    """A folder of a user that is not allowed everything, who the test is run by."""
    if not hasattr(os, "geteuid"):
        pytest.skip("asks for POSIX's users")
    if os.geteuid() != 0:
        yield tmp_path_factory.mktemp("mine")
        return
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, 65534, 65534)
        os.seteuid(65534)
        try:
            yield Path(folder)
        finally:
            os.seteuid(0)


def refused(folder, message):
    learner = toy_learner(Checkpointer(folder), epochs := Epochs())
    advice = r"\.\nFix: pass a folder that can be made, or that this user can write to:\n    Checkpointer"
    with pytest.raises(CheckpointError, match=rf"Checkpoints cannot be saved to .* \({message}\){advice}"):
        learner.fit(1)
    assert (learner.progress.steps, epochs.begun) == (0, 0)


class Epochs(Callback):
    begun = 0

    def on_epoch_begin(self):
        self.begun += 1


def test_a_folder_that_is_a_file_or_in_one_is_refused_before_the_first_step(tmp_path):
    (tmp_path / "file").write_text("")
    refused(tmp_path / "file", "File exists")
    refused(tmp_path / "file" / "inside", "Not a directory")


def test_a_folder_that_cannot_be_made_or_written_to_is_refused_before_the_first_step(unprivileged):
    folder = unprivileged / "read only"
    folder.mkdir(mode=0o555)
    refused(folder, "Permission denied")
    refused(folder / "inside", "Permission denied")


def test_a_checkpoint_that_this_user_may_not_read_is_left_out_and_fallen_back_from(unprivileged):
    folder = unprivileged / "run"
    toy_learner(Checkpointer(folder)).fit(3)
    *_, before, newest = checkpoints(folder)
    for name in ("manifest.json", "model.safetensors", "state.json", "state.safetensors", "final.json"):
        (newest.path / name).chmod(0)
        assert resume(toy_learner(), folder, fall_back=True) == before.path
        (newest.path / name).chmod(0o644)
    newest.path.chmod(0)
    assert resume(toy_learner(), folder, fall_back=True) == before.path
    assert len(checkpoints(folder)) == 2
    newest.path.chmod(0o755)
