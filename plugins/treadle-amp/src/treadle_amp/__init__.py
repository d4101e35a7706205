"""Mixed precision, with a gradient scaler where it needs one, for Treadle."""

__all__: list[str] = []
