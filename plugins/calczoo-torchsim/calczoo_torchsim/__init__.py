"""TorchSim and calczoo, both ways: `ZooModel` is any calculator of the zoo as a model of TorchSim, and the family
`torchsim` any model of TorchSim as a calculator of the zoo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from calczoo import Family, hookimpl

from .models import BUNDLED, TORCH_SIM

if TYPE_CHECKING:
    from .model import ZooModel

__all__ = ["FAMILY", "ZooModel"]

FAMILY = Family(
    name="torchsim",
    summary="models of TorchSim: a ModelInterface, one made by 'package.module:factory', or its own pair potentials",
    read="calczoo_torchsim.adapter:read",
    build="calczoo_torchsim.adapter:build",
    citation="TorchSim (torch-sim-atomistic 0.3.0), https://github.com/Radical-AI/torch-sim; and that of the model",
    outputs=("energy", "forces", "stress"),
    backends=(),
    options={
        "sigma": "A, of the pair potentials",
        "epsilon": "eV, of the pair potentials",
        "alpha": "1/A (morse), or exponent (soft-sphere)",
        "cutoff": "A, of the pair potentials",
        "reach": "A, of the neighbour list of a model that does not tell it; needed for slabs and wires only",
        "stress": "false for a model without stress",
        "batch_atoms": "structures of a batch are evaluated together up to this many atoms (default 4096)",
    },
    bundled={m.name: m.summary for m in BUNDLED},
    bundled_elements={m.name: m.elements for m in BUNDLED},
    example="'torchsim:lennard-jones'",
    worker="calczoo_torchsim.worker",
    environment=(f"torch-sim-atomistic=={TORCH_SIM}", "torch==2.13.0", "vesin[torch]==0.6.2"),
    package="torch_sim",
)


@hookimpl
def calczoo_family(name: str) -> Family | None:
    return FAMILY if name == FAMILY.name else None


def __getattr__(name: str) -> Any:
    """Import on first use: the listing of families must not cost the import of torch."""
    if name == "ZooModel":
        from .model import ZooModel

        return ZooModel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
