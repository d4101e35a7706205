"""What a callback sees of the learner: what it declared, and nothing else."""

from treadle.state.views.learner_view import View, learner_of, view

__all__ = ["View", "learner_of", "view"]
