"""Source of the MTP kernel, for Warp's native functions: one text for CPU lanes and for CUDA.

A block is L atoms: 8 (16 in single precision) on the CPU, where `lane` is a vector of L numbers, one per atom, and 1 on
CUDA. Each atom has its own list of neighbours, padded with weightless dummies to the longest of the block and to whole
tiles of neighbours. So sums over neighbours and products of moments never cross lanes.

Scratch memory holds M(k), the k-th lane of the block; on CUDA neighbouring threads hold neighbouring numbers.

Operations per atom, with M neighbours, R radial basis functions, K radial functions, B basic moments, P monomials, N
products of inner moments of N' different pairs, and F entries of the form (see `tables`):

    radial functions M R (4 K + 10), moments M (2 B + P), products 3 N, adjoint 2 F + 2 N + 4 N', forces M (4 B + 6 P)
"""

from __future__ import annotations

TILE = 4
"""Neighbours taken at a time where moments are summed and forces are made."""

PREAMBLE = f"""
#ifdef __CUDA_ARCH__
typedef REAL lane;
#define SQRT(v) sqrt(v)
#define PART(v, l) (v)
#define M(k) S[(size_t)(k) * copies]
#define W(k) S[(size_t)(k) * copies]
#define E(k, l) S[(size_t)(k) * copies]
#define NOTE(k, l) slots.data[(size_t)(k) * copies + copy]
#else
typedef REAL lane __attribute__((vector_size(LANES * sizeof(REAL)), aligned(sizeof(REAL))));
#define SQRT(v) __builtin_elementwise_sqrt(v)
#define PART(v, l) ((v)[l])
#define M(k) (*(lane *)(S + (size_t)(k) * L))
#define W(k) (*(lane *)(S + (unsigned)(k)))
#define E(k, l) S[(k) * L + (l)]
#define NOTE(k, l) slots.data[(k) * L + (l)]
#endif
const int L = LANES;
const int TILE = {TILE};
"""
"""M(k): k-th lane; W(k): lane k / L, as tables hold it; E(k, l): atom l of lane k; NOTE(k, l): integer k of atom l."""

# Positions of tables and scratch regions in their arrays: one table of offsets, filled by kernels.py from these names.
OFFSETS = (
    "origin", "n_atoms", "n_species", "n_mu", "n_radial", "n_padded", "n_p", "n_columns", "n_monomials", "n_basic",
    "n_moments", "n_inner", "n_basis", "n_back", "n_form", "kind", "clamped", "repulsive", "want_g", "want_b",
    "want_rows",
    "i_q", "i_t", "i_mu", "i_inner", "i_inner_ij", "i_back", "i_form", "i_form_j", "i_outer", "i_outer_ij", "i_own",
    "r_param", "r_species", "r_radial", "r_mult", "r_back", "r_form", "r_weight", "r_outer",
    "s_x", "s_f", "s_df", "s_t", "s_m", "s_beta", "s_e", "s_push", "s_q", "s_rows",
)  # fmt: skip


def offsets() -> str:
    """Local constants named as in OFFSETS."""
    return "".join(f"const int {name} = O[{k}];\n" for k, name in enumerate(OFFSETS))


LOCALS = """
const int *O = offsets.data;
const int *I = itable.data;
const REAL *T = rtable.data;
#ifdef __CUDA_ARCH__
REAL *S = scratch.data + copy;
#else
REAL *S = scratch.data;
#endif
const lane lane_zero = {};
const lane lane_one = lane_zero + REAL(1);
"""


def phase(body: str) -> str:
    """A whole native function."""
    return PREAMBLE + LOCALS + offsets() + "const int n0 = origin + block * L;\n" + body


def text(source: str, real: str, lanes: int) -> str:
    """Fill in the number type and the lane count."""
    return source.replace("LANES", str(lanes)).replace("REAL", real)
