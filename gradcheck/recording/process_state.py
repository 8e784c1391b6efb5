"""What a step may change of the process: random generators, torch's switches, warning filters, the environment."""

from __future__ import annotations

import os
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

Restore = Callable[[], None]
_DEVICE_TYPES = ("cpu", "cuda")


@contextmanager
def process_state_kept() -> Iterator[None]:
    """After the body, also one that raised, the process is as it was before."""
    restores = [keep() for keep in (_environment, _random_states, _switches, _autocast)]
    with warnings.catch_warnings():
        try:
            yield
        finally:
            for restore in restores:
                restore()


def _environment() -> Restore:
    before = dict(os.environ)

    def restore() -> None:
        if dict(os.environ) != before:
            os.environ.clear()
            os.environ.update(before)

    return restore


def _random_states() -> Restore:
    states: list[tuple[Callable[[Any], object], Any]] = [
        (random.setstate, random.getstate()),
        (torch.set_rng_state, torch.get_rng_state()),
    ]
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        states.append((numpy.random.set_state, numpy.random.get_state()))
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states.append((torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all()))
    return lambda: _put(states)


def _switches() -> Restore:
    grad, anomaly = torch.is_grad_enabled(), torch.is_anomaly_enabled()
    check_nan, threads = torch.is_anomaly_check_nan_enabled(), torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    flags = [(holder, name, getattr(holder, name)) for holder, name in _flags()]
    precision, dtype = torch.get_float32_matmul_precision(), torch.get_default_dtype()

    def restore() -> None:
        torch.set_grad_enabled(grad)
        torch.autograd.set_detect_anomaly(anomaly, check_nan)
        torch.set_default_dtype(dtype)
        if torch.get_float32_matmul_precision() != precision:
            torch.set_float32_matmul_precision(precision)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        for holder, name, value in flags:
            if getattr(holder, name) != value:
                setattr(holder, name, value)

    return restore


def _flags() -> list[tuple[Any, str]]:
    """(module, attribute) of the switches of the libraries that torch computes with."""
    cudnn: Any = torch.backends.cudnn
    return [(cudnn, name) for name in ("enabled", "benchmark", "deterministic")]


def _autocast() -> Restore:
    states = [
        (kind, torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind))
        for kind in _DEVICE_TYPES
    ]
    cache = torch.is_autocast_cache_enabled()

    def restore() -> None:
        for kind, enabled, dtype in states:
            if torch.is_autocast_enabled(kind) != enabled:
                torch.set_autocast_enabled(kind, enabled)
            if torch.get_autocast_dtype(kind) != dtype:
                torch.set_autocast_dtype(kind, dtype)
        torch.set_autocast_cache_enabled(cache)

    return restore


def _put(states: list[tuple[Callable[[Any], object], Any]]) -> None:
    for put, state in states:
        put(state)


def seed_everything(seed: int) -> None:
    """Seeds torch, random and numpy (where it is loaded)."""
    random.seed(seed)
    torch.manual_seed(seed)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(seed % 2**32)
