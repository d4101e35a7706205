import json

import pytest
import safetensors.torch
import torch
from treadle_checkpoint.tensor_digest import digest
from treadle_checkpoint.tensor_file import METADATA, read_tensors


@pytest.fixture
def large():
    return torch.randn(300, 300, generator=torch.Generator().manual_seed(0))


def changed(large, change):
    other = large.clone()
    change(other.view(-1))
    return digest({"x": large}, None) != digest({"x": other}, None)


def test_every_number_that_changes_in_a_large_tensor_changes_its_digest(large):
    def flip(i):
        def change(flat):
            flat[i] = -flat[i]

        return changed(large, change)

    assert all(flip(i) for i in range(0, 300 * 300, 997))
    assert flip(300 * 300 - 1)


def test_two_numbers_rows_or_blocks_of_a_disk_that_change_places_change_the_digest(large):
    def swapped(size, first, second):
        def change(flat):
            kept = flat[first : first + size].clone()
            flat[first : first + size] = flat[second : second + size]
            flat[second : second + size] = kept

        return changed(large, change)

    assert all(swapped(size, 0, second) for size in (1, 2, 128, 1024, 8192) for second in (8192, 16384, 40960))


def test_a_large_tensor_has_the_same_digest_wherever_it_lies_in_memory(large):
    bits = large.view(-1).view(torch.uint8)
    shifted = torch.cat([torch.zeros(3, dtype=torch.uint8), bits])[3:]
    assert shifted.data_ptr() % 8
    assert digest({"x": shifted}, None) == digest({"x": bits}, None)


def test_a_file_with_a_digest_of_all_bytes_as_older_versions_wrote_is_read(tmp_path, large):
    sha256 = digest({"x": large}, "notes", like="0123")
    assert len(sha256) == 64
    metadata = {METADATA: json.dumps({"notes": "notes", "sha256": sha256})}
    safetensors.torch.save_file({"x": large}, tmp_path / "old", metadata)
    tensors, notes = read_tensors(tmp_path / "old", sha256)
    assert (tensors["x"].equal(large), notes) == (True, "notes")
