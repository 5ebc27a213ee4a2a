"""The last few things that were made, for those who want the same one again soon."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

Thing = TypeVar("Thing")


class Recent(Generic[Thing]):
    """Keeps the `most` things asked for last; two threads that want the same one make it once."""

    def __init__(self, most: int) -> None:
        self._most, self._lock = most, threading.Lock()
        self._kept: OrderedDict[Hashable, Future[Thing]] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Thing]) -> Thing:
        """The thing of this key; raises what `make` raises, and then keeps nothing."""
        with self._lock:
            found = self._kept.get(key)
            future: Future[Thing] = found if found is not None else Future()
            self._kept[key] = future
            self._kept.move_to_end(key)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        if found is None:
            try:
                future.set_result(make())
            except BaseException as error:
                future.set_exception(error)
                with self._lock:
                    self._kept.pop(key, None)
                raise
        return future.result()

    def clear(self) -> None:
        """Let everything go."""
        with self._lock:
            self._kept.clear()
