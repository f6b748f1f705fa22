"""The contraction trees of the levels: MLIP's own lists, and what follows from the definition."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from calczoo.core.errors import OptionError
from calczoo.families.mtp.levels import (
    LEVELS,
    MAX_RADIAL,
    Graph,
    _generate,
    canonical,
    generate,
    level_of,
    multi_indices,
    radial_funcs,
    scalar_graphs,
    untrained,
)
from calczoo.families.mtp.params import Moments
from calczoo.families.mtp.text_mtp import read_template
from data import shared

COUNTS = (1, 2, 5, 9, 16, 29, 52, 92, 163, 288, 500, 864, 1464, 2445)


@pytest.mark.parametrize("level", LEVELS)
def test_lists_are_those_of_mlip(level):
    """Same moments, products and basis functions in the same order as the untrained files 02.mtp to 28.mtp."""
    suffix = ".mtp" if level <= 20 else ".mtp.xz"
    template = read_template(shared(f"data/mtp/untrained_mlip2/{level:02d}{suffix}"))
    made = generate(level)
    assert made.count == template.moments.count
    for name in ("basic", "times", "scalars"):
        assert np.array_equal(getattr(made, name), getattr(template.moments, name))
    assert radial_funcs(level) == template.radial_funcs == made.n_radial
    assert level_of(template.moments) == level


@pytest.mark.parametrize("level", LEVELS[:10])
def test_counts(level):
    graphs = scalar_graphs(level)
    assert len(graphs) == COUNTS[LEVELS.index(level)] == len(generate(level).scalars)
    for g in graphs:
        assert 2 * g.size + 4 * sum(g.mu) + sum(g.nu) <= level
        assert all(g.free(i) == 0 for i in range(g.size)) and canonical(g)[0] == g


def moments_of(moments: Moments, vectors: np.ndarray, radial: np.ndarray) -> np.ndarray:
    """Basis functions of neighbours with unit vectors (J, 3) and radial functions (mu, J)."""
    m = np.zeros(moments.count)
    for k, (mu, *powers) in enumerate(moments.basic.tolist()):
        m[k] = (radial[mu] * np.prod(vectors**powers, axis=1)).sum()
    for i, j, mult, k in moments.times.tolist():
        m[k] += mult * m[i] * m[j]
    return m[moments.scalars]


def contracted(graph: Graph, vectors: np.ndarray, radial: np.ndarray) -> float:
    """The same contraction by its definition: sum over neighbours of products of scalar products."""
    dots, total = vectors @ vectors.T, 0.0
    for chosen in itertools.product(range(len(vectors)), repeat=graph.size):
        term = np.prod([radial[mu, j] for mu, j in zip(graph.mu, chosen, strict=True)])
        for a, b in itertools.combinations(range(graph.size), 2):
            term *= dots[chosen[a], chosen[b]] ** graph.edge(a, b)
        total += term
    return total


def test_products_give_the_contractions():
    """Every basis function of level 16 against the sum over neighbours that defines it."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((3, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    radial = rng.standard_normal((4, 3))
    found = moments_of(generate(16), vectors, radial)
    wanted = [contracted(g, vectors, radial) for g in scalar_graphs(16)]
    np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-12)


def test_limits_matter_at_the_top_levels_only():
    assert [level for level in LEVELS[:12] if generate(level, 8).n_radial != radial_funcs(level)] == []
    assert generate(26, 7).n_radial == 7 and len(generate(26, 7).scalars) > COUNTS[12]


def test_the_highest_level_is_made():
    """Its list took minutes where moments were compared one by one."""
    canonical.cache_clear()
    assert level_of(_generate.__wrapped__(28, MAX_RADIAL)) == 28


def test_other_lists_have_no_level():
    m = generate(8)
    assert level_of(Moments(m.basic, m.times, m.count, m.scalars[::-1])) is None
    assert level_of(Moments(m.basic, m.times, m.count, m.scalars[:-2])) is None


@pytest.mark.parametrize("level", [0, 1, 3, 30, -2, True, 8.0, "8", None])
def test_levels_that_do_not_exist(level):
    with pytest.raises(OptionError, match="even levels 2 to 28"):
        generate(level)


def test_multi_indices():
    assert multi_indices(2) == ((2, 0, 0), (1, 1, 0), (1, 0, 1), (0, 2, 0), (0, 1, 1), (0, 0, 2))
    assert [len(multi_indices(k)) for k in range(5)] == [1, 3, 6, 10, 15]


def test_untrained():
    params = untrained(10, ["Ni", "Mo"], 2.0, 5.0)
    assert params.radial.shape == (2, 2, 3, 8) and params.level == 10 and params.scaling == pytest.approx(1 / 9)
    assert not params.weights.any() and not params.species.any()
    rows = params.radial[1, 0]
    np.testing.assert_allclose(rows @ rows.T, np.eye(3), atol=1e-12)
    again, other = untrained(10, "Ni Mo", 2.0, 5.0), untrained(10, "Ni Mo", 2.0, 5.0, seed=1)
    assert np.array_equal(again.radial, params.radial) and not np.array_equal(other.radial, params.radial)
    np.testing.assert_allclose(np.linalg.norm(untrained(22, "Ni", 2, 5, 4).radial, axis=-1), 1)
    for wrong in ({"min_dist": 5.0}, {"max_dist": float("nan")}, {"radial_basis_size": 0}, {"elements": "Xx"}):
        with pytest.raises(OptionError):
            untrained(**{"level": 8, "elements": "Ni", "min_dist": 2.0, "max_dist": 5.0, **wrong})
