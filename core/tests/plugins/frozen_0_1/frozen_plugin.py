"""A plugin as its author wrote it for treadle-core 0.1. Never edit it: what it uses is what is promised."""

from treadle import Callback, Phase, Read, RunFirst, TrainingPhase, ValidationPhase, Write, hookimpl


class Frozen(Callback):
    """Handle every event with every argument, and wrap every operation."""

    state_access = {"step": Read, "model": Read, "cbstate.frozen": Write}
    run_after = ("recorder",)

    def __init__(self):
        self.seen = []

    def on_init(self, learner):
        learner.cbstate.frozen = self.seen
        self.seen.append("on_init")

    def on_fit_begin(self, learner):
        learner.cbstate.frozen.append("on_fit_begin")

    def on_epoch_begin(self, learner, phase: Phase):
        learner.cbstate.frozen.append("on_epoch_begin")

    def on_step_begin(self, learner, phase: TrainingPhase | ValidationPhase):
        assert len(learner.step.xs) == len(learner.step.ys)
        self.seen.append("on_step_begin")

    def on_loss_begin(self, learner, phase: Phase):
        assert learner.step.yhats.shape == learner.step.ys.shape
        self.seen.append("on_loss_begin")

    def on_backward_begin(self, learner, phase: TrainingPhase):
        assert learner.step.loss.requires_grad
        self.seen.append("on_backward_begin")

    def on_backward_end(self, learner, phase: TrainingPhase):
        assert "weight" in learner.step.grads
        self.seen.append("on_backward_end")

    def on_update_begin(self, learner, phase: TrainingPhase):
        assert not learner.step.accumulating
        self.seen.append("on_update_begin")

    def on_update_end(self, learner, phase: TrainingPhase):
        assert learner.progress.updates > 0
        self.seen.append("on_update_end")

    def on_step_end(self, learner, phase: Phase):
        self.seen.append("on_step_end")

    def on_epoch_end(self, learner, phase: Phase):
        self.seen.append("on_epoch_end")

    def on_fit_end(self, learner):
        self.seen.append("on_fit_end")

    @hookimpl(wrapper=True)
    def epoch(self, learner, phase, data):
        self.seen.append("epoch")
        return (yield)

    @hookimpl(wrapper=True)
    def step(self, learner, phase, batch):
        self.seen.append("step")
        return (yield)

    @hookimpl(wrapper=True)
    def accumulate(self, learner, phase):
        self.seen.append("accumulate")
        return (yield)

    @hookimpl(wrapper=True)
    def forward(self, learner, phase):
        self.seen.append("forward")
        return (yield)

    @hookimpl(wrapper=True)
    def loss(self, learner, phase):
        self.seen.append("loss")
        return (yield)

    @hookimpl(wrapper=True)
    def backward(self, learner, phase):
        self.seen.append("backward")
        return (yield)

    @hookimpl(wrapper=True)
    def finalize_gradients(self, learner, phase):
        self.seen.append("finalize_gradients")
        return (yield)

    @hookimpl(wrapper=True)
    def update(self, learner, phase):
        self.seen.append("update")
        changed = yield
        self.seen.append(f"update: {changed}")
        return changed


class Doubled(Callback):
    """Change the inputs, and so conflict with the other one."""

    state_access = {"step.xs": Write}

    def on_step_begin(self, learner):
        learner.step.xs = 2 * learner.step.xs


class Shifted(Callback):
    """Change the inputs, and so conflict with the other one."""

    state_access = {"step.xs": Write}

    def on_step_begin(self, learner):
        learner.step.xs = learner.step.xs + 1


@hookimpl
def resolve_conflict(first, second):
    """The inputs are doubled before they are shifted."""
    if (type(first), type(second)) == (Doubled, Shifted):
        return RunFirst(first)
    return None
