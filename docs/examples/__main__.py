"""Run the examples that have an original, and print a table: `make examples`."""

import subprocess
import sys
import time
from pathlib import Path

from lines import code_lines
from treadle_cli.output import print_table

HERE = Path(__file__).parent

#: Of each example its files, and the original with the lines of code of its files, counted in the same way.
EXAMPLES = {
    ("mnist",): ("pytorch/examples 77f55b9, mnist/main.py", 119),
    ("vae",): ("pytorch/examples 77f55b9, vae/main.py", 106),
    ("dcgan",): ("pytorch/examples 77f55b9, dcgan/main.py", 216),
    ("word_language_model",): ("pytorch/examples 77f55b9, word_language_model/main.py, data.py, model.py", 333),
    ("text_classifier",): ("pbloem/former ad9cc70, experiments/classify.py, without its model", 128),
    ("gpt", "gpt_model"): ("karpathy/nanoGPT 3adf61e, train.py, model.py", 453),
}


def lines_of(name: str) -> int:
    """The lines of code of an example's file."""
    return code_lines((HERE / f"{name}.py").read_text(encoding="utf-8"))


def main() -> None:
    """Run them in turn, each in a process of its own; what they write goes to the folder `runs`."""
    rows = []
    for names, (original, lines) in EXAMPLES.items():
        start = time.perf_counter()
        print(f"\n{names[0]}.py", flush=True)
        subprocess.run([sys.executable, str(HERE / f"{names[0]}.py")], check=True)
        here = sum(map(lines_of, names))
        rows.append((names[0], original, str(lines), str(here), f"{time.perf_counter() - start:.0f}"))
    print_table(("example", "its original", "lines there", "lines here", "seconds"), rows)


if __name__ == "__main__":
    main()
