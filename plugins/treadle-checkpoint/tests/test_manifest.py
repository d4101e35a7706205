import json

import pytest
from treadle_checkpoint import CheckpointError, DamagedCheckpointError, NoCheckpointError
from treadle_checkpoint.manifest import (
    MANIFEST,
    manifest_digest,
    read_manifest,
    replace_manifest,
    verify,
    write_manifest,
)


@pytest.fixture
def entry(tmp_path):
    folder = tmp_path / "checkpoint_1"
    folder.mkdir()
    (folder / "one").write_text("first file")
    (folder / "two").write_text("second file")
    write_manifest(folder, {"epoch": 3}, {})
    return folder


def test_a_manifest_holds_its_content_and_describes_the_files(entry):
    manifest = read_manifest(entry)
    assert (manifest["epoch"], manifest["files"]["one"]["bytes"]) == (3, 10)
    verify(entry, manifest, ["one", "two"])


def damage(file):
    content = file.read_bytes()
    file.write_bytes(content[:4] + bytes([content[4] ^ 1]) + content[5:])


def cut(file):
    file.write_bytes(file.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (damage, r"two is damaged: its content is not what was written.\nFix: load another checkpoint"),
        (cut, r"two is damaged: it has 10 bytes, and 11 were written"),
        (lambda file: file.unlink(), r"two is missing.\nFix: load another checkpoint"),
    ],
)
def test_the_file_that_is_damaged_is_named(entry, harm, message):
    harm(entry / "two")
    manifest = read_manifest(entry)
    verify(entry, manifest, ["one"])
    with pytest.raises(DamagedCheckpointError, match=message):
        verify(entry, manifest, ["one", "two"])


@pytest.mark.parametrize("harm", [damage, cut, lambda file: file.unlink(), lambda file: file.write_text("[]")])
def test_a_manifest_that_is_damaged_is_named(entry, harm):
    harm(entry / MANIFEST)
    with pytest.raises(DamagedCheckpointError, match=r"manifest.json is damaged: .*\nFix: load another checkpoint"):
        read_manifest(entry)


def test_a_manifest_that_was_edited_is_noticed(entry):
    text = (entry / MANIFEST).read_text()
    (entry / MANIFEST).write_text(text.replace('"epoch": 3', '"epoch": 4'))
    with pytest.raises(DamagedCheckpointError, match="its content is not what was written"):
        read_manifest(entry)


@pytest.mark.parametrize(
    ("number", "fix"),
    [
        (
            1,
            r"install the version that wrote it, or load the model alone:\n    load_model",
        ),
        (5, "upgrade it:\n    pip install"),
    ],
)
def test_another_format_says_what_to_install(entry, number, fix):
    manifest = json.loads((entry / MANIFEST).read_text())
    del manifest["sha256"]
    manifest["format"] = number
    (entry / MANIFEST).write_text(json.dumps({**manifest, "sha256": manifest_digest(manifest)}))
    with pytest.raises(CheckpointError, match=rf"has the format {number}, and this version .* knows 4.\nFix: {fix}"):
        read_manifest(entry)


def test_what_was_never_a_checkpoint_is_named(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(NoCheckpointError, match=r"There is no checkpoint at .*\nFix: pass .* that a Checkpointer"):
            read_manifest(folder)


def test_a_file_of_tensors_is_digested_by_its_content_and_not_as_a_file(entry):
    write_manifest(entry, {"epoch": 3}, {"two": "of its content"})
    manifest = read_manifest(entry)
    assert manifest["files"]["two"] == {"bytes": 11, "content": "of its content"}
    damage(entry / "two")
    verify(entry, manifest, ["two"])  # whoever reads the tensors compares their content


def test_a_manifest_that_was_replaced_is_read_and_leaves_nothing_else(entry):
    manifest = read_manifest(entry)
    replace_manifest(entry, {**manifest, "epoch": 4})
    assert read_manifest(entry) == {**manifest, "epoch": 4}
    assert sorted(file.name for file in entry.iterdir()) == [MANIFEST, "one", "two"]


@pytest.mark.parametrize(
    "files", [{}, [], None, {"one": {}}, {"one": 3}, {"one": {"bytes": 10}}, {"one": {"bytes": -1}}]
)
def test_a_file_that_the_manifest_does_not_describe_is_not_taken_as_it_is(entry, files):
    replace_manifest(entry, {**read_manifest(entry), "files": files})
    with pytest.raises(
        DamagedCheckpointError, match=r"(one is missing|its entry '(files|bytes|sha256)' is missing or)"
    ):
        verify(entry, read_manifest(entry), ["one"])


def test_a_format_that_is_not_a_number_is_named(entry):
    replace_manifest(entry, {**read_manifest(entry), "format": "2"})
    with pytest.raises(
        DamagedCheckpointError, match=r"its entry 'format' is missing or has an invalid value.\nFix: load"
    ):
        read_manifest(entry)


def test_a_manifest_that_is_nested_too_deep_is_named(entry):
    (entry / MANIFEST).write_text('{"a":' * 100_000 + "1" + "}" * 100_000)
    with pytest.raises(DamagedCheckpointError, match=r"manifest.json is damaged: .*recursion"):
        read_manifest(entry)
