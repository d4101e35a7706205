"""Accumulation, clipping, averaging and other changes of an update, for Treadle."""

__all__: list[str] = []
