"""The examples that have an original run, here with fewer epochs; and the page has their lines of code."""

import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
PAGE = (EXAMPLES.parent / "guides" / "examples.md").read_text(encoding="utf-8")


def run(name: str, line: str, smaller: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names that a program ends with, of which one line is another one."""
    source = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    assert source.count(f"\n{line}\n") == 1
    program = folder / f"{name}.py"
    program.write_text(source.replace(f"\n{line}\n", f"\n{smaller}\n"), encoding="utf-8")
    monkeypatch.chdir(folder)
    return runpy.run_path(str(program))


def test_mnist_learns_in_one_epoch_more_than_chance(tmp_path, monkeypatch):
    names = run("mnist", "EPOCHS = 14", "EPOCHS = 1", tmp_path, monkeypatch)
    assert names["learner"].progress.epochs == 1
    assert list(names["result"]) == ["Loss", "Accuracy"]
    assert names["result"]["Accuracy"] > 0.5


def test_the_autoencoder_logs_its_loss_and_its_pictures(tmp_path, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run("vae", "EPOCHS = 10", "EPOCHS = 9", tmp_path, monkeypatch)  # 12 steps each, and a picture at step 100
    events = EventAccumulator(str(tmp_path / "runs" / "vae"))
    events.Reload()
    losses = [event.value for event in events.Scalars("Epoch/ValidationPhase/Metrics/Loss")]
    assert (len(losses), losses[-1] < losses[0]) == (9, True)
    assert "Step/Visualization" in events.Tags()["images"]


def test_the_two_models_of_the_gan_are_trained_and_saved(tmp_path, monkeypatch):
    names = run("dcgan", "EPOCHS, CODE = 10, 16", "EPOCHS, CODE = 1, 16", tmp_path, monkeypatch)
    learner = names["learner"]
    assert learner.progress.updates == 2 * learner.progress.steps == 2 * 29
    assert sorted(learner.cbstate.tracehistory[names["Adversarial"]()]) == ["discriminator_loss", "generator_loss"]
    fakes = names["models"]["generator"].eval()(torch.randn(3, 16, 1, 1))
    assert fakes.shape == (3, 1, 8, 8)


def test_the_language_model_is_measured_with_the_state_that_is_carried(tmp_path, monkeypatch):
    line = "EPOCHS, WORDS = 6, 30_000"
    names = run("word_language_model", line, "EPOCHS, WORDS = 2, 4_000", tmp_path, monkeypatch)
    learner = names["learner"]
    assert learner.progress.steps == 2 * 6  # 180 words in each column, in windows of 35
    assert names["result"] == learner.evaluate(names["validation"])
    learner.remove_callback(names["CarryState"])
    with pytest.raises(TypeError, match="must be Tensor, not tuple"):
        learner.evaluate(names["validation"])


def test_the_text_classifier_measures_what_it_says(tmp_path, monkeypatch):
    line = "EPOCHS, SENTENCES = 4, 400  # of each"
    names = run("text_classifier", line, "EPOCHS, SENTENCES = 1, 40", tmp_path, monkeypatch)
    assert names["learner"].progress.epochs == 1
    assert names["result"] == names["learner"].evaluate()
    assert 0 <= names["result"]["Accuracy"] <= 1


def test_the_page_shows_each_example_beside_the_lines_of_its_original(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    module = runpy.run_path(str(EXAMPLES / "__main__.py"))
    rows = re.findall(r"^\| `(\w+)\.py`.* \| (.+?) \| (\d+) \| (\d+) \|$", PAGE, re.MULTILINE)
    assert [(name, int(there), int(here)) for name, _, there, here in rows] == [
        (names[0], lines, sum(map(module["lines_of"], names))) for names, (_, lines) in module["EXAMPLES"].items()
    ]
    assert re.findall(r"```{literalinclude} ../examples/(\w+)\.py", PAGE) == [row[0] for row in rows if row[0] != "gpt"]
