"""London dispersion after Grimme's D3, by s-dftd3, made to be added to a potential trained without it."""

from __future__ import annotations

from calczoo.registry import Family, hookimpl

FAMILY = Family(
    name="d3",
    summary="DFT-D3 dispersion correction (zero, BJ, modified and optimised power damping, three-body) by s-dftd3",
    kind="addon",
    read="calczoo.addons.d3.load:read",
    build="calczoo.addons.d3.load:build",
    citation="S. Grimme, J. Antony, S. Ehrlich, H. Krieg, J. Chem. Phys. 132, 154104 (2010)",
    doi="10.1063/1.3382344",
    backends=(),
    options={
        "functional": "whose damping parameters are taken (also the first argument), as in d3(pbe)",
        "damping": "bj (default), zero, bjm, zerom, op",
        "atm": "true adds the three-body term (default false)",
        "s6, s8, s9, a1, a2, rs6, rs8, alp, bet": "own parameters of the damping instead of a functional's",
        "disp2, disp3, cn": "A, cutoffs of pairs, triples, coordination numbers (default 60, 40, 40 bohr)",
        "width2, width3": "A, smooth ends of pairs and triples below their cutoffs (default 0: cut)",
        "engine": "auto (default), dftd3, or nvalchemi (CUDA, single precision, bj without atm): auto is nvalchemi for "
        "float32 on CUDA where it can",
        "tables": "file of reference C6 for nvalchemi (default: $CALCZOO_D3_TABLES, or the package torch-dftd)",
        "force": "true adds it to a potential that has dispersion already",
    },
    example="'mtp:Cu + d3(pbe)'",
)


@hookimpl
def calczoo_family(name: str) -> Family | None:
    return FAMILY if name == FAMILY.name else None
