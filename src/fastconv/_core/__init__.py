"""The compiled core. Private: only fastconv.ops and fastconv._config import it."""

import os

# GNU's OpenMP reads its settings once, when it is loaded with the first module below. By default its threads spin for
# up to 10 ms after every call, in the way of others. 0.3 ms are enough: longer than a sleeping thread takes to wake
# (0.1 ms in a virtual machine). With less the threads of a team wait for each other to wake, fall asleep meanwhile and
# must be woken in turn: calls of 0.1 to 1 ms then took up to twice the time. What the user has set stays.
_SPIN = "GOMP_SPINCOUNT"
_ours = _SPIN not in os.environ and "OMP_WAIT_POLICY" not in os.environ
if _ours:
    os.environ[_SPIN] = "10000"
try:
    from . import _runtime  # noqa: F401
finally:
    if _ours:
        del os.environ[_SPIN]
