"""What the documentation takes from the code is what docs/generate.py writes now."""

import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(ROOT / "docs")
    import generate


def test_the_pages_are_as_the_generator_writes_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert generate.main("--check") == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    "path", generate.PAGES | dict.fromkeys(("docs/demo.md", "docs/plugins.md", "docs/reference/sanity.md"))
)
def test_a_difference_is_found_and_repaired(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in (*generate.PAGES, *generate.FILLED, generate.DIGITS, "README.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    text = (tmp_path / path).read_text()
    end = "<!-- end of generated -->"
    (tmp_path / path).write_text(text.replace(end, f"stale\n{end}") if end in text else f"{text}stale\n")
    assert generate.main("--check") == 1
    assert f"{path} is not as docs/generate.py writes it." in capsys.readouterr().out
    assert generate.main() == 0
    assert (tmp_path / path).read_text() == text


def test_every_generated_part_is_in_a_page() -> None:
    text = "".join((ROOT / path).read_text() for path in generate.FILLED)
    assert "docs/reference/core.md" in generate.REFERENCE
    assert {name: text.count(f"<!-- generated: {name} -->\n") for name in generate.PARTS} == dict.fromkeys(
        generate.PARTS, 1
    )


def test_every_distribution_is_in_the_catalogue() -> None:
    text = (ROOT / "docs" / "reference" / "callbacks.md").read_text()
    folders = [ROOT / "core", *(file.parent for file in ROOT.glob("plugins/*/pyproject.toml"))]
    missing = [
        folder.name for folder in folders if f"\n## treadle-{folder.name.removeprefix('treadle-')}\n" not in text
    ]
    assert missing == []
