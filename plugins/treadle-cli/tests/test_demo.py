"""`treadle demo` where something is missing; that it trains is tests/test_demo.py."""

import re
import sys


def test_what_is_missing_is_named_before_anything_is_trained(treadle, monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    for module in ("sklearn", "treadle_metrics"):
        monkeypatch.setitem(sys.modules, module, None)
    done = treadle("demo")
    assert (done.status, done.out, list(tmp_path.iterdir())) == (2, "", [])
    assert re.search(
        r"treadle demo needs .*scikit-learn, treadle-metrics.* as well\.\n"
        r'Fix: install it:\n    pip install "treadle-cli\[demo\]"',
        done.err,
    )
