"""Work of the step on other threads, where no function mode is in force: it is begun under one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

from gradcheck.internals.tensors import function_mode_counter
from gradcheck.recording.dataflow import DataFlow
from gradcheck.recording.replacing import replace


@contextmanager
def followed(
    flow: DataFlow, beneath: Callable[[], AbstractContextManager[object]] = nullcontext
) -> Iterator[None]:
    """What a thread of the step begins in the body, in a new thread or in a pool's, is seen by ``flow``.

    Args:
        flow: records it.
        beneath: makes what is to be in force there besides.
    """
    start, submit, num_modes = (
        threading.Thread.start,
        ThreadPoolExecutor.submit,
        function_mode_counter(),
    )

    def under(
        function: Callable[..., Any], done: Callable[[], object] = lambda: None
    ) -> Callable[..., Any]:
        """``function``, run under ``flow``; a worker that is at it already is not put under it twice."""

        def watched(*args: Any, **kwargs: Any) -> Any:
            try:
                if num_modes() > 0 or not flow.grip.held:
                    return function(*args, **kwargs)
                with beneath(), flow.on_another_thread():
                    return function(*args, **kwargs)
            finally:
                done()

        return watched

    def watched_start(thread: threading.Thread) -> None:
        if num_modes() > 0:
            vars(thread)["run"] = under(thread.run, done=lambda: vars(thread).pop("run", None))
        start(thread)

    def watched_submit(pool: Any, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        if num_modes() > 0:
            function = under(function)
        return submit(pool, function, *args, **kwargs)

    with ExitStack() as stack:
        replace(stack, threading.Thread, "start", watched_start)
        replace(stack, ThreadPoolExecutor, "submit", watched_submit)
        yield
