"""London dispersion after Grimme's D4, by dftd4, made to be added to a potential trained without it."""

from __future__ import annotations

from calczoo.registry import Family, hookimpl

FAMILY = Family(
    name="d4",
    summary="DFT-D4 dispersion correction (charge dependent, BJ damping, three-body) by dftd4",
    kind="addon",
    read="calczoo.addons.d4.load:read",
    build="calczoo.addons.d4.load:build",
    citation="E. Caldeweyher et al., J. Chem. Phys. 150, 154122 (2019)",
    doi="10.1063/1.5090222",
    backends=(),
    options={
        "functional": "whose damping parameters are taken (also the first argument), as in d4(pbe)",
        "atm": "false leaves out the three-body term (default true)",
        "variant": "d4 (default) or d4s",
        "charge": "e, total charge of every structure (default: its own, info['charge'] or the initial charges)",
        "s6, s8, s9, a1, a2, alp": "own parameters of the damping instead of a functional's",
        "disp2, disp3, cn": "A, cutoffs of pairs, triples, coordination numbers (default 60, 40, 30 bohr)",
        "width2, width3": "A, smooth ends of pairs and triples below their cutoffs (default 0: cut)",
        "force": "true adds it to a potential that has dispersion already",
    },
    example="'mtp:Cu + d4(pbe)'",
)


@hookimpl
def calczoo_family(name: str) -> Family | None:
    return FAMILY if name == FAMILY.name else None
