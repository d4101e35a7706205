"""Mixed precision, with a gradient scaler where it needs one, for Treadle."""

from treadle_amp.mixed_precision import MixedPrecision

__all__ = ["MixedPrecision"]
