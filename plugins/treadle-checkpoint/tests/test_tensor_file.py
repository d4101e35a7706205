import pickle

import pytest
import safetensors.torch
import torch
from treadle_checkpoint import DamagedCheckpointError, NotSaveableError
from treadle_checkpoint.tensor_file import read_tensors, write_tensors

DTYPES = [
    *("bool", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64", "complex64"),
    *("float16", "bfloat16", "float32", "float64"),
    *("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"),
]


@pytest.mark.parametrize("dtype", [getattr(torch, name) for name in DTYPES], ids=DTYPES)
def test_every_bit_of_every_type_comes_back(tmp_path, dtype):
    size = torch.empty((), dtype=dtype).element_size()
    bits = torch.randint(2 if dtype is torch.bool else 256, (6 * size,), dtype=torch.uint8)
    written = bits.view(dtype).reshape(2, 3)
    write_tensors(tmp_path / "file", {"x": written})
    read = read_tensors(tmp_path / "file")[0]["x"]
    assert (read.dtype, read.shape) == (dtype, (2, 3))
    assert torch.equal(read.reshape(-1).view(torch.uint8), bits)


def test_views_of_one_memory_are_stored_each_on_its_own(tmp_path):
    whole = torch.arange(6.0).reshape(2, 3)
    write_tensors(tmp_path / "file", {"whole": whole, "row": whole[1], "turned": whole.t(), "again": whole})
    read, _ = read_tensors(tmp_path / "file")
    assert {name: tensor.tolist() for name, tensor in read.items()} == {
        "whole": whole.tolist(),
        "row": whole[1].tolist(),
        "turned": whole.t().tolist(),
        "again": whole.tolist(),
    }


def test_other_programs_can_read_the_file_and_it_reads_theirs(tmp_path):
    write_tensors(tmp_path / "ours", {"x": torch.ones(2)}, {"said": 1})
    assert safetensors.torch.load_file(tmp_path / "ours")["x"].tolist() == [1, 1]
    safetensors.torch.save_file({"x": torch.ones(2)}, tmp_path / "theirs")
    tensors, notes = read_tensors(tmp_path / "theirs")
    assert (tensors["x"].tolist(), notes) == ([1, 1], None)


def test_a_bit_that_changed_is_noticed_wherever_it_is(tmp_path):
    file = tmp_path / "file"
    write_tensors(file, {"x": torch.ones(2), "y": torch.zeros(1)}, {"said": "something"})
    whole = file.read_bytes()
    for bit in range(8 * len(whole)):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        file.write_bytes(changed)
        try:
            tensors, notes = read_tensors(file)
        except DamagedCheckpointError:
            continue
        assert (tensors["x"].tolist(), tensors["y"].tolist(), notes) == ([1, 1], [0], {"said": "something"})
        assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}


def test_what_was_read_does_not_hold_the_file(tmp_path):
    file = tmp_path / "file"
    write_tensors(file, {"x": torch.ones(1000)})
    tensors, _ = read_tensors(file)
    file.write_bytes(b"")  # with the file mapped into memory, reading the tensor would end the process
    assert tensors["x"].sum() == 1000


def test_a_file_that_the_system_does_not_let_us_read_is_named(tmp_path):
    with pytest.raises(
        DamagedCheckpointError, match=r"is damaged or cannot be read \(.*\).\nFix: load another one, or"
    ):
        read_tensors(tmp_path)


@pytest.mark.parametrize("length", [0, 7, 100, -1])
def test_a_file_that_was_cut_off_is_named(tmp_path, length):
    file = tmp_path / "weights.safetensors"
    write_tensors(file, {"x": torch.ones(100)})
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(DamagedCheckpointError, match=r"weights.safetensors is damaged, or not a file of tensors"):
        read_tensors(file)


class Hostile:
    def __reduce__(self):
        return exec, ("raise SystemExit('code of the file was run')",)


def test_a_file_with_code_in_it_is_refused_and_the_code_does_not_run(tmp_path):
    (tmp_path / "pickled").write_bytes(pickle.dumps(Hostile()))
    torch.save({"x": Hostile()}, tmp_path / "saved by torch")
    for name in ("pickled", "saved by torch"):
        with pytest.raises(DamagedCheckpointError, match="not a file of tensors"):
            read_tensors(tmp_path / name)


def test_a_type_that_the_format_does_not_know_is_named(tmp_path):
    with pytest.raises(
        NotSaveableError, match=r"cannot hold wave, a tensor of torch.complex128.\nFix: .*\n    torch.view_as_real"
    ):
        write_tensors(tmp_path / "file", {"wave": torch.ones(1, dtype=torch.complex128)})
