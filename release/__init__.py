"""A release, up to the upload: `make release`, and `make version` before it."""

import sys
from pathlib import Path

# A release is tried in an environment of its own, as the tests make them.
sys.path.append(str(Path(__file__).parents[1] / "tests"))
