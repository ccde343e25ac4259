"""``python -m tests.compatibility``: publish the messages that are new."""

from __future__ import annotations

import sys

from tests.compatibility.published import publish_new

for name in publish_new():
    sys.stdout.write(f"{name}\n")
