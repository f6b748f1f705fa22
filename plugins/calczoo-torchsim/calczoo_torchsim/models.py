"""TorchSim's own pair potentials. Standard library only: listing them must stay fast, and worker processes use it."""

from __future__ import annotations

from dataclasses import dataclass

TORCH_SIM = "0.3.0"
"""Version whose interface this is, and whose pair potentials are set right in pair_models.py."""


@dataclass(frozen=True)
class PairPotential:
    """One class of torch_sim.models, with parameters that make it a (rough) model of `elements`.

    The potentials do not look at elements: every pair has the same parameters.
    """

    name: str
    summary: str
    module: str
    kind: str
    elements: tuple[str, ...]
    parameters: dict[str, float]
    formula: str
    source: str = ""


BUNDLED = (
    PairPotential(
        name="lennard-jones",
        summary="Lennard-Jones 12-6, cut off without a shift; argon by default (sigma, epsilon, cutoff)",
        module="torch_sim.models.lennard_jones",
        kind="LennardJonesModel",
        elements=("Ar",),
        parameters={"sigma": 3.405, "epsilon": 0.01032, "cutoff": 12.0},
        formula="4 epsilon ((sigma/r)^12 - (sigma/r)^6)",
        source="argon: A. Rahman, Phys. Rev. 136, A405 (1964), doi 10.1103/PhysRev.136.A405",
    ),
    PairPotential(
        name="morse",
        summary="Morse, cut off without a shift; copper by default (sigma, epsilon, alpha, cutoff)",
        module="torch_sim.models.morse",
        kind="MorseModel",
        elements=("Cu",),
        parameters={"sigma": 2.866, "epsilon": 0.3429, "alpha": 1.3588, "cutoff": 12.0},
        formula="epsilon ((1 - exp(-alpha (r - sigma)))^2 - 1)",
        source="copper: L. A. Girifalco, V. G. Weizer, Phys. Rev. 114, 687 (1959), doi 10.1103/PhysRev.114.687",
    ),
    PairPotential(
        name="soft-sphere",
        summary="soft spheres, repulsive, zero from sigma on; of the size of argon by default (sigma, epsilon, alpha)",
        module="torch_sim.models.soft_sphere",
        kind="SoftSphereModel",
        elements=("Ar",),
        parameters={"sigma": 3.8, "epsilon": 1.0, "alpha": 2.5},
        formula="epsilon/alpha (1 - r/sigma)^alpha for r < sigma",
    ),
)


def find(name: str) -> PairPotential | None:
    """The pair potential of that name, in any case, with "_" as good as "-"."""
    return next((m for m in BUNDLED if m.name == name.lower().replace("_", "-")), None)
