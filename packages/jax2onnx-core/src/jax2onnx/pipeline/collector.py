"""Make Python's cyclic garbage collector run less often during an export, whose objects it would visit repeatedly."""

from __future__ import annotations

import gc
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_ALLOCATIONS = 200_000
"""How many objects may be allocated before the collector examines the young ones."""

_lock = threading.Lock()
_exports: list[tuple[int, int, int]] = []
"""For each export that is running, in any thread: the thresholds before the first of them began."""


@contextmanager
def seldom_collecting() -> Iterator[None]:
    """Make the collector run less often until the last running export ends; then restore the thresholds.

    The collector is never switched off. If the user has switched it off, it stays off. If other code sets thresholds
    during the export, these stay.
    """
    with _lock:
        before = _exports[0] if _exports else gc.get_threshold()
        raised = (max(before[0], _ALLOCATIONS) if before[0] else 0, *before[1:])
        _exports.append(before)
        gc.set_threshold(*raised)
    try:
        yield
    finally:
        with _lock:
            _exports.pop()
            if not _exports and gc.get_threshold() == raised:
                gc.set_threshold(*before)
