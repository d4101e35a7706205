"""What the code of a function uses: which keywords it looks up, which names; read from its byte code."""

from __future__ import annotations

import dis
import inspect
from collections.abc import Callable, Collection, Iterator
from types import CodeType
from typing import Any

#: The instructions that get, or set, an attribute of what was loaded before.
OF_AN_ATTRIBUTE = ("LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR", "STORE_ATTR", "DELETE_ATTR")


def codes_of(function: Any) -> Iterator[CodeType]:
    """The code of a function, and of all that are defined in it; nothing, of what is not written in Python."""
    if not isinstance(function, CodeType):
        function = inspect.unwrap(function)
        function = getattr(getattr(function, "__func__", function), "__code__", None)
    waiting = [function] if isinstance(function, CodeType) else []
    while waiting:
        code = waiting.pop()
        yield code
        waiting += [constant for constant in code.co_consts if isinstance(constant, CodeType)]


def names_constant(function: Any, name: str) -> bool:
    """Whether a constant stands in a function, or in one that is defined in it.

    Example:
        >>> names_constant(lambda: {"skip_validate": True}, "skip_validate")
        True
    """
    return any(
        constant == name or (isinstance(constant, tuple | frozenset) and name in constant)
        for code in codes_of(function)
        for constant in code.co_consts
    )


def used_keywords(function: Callable[..., Any], known: Collection[str]) -> set[str]:
    """Those keywords that a function takes by their names, or looks up in its `**kwargs`.

    Args:
        known: All that may be passed; where the code does not show which are used, all of them are.

    Example:
        >>> def handler(train, **kwargs):
        ...     return train and kwargs["epoch"] + kwargs.get("iteration", 0)
        >>> sorted(used_keywords(handler, ["train", "epoch", "iteration", "num_batch"]))
        ['epoch', 'iteration', 'train']
    """
    parameters = inspect.signature(function).parameters.values()
    rest = [parameter.name for parameter in parameters if parameter.kind is parameter.VAR_KEYWORD]
    named = {parameter.name for parameter in parameters if parameter.name not in rest}
    if not rest:
        return named.intersection(known)
    codes = list(codes_of(function))
    found = looked_up(codes[0], rest[0]) if codes else None
    return set(known) if found is None else (named | found).intersection(known)


def looked_up(code: CodeType, mapping: str) -> set[str] | None:
    """The keys that are looked up in a local mapping; None if it is used in another way as well."""
    if mapping in code.co_cellvars:
        return None
    found: set[str] = set()
    instructions = list(dis.get_instructions(code))
    for i, instruction in enumerate(instructions):
        if mapping not in loaded_by(instruction):
            continue
        after = [*instructions[i + 1 : i + 3], instruction, instruction]
        key = after[1] if after[0].opname in OF_AN_ATTRIBUTE and after[0].argval == "get" else after[0]
        if instruction.argval != mapping or key.opname != "LOAD_CONST" or not isinstance(key.argval, str):
            return None
        found.add(key.argval)
    return found


def loaded_by(instruction: dis.Instruction) -> tuple[Any, ...]:
    """The local variables that an instruction loads: one, or, in later versions of Python, two."""
    if not instruction.opname.startswith(("LOAD_FAST", "LOAD_DEREF")):
        return ()
    return instruction.argval if isinstance(instruction.argval, tuple) else (instruction.argval,)


def passes_on(code: CodeType, name: str) -> bool:
    """Whether an object of this name, a variable or an attribute, is used otherwise than for its attributes.

    To be passed to `__init__` of a parent class does not count.

    Example:
        >>> passes_on((lambda self: self.learn.model).__code__, "learn")
        False
        >>> passes_on((lambda self: print(self.learn)).__code__, "learn")
        True
    """
    instructions = [i for i in dis.get_instructions(code) if i.opname not in ("COPY", "EXTENDED_ARG")]
    for before, instruction, after in zip(
        [instructions[0], *instructions], instructions, [*instructions[1:], instructions[0]], strict=False
    ):
        loads = loaded_by(instruction) or ((instruction.argval,) if instruction.opname in OF_AN_ATTRIBUTE[:3] else ())
        if not loads or loads[-1] != name or name in loads[:-1]:
            if name in loads:
                return True
            continue
        if after.opname not in OF_AN_ATTRIBUTE and before.argval != "__init__":
            return True
    return False
