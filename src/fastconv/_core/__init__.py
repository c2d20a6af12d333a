"""The compiled core. Private: only fastconv.ops and fastconv._config import it."""

import os

# GNU's OpenMP reads its settings once, when it is loaded with the first module below. By default its threads spin for
# milliseconds after every call: with another busy process on the machine, training LeNet was 3 to 10 times slower
# than with a short spin, and without one no slower (two cores). This one, of 0.1 ms, bridges the time between the
# calls of a step: with a third of it, calls in a row took 5 % longer. What the user has set stays.
_SPIN = "GOMP_SPINCOUNT"
_ours = _SPIN not in os.environ and "OMP_WAIT_POLICY" not in os.environ
if _ours:
    os.environ[_SPIN] = "3000"
try:
    from . import _runtime  # noqa: F401
finally:
    if _ours:
        del os.environ[_SPIN]
