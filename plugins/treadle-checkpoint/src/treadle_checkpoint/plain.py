"""Trees of plain values and tensors: taken apart into JSON and named tensors, and put together again.

What may be in a tree: None, bool, int, float, str, bytes, tensors, NumPy arrays and numbers, and lists, tuples
and dictionaries of these. Nothing that has to be built by code of its own is accepted, so putting a tree
together runs none.
"""

from __future__ import annotations

import base64
import math
import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch

from treadle_checkpoint.errors import DamagedCheckpointError, NotSaveableError

#: A dictionary with one key that starts with this sign is no dictionary of the tree, but says what stands here.
SIGN = "$"


def take_apart(value: Any, name: str, tensors: dict[str, torch.Tensor]) -> Any:
    """A tree as something that JSON can hold; its tensors go into `tensors`.

    Args:
        value: The tree.
        name: Where it stands, such as "callbacks/Recorder"; heads the tensors' names, and tells in an error where
            the trouble is.
        tensors: Gets the tensors, as they are, by their names.

    Raises:
        NotSaveableError: for anything that may not be in a tree.

    Example:
        >>> tensors = {}
        >>> take_apart({"best": float("inf"), "mean": torch.ones(2), "at": (1, 2)}, "state", tensors)
        {'best': {'$float': 'inf'}, 'mean': {'$tensor': 'state/mean', 'device': 'cpu'}, 'at': {'$tuple': [1, 2]}}
        >>> tensors
        {'state/mean': tensor([1., 1.])}
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"$float": repr(float(value))}
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode("ascii")}
    if isinstance(value, torch.Tensor):
        return _tensor(value, name, tensors)
    if type(value).__module__ == "numpy":
        return _numpy(value, name, tensors)
    if isinstance(value, tuple):
        return {"$tuple": [take_apart(item, f"{name}/{i}", tensors) for i, item in enumerate(value)]}
    if isinstance(value, list):
        return [take_apart(item, f"{name}/{i}", tensors) for i, item in enumerate(value)]
    if isinstance(value, dict):
        if all(isinstance(key, str) and not key.startswith(SIGN) for key in value):
            return {key: take_apart(item, f"{name}/{key}", tensors) for key, item in value.items()}
        return {"$dict": [[_key(key, name), take_apart(item, f"{name}/{key}", tensors)] for key, item in value.items()]}
    raise NotSaveableError(
        f"A checkpoint cannot hold {name}, a {type(value).__qualname__} ({value!r:.60}). It holds tensors and plain "
        f"values: let the state_dict that it comes from give numbers, strings, tensors, lists and dictionaries."
    )


def put_together(value: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    """The tree that `take_apart` took apart. All in it is new; no tensor is one of `tensors`.

    Args:
        value: What `take_apart` gave.
        tensors: The tensors by their names.

    Raises:
        DamagedCheckpointError: if it is nothing that `take_apart` gives.

    Example:
        >>> tensors = {}
        >>> put_together(take_apart({1: (2.5, None)}, "state", tensors), tensors)
        {1: (2.5, None)}
    """
    if isinstance(value, list):
        return [put_together(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    sign = next(iter(value), "")
    if not sign.startswith(SIGN):
        return {key: put_together(item, tensors) for key, item in value.items()}
    build = BUILDERS.get(sign)
    if build is None:
        raise DamagedCheckpointError(f"A checkpoint says {sign!r}, which is not known. Is it of a newer version?")
    return build(value, tensors)


def _key(key: Any, name: str) -> Any:
    """A key of a dictionary, which must be plain and hashable."""
    if isinstance(key, (tuple, str, int, float, bool, bytes)) or key is None:
        return take_apart(key, name, {})
    raise NotSaveableError(
        f"A checkpoint cannot hold {name}: its key {key!r} is a {type(key).__qualname__}. "
        f"Let keys be strings or numbers."
    )


def _tensor(tensor: torch.Tensor, name: str, tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
    """A reference to a tensor."""
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
        raise NotSaveableError(
            f"A checkpoint cannot hold {name}, a tensor of layout {tensor.layout} on {tensor.device}. Let the "
            f"state_dict that it comes from give dense tensors, such as the indices and values of a sparse one."
        )
    while name in tensors:  # keys 1 and "1" of one dictionary
        name += "'"
    tensors[name] = tensor.detach()
    said: dict[str, Any] = {"$tensor": name, "device": str(tensor.device)}
    if not tensor.is_contiguous():
        said["stride"] = list(torch.empty_like(tensor, device="meta").stride())
    return said


def _numpy(value: Any, name: str, tensors: dict[str, torch.Tensor]) -> Any:
    """A NumPy number as a plain one, an array as a reference to a tensor."""
    if isinstance(value, sys.modules["numpy"].generic):
        return take_apart(value.item(), name, tensors)
    try:
        tensor = torch.from_numpy(value.copy())
    except TypeError:
        raise NotSaveableError(
            f"A checkpoint cannot hold {name}, a NumPy array of {value.dtype}. Let it be one of numbers."
        ) from None
    return {"$array": _tensor(tensor, name, tensors)["$tensor"]}


def _look_up(name: Any, tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
    if name not in tensors:
        raise DamagedCheckpointError(f"A checkpoint lacks the tensor {name!r}. Resume from another one.")
    return tensors[name]


def _build_tensor(value: Any, tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
    saved, device = _look_up(value["$tensor"], tensors), torch.device(value["device"])
    if not usable(device):
        device = torch.device("cpu")
    if "stride" not in value:
        return saved.to(device, copy=True)
    return torch.empty_strided(saved.shape, value["stride"], dtype=saved.dtype, device=device).copy_(saved)


def usable(device: torch.device) -> bool:
    """Whether this machine has that device."""
    if device.type == "cuda":
        return (device.index or 0) < torch.cuda.device_count()
    if device.type == "mps":
        return torch.backends.mps.is_available()
    return device.type == "cpu"


BUILDERS: dict[str, Callable[[Any, Mapping[str, torch.Tensor]], Any]] = {
    "$float": lambda value, tensors: float(value["$float"]),
    "$bytes": lambda value, tensors: base64.b64decode(value["$bytes"]),
    "$tuple": lambda value, tensors: tuple(put_together(item, tensors) for item in value["$tuple"]),
    "$dict": lambda value, tensors: {
        put_together(key, tensors): put_together(item, tensors) for key, item in value["$dict"]
    },
    "$tensor": _build_tensor,
    "$array": lambda value, tensors: _look_up(value["$array"], tensors).numpy().copy(),
}
