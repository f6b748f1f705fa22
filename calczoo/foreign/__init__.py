"""What plug-ins need to wrap the calculators of other packages.

    from calczoo.foreign import AseModel, Make, Weights, locate

    def build(params, request):                                   # the family's `build`
        make = Make("my_package.worker", params.file, request.device, request.dtype)
        return AseModel(params.card, params.numbers, make, dtype=request.dtype, device=request.device)

`my_package.worker` holds `make(model, device, dtype, **options) -> ASE calculator` and imports nothing of calczoo, so
that the same file serves in this process and in one of its own (calczoo.isolated). A family of this kind has
`backends=()` in its Family record, because its numbers come from one place only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .convert import to_atoms
    from .model import AseModel, Make
    from .settings import Settings, guarded
    from .weights import Weights, locate, sha256_of, weights_folders

_HOMES = {
    "AseModel": "model",
    "Make": "model",
    "Settings": "settings",
    "Weights": "weights",
    "guarded": "settings",
    "locate": "weights",
    "sha256_of": "weights",
    "to_atoms": "convert",
    "weights_folders": "weights",
}

__all__ = [
    "AseModel", "Make", "Settings", "Weights", "guarded", "locate", "sha256_of", "to_atoms", "weights_folders",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import on first use: a plug-in's light module may name its weights without the import of torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
