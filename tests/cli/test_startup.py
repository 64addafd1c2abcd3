"""Commands start quickly: what only some of them need is loaded by those only."""

import subprocess
import sys

HEAVY = ("textual", "httpx", "starlette", "hypercorn", "prometheus_client")


def test_the_command_line_loads_nothing_heavy():
    code = f"import sys, poptrio.cli; print([name for name in {HEAVY} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout == "[]\n"
