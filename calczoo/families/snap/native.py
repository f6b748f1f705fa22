"""Source of the SNAP kernel's inner loops, for Warp's native functions: one text for CPU lanes and for CUDA.

A block is L atoms (8 on the CPU, 1 on CUDA). Lanes run over the neighbours of one atom where U is summed and where
forces are made, and over the L atoms of the block where the products z are formed. `lane` is a vector type of L
numbers.

Legend: l atom of the block, d density (one, or one per element), e element of U in chain order, c chain, g group of L
neighbours, k power, t bispectrum component, y entry of the product table. Tables: calczoo.families.snap.adjoint.

Operations per atom with M neighbours, E elements, C chains: M (5 E + 14 C) for U, M (11 E + 22 C) for forces, and for
the products about 2 a term of the contraction plus 4 a product shared between all j.
"""

from __future__ import annotations

MAX_CHAIN = 11
"""Longest chain, and most j per product, at the largest 2J = 20."""

PREAMBLE = """
#ifdef __CUDA_ARCH__
typedef REAL lane;
#define SQRT(v) sqrt(v)
#define ABS(v) ((v) < REAL(0) ? -(v) : (v))
#define PART(v, l) (v)
#else
typedef REAL lane __attribute__((vector_size(LANES * sizeof(REAL)), aligned(sizeof(REAL))));
#define SQRT(v) __builtin_elementwise_sqrt(v)
#define ABS(v) __builtin_elementwise_abs(v)
#define PART(v, l) ((v)[l])
#endif
const int L = LANES;
"""

# Positions of tables and scratch regions in their arrays: one table of offsets, filled by kernels.py from these names.
OFFSETS = (
    "n_atoms", "n_species", "n_densities", "n_elements", "n_chains", "n_full", "n_blocks", "n_entries", "n_components",
    "n_b", "twojmax", "capacity", "quadratic", "inner", "want_g", "want_b", "user_beta", "wself_all",
    "i_chain", "i_block", "i_full", "i_near", "i_coupling", "i_chain_of", "i_ystart", "i_yt", "i_density",
    "r_start", "r_step", "r_sign", "r_gen", "r_cg", "r_yw", "r_norm", "r_param", "r_cut", "r_weight", "r_sin", "r_din",
    "r_const", "r_lin", "r_quad", "r_zero",
    "s_near", "s_power", "s_u", "s_full", "s_y", "s_v", "s_beta", "s_b", "s_entry", "s_total",
)  # fmt: skip


def offsets() -> str:
    """Local constants named as in OFFSETS."""
    return "".join(f"const int {name} = O[{k}];\n" for k, name in enumerate(OFFSETS))


COMMON = """
const int *O = offsets.data;
const int *I = itable.data;
const REAL *T = rtable.data;
"""

LOCALS = """
REAL *S = scratch.data;
const int G = capacity / L;
const REAL rfac0 = T[r_param], rmin0 = T[r_param + 1], switching = T[r_param + 2], tiny = REAL(1e-30);
const int n0 = block * L;
const lane lane_zero = {}; const lane lane_one = lane_zero + REAL(1);
"""


def text(source: str, real: str, lanes: int) -> str:
    """Fill in the number type and the lane count."""
    return source.replace("LANES", str(lanes)).replace("REAL", real)
