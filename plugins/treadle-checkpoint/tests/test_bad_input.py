"""Bad input: each is a typed error that names the thing and the fix."""

import pytest
import torch
from treadle import TreadleError, toy_learner
from treadle_checkpoint import Checkpointer, best, checkpoints, latest, load_model, resume, save_model, save_run

MODEL = torch.nn.Linear(1, 1)

BAD = {
    "Checkpointer(None)": (lambda: Checkpointer(None), "folder"),
    "save_run(toy_learner(), None)": (lambda: save_run(toy_learner(), None), "path must be a path"),
    "resume(toy_learner(), None)": (lambda: resume(toy_learner(), None), "path must be a path"),
    "save_model(MODEL, None)": (lambda: save_model(MODEL, None), "path must be a path"),
    "load_model(MODEL, None)": (lambda: load_model(MODEL, None), "path must be a path"),
    "best(None)": (lambda: best(None), "folder"),
    "latest(None)": (lambda: latest(None), "folder"),
    "checkpoints(None)": (lambda: checkpoints(None), "folder"),
    "Checkpointer(3)": (lambda: Checkpointer(3), "folder"),
    "save_run(toy_learner(), 3)": (lambda: save_run(toy_learner(), 3), "path must be a path"),
    "resume(toy_learner(), 3)": (lambda: resume(toy_learner(), 3), "path must be a path"),
    "save_model(MODEL, 3)": (lambda: save_model(MODEL, 3), "path must be a path"),
    "load_model(MODEL, 3)": (lambda: load_model(MODEL, 3), "path must be a path"),
    "best(3)": (lambda: best(3), "folder"),
    "latest(3)": (lambda: latest(3), "folder"),
    "checkpoints(3)": (lambda: checkpoints(3), "folder"),
    "Checkpointer([])": (lambda: Checkpointer([]), "folder"),
    "save_run(toy_learner(), [])": (lambda: save_run(toy_learner(), []), "path must be a path"),
    "resume(toy_learner(), [])": (lambda: resume(toy_learner(), []), "path must be a path"),
    "save_model(MODEL, [])": (lambda: save_model(MODEL, []), "path must be a path"),
    "load_model(MODEL, [])": (lambda: load_model(MODEL, []), "path must be a path"),
    "best([])": (lambda: best([]), "folder"),
    "latest([])": (lambda: latest([]), "folder"),
    "checkpoints([])": (lambda: checkpoints([]), "folder"),
    "save_run(None, 'x')": (lambda: save_run(None, "x"), "learner must be an instance of Learner"),
    "resume(None, 'x')": (lambda: resume(None, "x"), "learner must be an instance of Learner"),
    "save_run(3, 'x')": (lambda: save_run(3, "x"), "learner must be an instance of Learner"),
    "resume(3, 'x')": (lambda: resume(3, "x"), "learner must be an instance of Learner"),
    "save_run(MODEL, 'x')": (lambda: save_run(MODEL, "x"), "learner must be an instance of Learner"),
    "resume(MODEL, 'x')": (lambda: resume(MODEL, "x"), "learner must be an instance of Learner"),
    "Checkpointer('x', keep_top_k=-1)": (lambda: Checkpointer("x", keep_top_k=-1), "keep_top_k"),
    "Checkpointer('x', every_epochs=-1)": (lambda: Checkpointer("x", every_epochs=-1), "every_epochs"),
    "Checkpointer('x', every_steps=-1)": (lambda: Checkpointer("x", every_steps=-1), "every_steps"),
    "Checkpointer('x', keep_top_k=1.5)": (lambda: Checkpointer("x", keep_top_k=1.5), "keep_top_k"),
    "Checkpointer('x', every_epochs=1.5)": (lambda: Checkpointer("x", every_epochs=1.5), "every_epochs"),
    "Checkpointer('x', every_steps=1.5)": (lambda: Checkpointer("x", every_steps=1.5), "every_steps"),
    "Checkpointer('x', keep_top_k='x')": (lambda: Checkpointer("x", keep_top_k="x"), "keep_top_k"),
    "Checkpointer('x', every_epochs='x')": (lambda: Checkpointer("x", every_epochs="x"), "every_epochs"),
    "Checkpointer('x', every_steps='x')": (lambda: Checkpointer("x", every_steps="x"), "every_steps"),
    "Checkpointer('x', keep_top_k=True)": (lambda: Checkpointer("x", keep_top_k=True), "keep_top_k"),
    "Checkpointer('x', every_epochs=True)": (lambda: Checkpointer("x", every_epochs=True), "every_epochs"),
    "Checkpointer('x', every_steps=True)": (lambda: Checkpointer("x", every_steps=True), "every_steps"),
    "Checkpointer('x', every_minutes=-1)": (lambda: Checkpointer("x", every_minutes=-1), "every_minutes"),
    "Checkpointer('x', every_minutes='x')": (lambda: Checkpointer("x", every_minutes="x"), "every_minutes"),
    "Checkpointer('x', metric=None)": (lambda: Checkpointer("x", metric=None), "Checkpointer\\(metric\\) must be"),
    "Checkpointer('x', metric=3)": (lambda: Checkpointer("x", metric=3), "Checkpointer\\(metric\\) must be"),
    "Checkpointer('x', metric=[])": (lambda: Checkpointer("x", metric=[]), "Checkpointer\\(metric\\) must be"),
    "Checkpointer('x', phase=3)": (lambda: Checkpointer("x", phase=3), "phase"),
    "Checkpointer('x', during=3)": (lambda: Checkpointer("x", during=3), "during"),
    "Checkpointer('x', phase='ValidationPhase')": (lambda: Checkpointer("x", phase="ValidationPhase"), "phase"),
    "Checkpointer('x', during='ValidationPhase')": (lambda: Checkpointer("x", during="ValidationPhase"), "during"),
    "Checkpointer('x', mode=None)": (lambda: Checkpointer("x", mode=None), "mode"),
    "Checkpointer('x', mode=3)": (lambda: Checkpointer("x", mode=3), "mode"),
    "Checkpointer('x', mode='most')": (lambda: Checkpointer("x", mode="most"), "mode"),
    "Checkpointer('x', clock=3)": (lambda: Checkpointer("x", clock=3), "Checkpointer\\(clock\\)"),
    "Checkpointer('x', clock=None)": (lambda: Checkpointer("x", clock=None), "Checkpointer\\(clock\\)"),
    "Checkpointer('x', clock=lambda a: 0)": (lambda: Checkpointer("x", clock=lambda a: 0), "Checkpointer\\(clock\\)"),
    "save_model(MODEL, '.')": (lambda: save_model(MODEL, "."), "is a folder"),
    "save_model(MODEL, '')": (lambda: save_model(MODEL, ""), "is a folder"),
}


@pytest.mark.parametrize(("make", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_a_typed_error_that_names_the_thing_and_the_fix(make, message):
    with pytest.raises(TreadleError, match=message) as caught:
        make()
    assert "Fix: " in str(caught.value)
