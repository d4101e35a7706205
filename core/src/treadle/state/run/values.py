"""What a saved state may hold: flattened into plain values and named tensors, and built from these again.

That is: None, bool, int, float, str, bytes, tensors, NumPy arrays and numbers, and lists, tuples and dictionaries of
these. Nothing that has to be built by code of its own, so building a state runs none.
"""

from __future__ import annotations

import base64
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from treadle.errors import DamagedCheckpointError, NotSaveableError
from treadle.state.propdict import named

#: A dictionary with one key that starts with this marker stands for a value that JSON does not have.
MARKER = "$"

#: The types of tensors that can be saved: those of the safetensors format.
DTYPES = {
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.uint16, torch.uint32, torch.uint64, torch.complex64),
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
    *(torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz),
}

#: The types of values that JSON has, whatever they are.
PLAIN = frozenset({type(None), bool, int, str})

Tensors = Mapping[str, torch.Tensor]


def flatten(value: Any, name: str, tensors: dict[str, torch.Tensor]) -> Any:
    """A state as something that JSON can hold; its tensors go into `tensors`.

    Args:
        name: What it is the state of, such as "callbacks/Recorder": the start of the tensors' names, and the place
            that an error names.
        tensors: Gets the tensors, detached and not copied, by their names.

    Raises:
        NotSaveableError: for anything that cannot be saved, with its place.

    Example:
        >>> tensors = {}
        >>> flatten({"best": float("inf"), "mean": torch.ones(2), "at": (1, 2)}, "state", tensors)
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
        return _flatten_tensor(value, name, tensors)
    if type(value).__module__ == "numpy":
        return _flatten_numpy(value, name, tensors)
    if isinstance(value, tuple | list):
        plain = PLAIN.issuperset(map(type, value))  # as the hundreds of numbers of a random generator
        items = [*value] if plain else [flatten(item, f"{name}/{i}", tensors) for i, item in enumerate(value)]
        return {"$tuple": items} if isinstance(value, tuple) else items
    if isinstance(value, dict):
        if all(isinstance(key, str) and not key.startswith(MARKER) for key in value):
            return {key: flatten(item, f"{name}/{key}", tensors) for key, item in value.items()}
        items = [[_flatten_key(key, name), flatten(item, f"{name}/{key}", tensors)] for key, item in value.items()]
        return {"$dict": items}
    raise NotSaveableError(
        f"A checkpoint cannot hold {name}, a {type(value).__qualname__} ({value!r:.60}).\n"
        f"Fix: let the state_dict that it comes from return tensors, numbers, strings, lists and dictionaries"
    )


def unflatten(value: Any, tensors: Tensors, *, copy: bool = True) -> Any:
    """The state that `flatten` flattened. All in it is new: it shares no memory with `tensors`.

    Args:
        copy: Whether it does not; else a tensor that is where it was shares its memory, to be looked at. Default: yes.

    Raises:
        DamagedCheckpointError: if it is nothing that `flatten` returns.

    Example:
        >>> tensors = {}
        >>> unflatten(flatten({1: (2.5, None)}, "state", tensors), tensors)
        {1: (2.5, None)}
    """
    if isinstance(value, list):
        return (
            [*value] if PLAIN.issuperset(map(type, value)) else [unflatten(item, tensors, copy=copy) for item in value]
        )
    if not isinstance(value, dict):
        return value
    marker = next(iter(value), "")
    if not marker.startswith(MARKER):
        return {key: unflatten(item, tensors, copy=copy) for key, item in value.items()}
    if marker not in BUILDERS:
        raise DamagedCheckpointError(
            f"A checkpoint holds a {marker!r}, which is not known.\nFix: if it is of a newer version, upgrade Treadle"
        )
    try:
        return BUILDERS[marker](value, tensors, copy)
    except (TypeError, KeyError, ValueError, RuntimeError) as error:  # whoever wrote it
        if isinstance(error, DamagedCheckpointError):
            raise
        raise DamagedCheckpointError(
            f"A checkpoint holds a {marker!r} of an invalid value ({error}).\nFix: resume from another one"
        ) from error


def refuse_unsaveable(state: Mapping[str, Any]) -> None:
    """Refuse tensors of a type or layout that cannot be saved.

    Args:
        state: Values by name; those that are not tensors are left out.

    Raises:
        NotSaveableError: naming the first of them.

    Example:
        >>> refuse_unsaveable({"waves": torch.zeros(2, dtype=torch.complex128)})
        Traceback (most recent call last):
        treadle.errors.NotSaveableError: A checkpoint cannot hold waves, a tensor of torch.complex128.
        Fix: let the state_dict that it comes from return another type, for example of a complex tensor:
            torch.view_as_real(tensor)
    """
    for name, tensor in named(state).items():
        if not isinstance(tensor, torch.Tensor):
            continue
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
            raise NotSaveableError(
                f"A checkpoint cannot hold {name}, a tensor of layout {tensor.layout} on {tensor.device}.\n"
                f"Fix: let the state_dict that it comes from return dense tensors, such as the indices and values of "
                f"a sparse one"
            )
        if tensor.dtype not in DTYPES:
            raise NotSaveableError(
                f"A checkpoint cannot hold {name}, a tensor of {tensor.dtype}.\n"
                f"Fix: let the state_dict that it comes from return another type, for example of a complex tensor:\n"
                f"    torch.view_as_real(tensor)"
            )


def has_state(value: Any) -> bool:
    """Whether an object has a `state_dict` and a `load_state_dict`.

    Example:
        >>> has_state(torch.nn.Linear(1, 1)), has_state(torch.nn.Linear), has_state([1])
        (True, False, False)
    """
    return not isinstance(value, type) and all(
        callable(getattr(value, name, None)) for name in ("state_dict", "load_state_dict")
    )


def _flatten_key(key: Any, name: str) -> Any:
    """A key of a dictionary, which must be plain and hashable."""
    tensors: dict[str, torch.Tensor] = {}
    if isinstance(key, (tuple, str, int, float, bool, bytes)) or key is None:
        flat = flatten(key, name, tensors)
        if not tensors:
            return flat
    raise NotSaveableError(
        f"A checkpoint cannot hold {name}: its key {key!r} is a {type(key).__qualname__}.\n"
        f"Fix: use strings or numbers as keys"
    )


def _flatten_tensor(tensor: torch.Tensor, name: str, tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
    """A reference to a tensor."""
    refuse_unsaveable({name: tensor})
    while name in tensors:  # keys 1 and "1" of one dictionary
        name += "'"
    tensors[name] = tensor.detach()
    reference: dict[str, Any] = {"$tensor": name, "device": str(tensor.device)}
    if not tensor.is_contiguous():
        reference["stride"] = list(torch.empty_like(tensor, device="meta").stride())
    return reference


def _flatten_numpy(value: Any, name: str, tensors: dict[str, torch.Tensor]) -> Any:
    """A NumPy number as a plain one, an array as a reference to a tensor."""
    numpy = sys.modules["numpy"]
    if isinstance(value, numpy.generic) and not isinstance(value.item(), numpy.generic):  # as a longdouble's is
        return flatten(value.item(), name, tensors)
    try:
        tensor = torch.from_numpy(value.copy())
    except TypeError:
        raise NotSaveableError(
            f"A checkpoint cannot hold {name}, a NumPy array of {value.dtype}.\nFix: use an array of numbers"
        ) from None
    return {"$array": _flatten_tensor(tensor, name, tensors)["$tensor"]}


def _look_up(name: Any, tensors: Tensors) -> torch.Tensor:
    if name not in tensors:
        raise DamagedCheckpointError(f"A checkpoint lacks the tensor {name!r}.\nFix: resume from another one")
    return tensors[name]


def _build_tensor(value: Any, tensors: Tensors, copy: bool) -> torch.Tensor:
    saved, device = _look_up(value["$tensor"], tensors), torch.device(value["device"])
    if not usable(device):
        device = torch.device("cpu")
    if "stride" not in value:
        return saved.to(device, copy=copy)
    stride = value["stride"]
    if not is_dense(saved.shape, stride):
        raise ValueError(f"the stride {stride!r:.60} for the shape {list(saved.shape)}")
    return torch.empty_strided(saved.shape, stride, dtype=saved.dtype, device=device).copy_(saved)


def is_dense(shape: Sequence[int], stride: Any) -> bool:
    """Whether these are the strides of a tensor whose elements lie in memory without a gap and without overlap."""
    if not isinstance(stride, list) or len(stride) != len(shape) or any(type(step) is not int for step in stride):
        return False
    expected = 1
    for step, size in sorted(zip(stride, shape, strict=True)):
        if size > 1 and step != expected:
            return False
        expected *= size
    return 0 in shape or expected == math.prod(shape)


def usable(device: torch.device) -> bool:
    """Whether this machine has that device."""
    if device.type == "cuda":
        return (device.index or 0) < torch.cuda.device_count()
    if device.type == "mps":
        return torch.backends.mps.is_available()
    return device.type == "cpu"


BUILDERS: dict[str, Callable[[Any, Tensors, bool], Any]] = {
    "$float": lambda value, tensors, copy: float(value["$float"]),
    "$bytes": lambda value, tensors, copy: base64.b64decode(value["$bytes"]),
    "$tuple": lambda value, tensors, copy: tuple(unflatten(value["$tuple"], tensors, copy=copy)),
    "$dict": lambda value, tensors, copy: {
        unflatten(key, tensors, copy=copy): unflatten(item, tensors, copy=copy) for key, item in value["$dict"]
    },
    "$tensor": _build_tensor,
    "$array": lambda value, tensors, copy: _look_up(value["$array"], tensors).numpy().copy(),
}
