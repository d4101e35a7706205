"""`GradientClipping`: fastai's clip of the gradients by their norm."""

from __future__ import annotations

from typing import Any, Self

from torch import nn
from treadle import Read, Unresolvable, Write
from treadle.authoring import unwrap

from treadle_fastai.callback import LearnerCallback


class GradientClipping(LearnerCallback):
    """Clip the gradients of each update by their norm, with torch's `clip_grad_norm_`.

    It is fastai's, with a declaration of what it touches. The gradients are whole when it sees them: accumulated and
    unscaled.

    Args:
        learn: The learner, if it is there already; not needed. Default: none.
        clip: The largest norm; 0 clips nothing. Default: 0.

    Reads: `model`. Writes: `step.grads`.

    Example:
        >>> from treadle import toy_learner
        >>> learner = toy_learner(GradientClipping(clip=1.0))
        >>> result = learner.fit(1)
        >>> round(learner.model.weight.item(), 3)  # 16 updates with a learning rate of 0.001
        0.016
    """

    state_access = {"model": Read, "step.grads": Write}
    run_after = ("centralise_gradients",)
    exclude = ("clip",)

    @classmethod
    def example(cls) -> Self:
        return cls(clip=1.0)

    def __init__(self, learn: Any = None, clip: float = 0.0) -> None:
        super().__init__(learn)
        self.clip = clip

    def resolve_conflict(self, other: Any) -> Any:
        """The clip of treadle-optim cannot be there as well: most often it was forgotten that one clips already."""
        if type(unwrap(other)).__name__ == "ClipGradients":
            return Unresolvable(
                "Both clip the gradients. Keep one of them. "
                "To clip in two ways, use ClipGradients twice; ClipGradients(norm=1.0) is GradientClipping(clip=1.0)."
            )
        return super().resolve_conflict(other)

    def on_backward_end(self, **kwargs: Any) -> None:
        """Clip the gradients before the optimizer's step."""
        if self.clip:
            nn.utils.clip_grad_norm_(self.learn.model.parameters(), self.clip)
