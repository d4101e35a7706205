import json

import pytest
from treadle_checkpoint import CheckpointError, DamagedCheckpointError, NoCheckpointError
from treadle_checkpoint.manifest import MANIFEST, own_digest, read_manifest, verify, write_manifest


@pytest.fixture
def entry(tmp_path):
    folder = tmp_path / "checkpoint_1"
    folder.mkdir()
    (folder / "one").write_text("first file")
    (folder / "two").write_text("second file")
    write_manifest(folder, {"epoch": 3})
    return folder


def test_it_says_what_it_was_told_and_what_the_files_are(entry):
    manifest = read_manifest(entry)
    assert (manifest["epoch"], manifest["files"]["one"]["bytes"]) == (3, 10)
    verify(entry, manifest)


def damage(file):
    content = file.read_bytes()
    file.write_bytes(content[:4] + bytes([content[4] ^ 1]) + content[5:])


def cut(file):
    file.write_bytes(file.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (damage, r"two is damaged: its content is not what was written. Load another checkpoint"),
        (cut, r"two is damaged: it has 10 bytes, and 11 were written"),
        (lambda file: file.unlink(), r"two is missing. Load another checkpoint"),
    ],
)
def test_the_file_that_is_damaged_is_named(entry, harm, message):
    harm(entry / "two")
    manifest = read_manifest(entry)
    verify(entry, manifest, ["one"])
    with pytest.raises(DamagedCheckpointError, match=message):
        verify(entry, manifest)


@pytest.mark.parametrize("harm", [damage, cut, lambda file: file.unlink(), lambda file: file.write_text("[]")])
def test_a_manifest_that_is_damaged_is_named(entry, harm):
    harm(entry / MANIFEST)
    with pytest.raises(DamagedCheckpointError, match=r"manifest.json is damaged .* Load another checkpoint"):
        read_manifest(entry)


def test_a_manifest_that_was_edited_is_noticed(entry):
    text = (entry / MANIFEST).read_text()
    (entry / MANIFEST).write_text(text.replace('"epoch": 3', '"epoch": 4'))
    with pytest.raises(DamagedCheckpointError, match="its content is not what was written"):
        read_manifest(entry)


def test_a_newer_format_asks_for_an_upgrade(entry):
    said = json.loads((entry / MANIFEST).read_text())
    del said["sha256"]
    said["format"] = 2
    (entry / MANIFEST).write_text(json.dumps({**said, "sha256": own_digest(said)}))
    with pytest.raises(
        CheckpointError, match=r"has the format 2, and this version .* knows 1. Upgrade it: pip install"
    ):
        read_manifest(entry)


def test_what_was_never_a_checkpoint_is_told(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(NoCheckpointError, match=r"There is no checkpoint at .* Pass what a Checkpointer"):
            read_manifest(folder)
