"""What holds for every test here: no terminal's width.

pytest imports readline, which tells every process below a terminal of 80 columns, and so the workers of pytest-xdist.
"""

from __future__ import annotations

import os

for name in ("COLUMNS", "LINES"):
    os.environ.pop(name, None)
