"""Compiled models and compiled training steps, by `torch.compile`, for Treadle."""

from treadle_compile.compile import Compile
from treadle_compile.compiled_step import CompiledStep

__all__ = ["Compile", "CompiledStep"]
