"""What several processes save and resume together: one run of two, by torchrun and gloo, in which all of it happens."""

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from treadle_checkpoint import (
    Checkpointer,
    DamagedCheckpointError,
    MismatchError,
    NotSaveableError,
    checkpoints,
    load_model,
    resume,
    save_model,
    save_run,
)
from treadle_checkpoint.manifest import digest as digest_of_file
from treadle_checkpoint.manifest import read_manifest, replace_manifest

sys.path.insert(0, str(Path(__file__).parent))
from together import learner

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without processes")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("together")
    learner(0, Checkpointer(folder / "single", every_steps=2, every_epochs=1)).fit(1)
    (folder / "one").mkdir()
    inside, boundary = checkpoints(folder / "single")
    shutil.copytree(inside.path, folder / "one" / "inside")
    shutil.copytree(boundary.path, folder / "one" / "boundary")
    return folder


@pytest.fixture(scope="module")
def found(base):
    """What the processes found, by their ranks."""
    run = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=0"]
    program = [str(Path(__file__).parent / "together.py"), str(base)]
    ended = subprocess.run(
        [*run, "--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0", *program], capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    lines = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]
    return sorted(lines, key=lambda line: line["rank"])


def test_resumed_at_every_step_each_process_is_bit_equal_to_the_one_that_never_stopped(found):
    assert [line["resumed at every step"] for line in found] == [[True] * len(found[0]["resumed at every step"])] * 2
    assert len(found[0]["resumed at every step"]) >= 6


def test_a_run_is_saved_and_resumed_outside_of_a_fit(found):
    assert [line["saved after the fit"] for line in found] == [True, True]


def test_what_one_process_cannot_save_ends_the_save_on_all_and_leaves_nothing(found):
    assert found[0]["what one cannot save"].startswith(
        "CheckpointError: The run could not be saved or resumed, because of process 1, which raised NotSaveableError: "
        "A checkpoint cannot hold callbacks/Odd/"
    )
    assert found[1]["what one cannot save"].startswith("NotSaveableError: A checkpoint cannot hold callbacks/Odd/")
    assert [line["what it left"] for line in found] == [[], []]


def test_what_one_process_asks_for_all_of_them_save_when_the_epoch_has_ended(found):
    assert [line["asked for by one"][0] for line in found] == [3, 3]


def test_a_signal_saves_at_the_end_of_the_step_and_ends_the_fit(found):
    assert [line["ended by a signal"] for line in found] == [["Received SIGTERM.", 4, True]] * 2


def test_what_one_process_saved_two_resume_at_the_end_of_an_epoch_and_not_inside(found):
    for rank, line in enumerate(found):
        assert line["one process, boundary"] == "nothing"
        assert line["own random numbers, boundary"] is (rank == 1)
        assert "in the middle of an epoch by 1 process, and there are 2 now" in line["one process, inside"]


def test_what_two_processes_saved_one_resumes_at_the_end_of_an_epoch_and_not_inside(found, base):
    by_steps = {one.steps: one for one in checkpoints(base / "run")}
    with pytest.raises(MismatchError, match=r"by 2 processes, and there is 1 now, .*\nFix: resume with as many"):
        resume(learner(0), by_steps[2])
    again = learner(0)
    resume(again, base / "run")
    assert again.fit(3).steps == 3
    again = learner(0)
    resume(again, base / "saved")
    assert (again.progress.epochs, again.fit(1).steps) == (2, 3)


def test_what_is_sharded_over_processes_is_refused_by_name(tmp_path):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import distribute_tensor

    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        whole = learner(0)
        linear = whole.model[3]
        mesh = init_device_mesh("cpu", (1,))
        linear.weight = torch.nn.Parameter(distribute_tensor(linear.weight.detach(), mesh))
        for save in (lambda: save_run(whole, tmp_path / "run"), lambda: save_model(whole.model, tmp_path / "model")):
            with pytest.raises(
                NotSaveableError, match=r"cannot hold 3.weight yet: it is sharded over processes.\nFix: "
            ):
                save()
    finally:
        torch.distributed.destroy_process_group()
    assert list(tmp_path.iterdir()) == []


def test_a_single_process_loads_the_model_of_several(found, base):
    from_checkpoint, from_file = (
        load_model(learner(1).model, path) for path in (base / "saved", base / "model.safetensors")
    )
    assert all(map(torch.equal, from_checkpoint.parameters(), from_file.parameters()))
    again = learner(0)
    resume(again, base / "saved")
    assert all(map(torch.equal, from_checkpoint.parameters(), again.model.parameters()))


@pytest.mark.parametrize("name", ["state_1.json", "__1_0.distcp", ".metadata"])
def test_a_part_that_is_missing_or_damaged_is_named(found, base, tmp_path, name):
    shutil.copytree(base / "saved", tmp_path / "copy")
    file = tmp_path / "copy" / name
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DamagedCheckpointError, match=f"{name} is damaged: its content is not what was written"):
        resume(learner(0), tmp_path / "copy")
    file.unlink()
    with pytest.raises(DamagedCheckpointError, match=f"{name} is missing"):
        resume(learner(0), tmp_path / "copy")


def test_an_index_that_names_code_runs_none(found, base, tmp_path):
    class Code:
        def __reduce__(self):
            return Path.touch, (tmp_path / "it ran",)

    shutil.copytree(base / "saved", tmp_path / "copy")
    (tmp_path / "copy" / ".metadata").write_bytes(pickle.dumps(Code()))
    manifest = read_manifest(tmp_path / "copy")
    file = tmp_path / "copy" / ".metadata"
    manifest["files"][".metadata"] = {"bytes": file.stat().st_size, "sha256": digest_of_file(file)}
    replace_manifest(tmp_path / "copy", manifest)
    with pytest.raises(DamagedCheckpointError, match=r"metadata is damaged: UnpicklingError.* is no part of an index"):
        resume(learner(0), tmp_path / "copy")
    assert not (tmp_path / "it ran").exists()
