"""A float32 model of torch run in float64, one module at a time, so that memory holds it once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def compute_in_float64(model: Any) -> Iterator[None]:
    """Each module's own parameters are float64 while it runs, and float32 again afterwards.

    What a model's code casts to float32 by itself (transformers: most norms, softmax, rotations)
    stays so, as in a model that was loaded in float64.
    """
    import torch

    def widen(module: Any, _inputs: Any) -> None:
        _cast_own_parameters(module, torch.float64)

    def narrow(module: Any, _inputs: Any, _output: Any) -> None:
        _cast_own_parameters(module, torch.float32)  # exactly what it was

    owners = [module for module in model.modules() if list(module.parameters(recurse=False))]
    hooks = [module.register_forward_pre_hook(widen) for module in owners]
    hooks += [module.register_forward_hook(narrow, always_call=True) for module in owners]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _cast_own_parameters(module: Any, dtype: Any) -> None:
    for parameter in module.parameters(recurse=False):
        parameter.data = parameter.data.to(dtype)
