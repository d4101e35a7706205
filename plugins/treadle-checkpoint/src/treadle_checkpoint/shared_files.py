"""The files of a checkpoint that several processes save together, by torch's distributed checkpoints.

The main process writes the model, as a single process does. Of all else each writes what is plain into a file of its
own, and torch writes the tensors: one that is the same everywhere once, under its name, and others for each process.
"""

from __future__ import annotations

import io
import json
import pickle
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint import filesystem, metadata
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.state_dict_saver import save
from treadle.authoring import RunState, flatten

from treadle_checkpoint.errors import damaged
from treadle_checkpoint.place import Place
from treadle_checkpoint.processes import Processes
from treadle_checkpoint.tensor_digest import digest

#: The file with an index of the tensors, and how those end that they are in.
INDEX, PART = ".metadata", ".distcp"


def plain_file(rank: int) -> str:
    """The name of the file of what is plain, of a process."""
    return f"state_{rank}.json"


def names_of(processes: int, files: Iterable[str]) -> list[str]:
    """The names of the files that so many processes saved together.

    Args:
        files: What the manifest has.
    """
    return [*map(plain_file, range(processes)), INDEX, *(name for name in files if name.endswith(PART))]


def write_shared(folder: Path, state: RunState, place: Place, processes: Processes) -> None:
    """Write all of a state that is not the model of the main process, on all processes together."""
    tensors = dict(state.tensors)
    differing = other_model(state.model, processes)
    plain = {
        "place": {**vars(place), "ended": flatten(place.ended, "place/ended", tensors)},
        **state.parts,
        "model": flatten(differing, "model", tensors),
    }

    def write_plain() -> None:
        text = json.dumps(plain, allow_nan=False)
        (folder / plain_file(processes.rank)).write_text(text, encoding="utf-8")

    processes.together(write_plain)
    equal = equal_everywhere(tensors, processes)
    named = {name if name in equal else own(name, processes.rank): tensor for name, tensor in tensors.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what torch is about to change in itself
        save(named, storage_writer=filesystem.FileSystemWriter(str(folder)), process_group=processes.group)


def own(name: str, rank: int) -> str:
    """The name of a tensor that is another one on each process."""
    return f"rank_{rank}/{name}"


def equal_everywhere(tensors: Mapping[str, torch.Tensor], processes: Processes) -> set[str]:
    """The names of the tensors that are the same on all processes."""
    mine = {name: digest({"": tensor}, None) for name, tensor in tensors.items()}
    of_all = processes.gather(mine)
    return {name for name, sha in mine.items() if all(theirs.get(name) == sha for theirs in of_all)}


def other_model(model: Mapping[str, Any], processes: Processes) -> dict[str, Any]:
    """What of a model is not as on the main process, such as statistics of its own batches."""

    def sha_of(name: str, value: Any) -> str:
        held: dict[str, torch.Tensor] = {}
        return (
            digest(held, flatten(value, name, held)) if not isinstance(value, torch.Tensor) else digest({"": value}, 0)
        )

    mine = {name: sha_of(name, value) for name, value in model.items()}
    of_main = processes.gather(mine)[0]
    return {name: value for name, value in model.items() if of_main.get(name) != mine[name]}


def read_shared(folder: Path, rank: int) -> dict[str, torch.Tensor]:
    """The tensors that a process had, read without torch's unpickling of whatever is in a file.

    Args:
        rank: The number of the process.

    Raises:
        DamagedCheckpointError: naming the file.
    """
    reader = Reader(str(folder))
    try:
        known = reader.read_metadata().state_dict_metadata
    except Exception as error:
        raise damaged(folder / INDEX, repr(error)) from error
    names = {name.partition("/")[2]: name for name in known if name.startswith(f"rank_{rank}/")}
    names |= {name: name for name in known if not name.startswith("rank_")}
    tensors: dict[str, torch.Tensor] = {}
    for name, key in names.items():
        if not isinstance(found := known[key], metadata.TensorStorageMetadata):
            raise damaged(folder / INDEX, f"{key} is not a tensor")
        tensors[name] = torch.empty(found.size, dtype=found.properties.dtype)
    load_alone({names[name]: tensor for name, tensor in tensors.items()}, reader, folder)
    return tensors


def load_alone(tensors: dict[str, torch.Tensor], reader: Reader, folder: Path) -> None:
    """Read tensors in place, on this process alone."""
    planner = DefaultLoadPlanner()
    try:
        index = reader.read_metadata()
        planner.set_up_planner(tensors, index, True)
        reader.set_up_storage_reader(index, True)
        plan = reader.prepare_local_plan(planner.create_local_plan())
        (plan,) = reader.prepare_global_plan(planner.create_global_plan([plan]))
        reader.read_data(planner.finish_plan(plan), planner).wait()
    except Exception as error:
        raise damaged(folder / INDEX, f"its tensors cannot be read ({error!r})") from error


class Reader(filesystem.FileSystemReader):
    """Reads an index of tensors, and runs no code that a file names."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> metadata.Metadata:
        with (Path(self.path) / INDEX).open("rb") as file:
            found: metadata.Metadata = Unpickler(io.BytesIO(file.read())).load()
        found.storage_meta = metadata.StorageMeta(load_id=self.load_id)
        return found


class Unpickler(pickle.Unpickler):
    """Knows what an index consists of, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if module == metadata.__name__ and isinstance(getattr(metadata, name, None), type):
            return getattr(metadata, name)
        if module == "torch" and (name == "Size" or isinstance(getattr(torch, name, None), torch.dtype)):
            return getattr(torch, name)
        if (module, name) == ("torch.serialization", "_get_layout"):
            return torch.serialization._get_layout
        if (module, name) == (filesystem.__name__, "_StorageInfo"):
            return filesystem._StorageInfo
        if module in ("pathlib", "pathlib._local") and name in ("PosixPath", "WindowsPath"):
            return str_of_path
        raise pickle.UnpicklingError(f"{module}.{name} is no part of an index")


def str_of_path(*parts: str) -> str:
    """A path of another system, too."""
    return "/".join(parts)
