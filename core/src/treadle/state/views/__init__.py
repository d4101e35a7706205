"""What a callback sees of the learner: what it declared, and nothing else."""

from treadle.state.views.learner_view import View, view

__all__ = ["View", "view"]
