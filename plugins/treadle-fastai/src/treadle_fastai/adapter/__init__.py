"""What Treadle's events and the learner's state are for a callback that is written for fastai v1."""

from treadle_fastai.adapter.adapter import Adapter

__all__ = ["Adapter"]
