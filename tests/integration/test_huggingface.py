"""A Hugging Face model, built from a configuration, trains in three lines."""

import pytest
import torch
from treadle import Learner
from treadle_metrics import accuracy
from treadle_sanity import SanityCheck

transformers = pytest.importorskip("transformers", reason="transformers, of the extra `dev`, is not installed")


def model():
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.BertConfig(vocab_size=16, max_position_embeddings=8, num_labels=2, **sizes)
    return transformers.BertForSequenceClassification(config)


def batches():
    """Tokens, and whether the first of them is one of the upper half."""
    ids = torch.randint(16, (64, 8), generator=torch.Generator().manual_seed(0))
    return [{"input_ids": part, "labels": (part[:, 0] >= 8).long()} for part in ids.split(16)]


def test_it_trains_evaluates_and_predicts_as_by_hand() -> None:
    data, by_hand = batches(), model()
    optimizer = torch.optim.AdamW(by_hand.parameters(), lr=1e-2)
    torch.manual_seed(1)
    for _ in range(2):
        for batch in data:
            optimizer.zero_grad()
            by_hand(**batch).loss.backward()
            optimizer.step()

    learner = Learner(
        model(),
        None,
        data=(data,),
        optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=1e-2),
        callbacks=[SanityCheck()],
        use_default_callbacks=False,
    )
    torch.manual_seed(1)
    learner.fit(2)

    for name, parameter in by_hand.named_parameters():
        assert torch.equal(parameter, learner.params[name]), name
    by_hand.eval()
    with torch.no_grad():
        outputs = [by_hand(**batch) for batch in data]
    assert learner.evaluate(data)["Loss"] == pytest.approx(
        torch.stack([output.loss for output in outputs]).mean().item()
    )
    predicted = learner.predict([{"input_ids": batch["input_ids"]} for batch in data])
    assert list(predicted) == ["logits"]
    assert torch.equal(predicted["logits"], torch.cat([output.logits for output in outputs]))


def test_a_metric_gets_outputs_and_targets_by_split() -> None:
    learner = Learner(
        model(),
        lambda output, labels: torch.nn.functional.cross_entropy(output.logits, labels),
        split=lambda batch: ({"input_ids": batch["input_ids"]}, batch["labels"]),
        use_default_callbacks=False,
    )

    def logits_accuracy(output, labels):
        return accuracy(output.logits, labels)

    assert list(learner.evaluate(batches(), logits_accuracy)) == ["Loss", "Logits_accuracy"]
