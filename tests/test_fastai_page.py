"""docs/fastai.md has every name that fastai v1 documents for authors of callbacks, and an example of what it offers."""

import re
from pathlib import Path

import pytest
import treadle_fastai

PAGE = (Path(__file__).parents[1] / "docs" / "fastai.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `?(.+?)`? \|", PAGE, re.MULTILINE)
CODE = "\n".join(re.findall(r"^```(?:python|pycon)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))

# What fastai's page "Implementation of the callback system" lists.
CLASSES = re.findall(
    r"\w+",
    """
Callback CallbackHandler OptimWrapper SmoothenValue Stepper AverageMetric GradientClipping LearnerCallback LRFinder
annealing_cos annealing_exp annealing_linear annealing_no annealing_poly OneCycleScheduler
""",
)
HANDLERS = re.findall(
    r"\w+",
    """
on_train_begin on_epoch_begin on_batch_begin on_loss_begin on_backward_begin on_backward_end on_step_end on_batch_end
on_epoch_end on_train_end
""",
)
KEYWORDS = re.findall(
    r"\w+",
    """
n_epochs epoch iteration num_batch last_input last_target last_output last_loss smooth_loss last_metrics pbar train
""",
)


@pytest.mark.parametrize("name", CLASSES)
def test_a_name_of_fastai_has_a_row_and_is_there(name) -> None:
    assert name in ROWS
    assert hasattr(treadle_fastai, name)


@pytest.mark.parametrize("name", treadle_fastai.__all__)
def test_what_is_offered_is_on_the_page(name) -> None:
    assert name in PAGE or name in ("AnnealFunc", "lr_range")


@pytest.mark.parametrize("name", HANDLERS)
def test_a_handler_has_its_rows(name) -> None:
    assert ROWS.count(name) == 2 - (name in ("on_epoch_begin", "on_train_end"))  # these may return nothing


def test_every_keyword_has_a_row() -> None:
    listed = PAGE.partition("## What it is passed")[2].partition("```")[0]
    assert all(f"`{name}`" in listed for name in KEYWORDS)


def test_the_example_of_fastai_is_there_unchanged() -> None:
    source = """
class GradientClipping(LearnerCallback):
    def on_backward_end(self, **kwargs):
        if self.clip:
            nn.utils.clip_grad_norm_(self.learn.model.parameters(), self.clip)
"""
    assert source in CODE
