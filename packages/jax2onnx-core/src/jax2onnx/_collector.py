"""Python's cyclic garbage collector, which walks the whole heap again and again while an export fills it."""

from __future__ import annotations

import gc
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_ALLOCATIONS = 200_000
"""How many more objects than now may live before the collector looks at the young ones."""

_lock = threading.Lock()
_exports: list[tuple[int, int, int]] = []
"""For each export under way, in whatever thread, the thresholds from before the first."""


@contextmanager
def seldom_collecting() -> Iterator[None]:
    """Let the collector run less often; the thresholds come back when the last export that is under way ends.

    It is never off, and one that the user has switched off stays so. Thresholds that somebody else sets meanwhile stay.
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
