"""Cutoff functions, cores and angular parts where their formulas have kinks, seams or ends."""

from __future__ import annotations

import math

import pytest
import torch

from calczoo.families.hdnnp.params import CORES
from calczoo.families.hdnnp.symmetry_cores import compact, compact_angle, core, cutoff, power
from data import max_abs
from families.hdnnp_plain import plain_core, plain_cutoff


@pytest.mark.parametrize("middle", [0.0, math.pi])
@pytest.mark.parametrize("name", ["c", "p2", "p3", "p4", "e"])
def test_second_derivatives_of_angles_at_straight_triplets(name, middle):
    """Centred on 0 or 180 degrees the function of the positions is smooth there, and so has to be its derivative."""
    a0 = torch.tensor([[1.3, 0.2, -0.4]], dtype=torch.float64)
    b = a0 * (1.7 if middle == 0 else -0.6)
    direction = torch.tensor([[0.3, -0.5, 0.8]], dtype=torch.float64)

    def value(t):
        a = a0 + t * direction
        return compact_angle(name, a, b, (a * b).sum(dim=1), middle, 2.0)[0]

    def slope(t):
        t = torch.tensor(t, dtype=torch.float64, requires_grad=True)
        return torch.autograd.grad(value(t), t, create_graph=True)[0], t

    first, t = slope(0.0)
    (second,) = torch.autograd.grad(first, t)
    h = 1e-4
    wanted = float((slope(h)[0] - slope(-h)[0]).detach() / (2 * h))
    assert abs(float(value(torch.tensor(0.0, dtype=torch.float64))) - 1.0) < 1e-14
    assert abs(float(first.detach())) < 1e-14 and abs(float(second) - wanted) < 1e-3 * max(abs(wanted), 1.0)
    for x in (1e-9, 1e-6, 0.05, 0.0999, 0.1001):  # and no seam where formulas change
        got = torch.autograd.grad((s := slope(x))[0], s[1])[0]
        near = float((slope(x + 1e-5)[0] - slope(x - 1e-5)[0]).detach() / 2e-5)
        assert abs(float(got) - near) < 1e-3 * max(abs(near), 1.0)


@pytest.mark.parametrize("name", CORES)
def test_second_derivatives_at_the_middle_of_a_compact_function(name):
    middle, half = (torch.tensor([v], dtype=torch.float64) for v in (2.0, 1.5))

    def derivative(x, order):
        x = torch.tensor(x, dtype=torch.float64, requires_grad=True)
        y = compact(name, x, middle, half).sum()
        for _ in range(order):
            (y,) = torch.autograd.grad(y, x, create_graph=True)
        return float(y.detach())

    h = 1e-5
    assert derivative(2.0, 0) == 1.0 and derivative(2.0, 1) == 0.0
    wanted = (derivative(2.0 + h, 1) - derivative(2.0 - h, 1)) / (2 * h)
    assert abs(derivative(2.0, 2) - wanted) < 1e-3 * max(1.0, abs(wanted))


def test_cutoff_functions_at_their_ends():
    r = torch.tensor([1e-3, 2.0, 4.0 - 1e-12, 4.0, 5.0], dtype=torch.float64, requires_grad=True)
    for kind in range(9):
        for alpha in (0.0, 0.5):
            f = cutoff(kind, alpha, r, 4.0)
            assert max_abs(f.detach(), [plain_cutoff(kind, alpha, x, 4.0) for x in r.tolist()]) < 1e-12
            if f.requires_grad:
                (g,) = torch.autograd.grad(f.sum(), r, create_graph=True)
                assert bool(g.isfinite().all()) and not g[3:].any()
                assert bool(torch.autograd.grad(g.sum(), r)[0].isfinite().all())


@pytest.mark.parametrize("name", ["c", "p1", "p2", "p3", "p4", "e"])
def test_cores_equal_the_published_polynomials(name):
    u = torch.linspace(0.0, 1.2, 241, dtype=torch.float64)
    assert max_abs(core(name, u * u, u), [plain_core(name, x) for x in u.tolist()]) < 1e-12


@pytest.mark.parametrize("name", ["p1", "p2", "p3", "p4"])
def test_polynomials_keep_their_digits_near_the_end(name):
    """Their published form cancels there; (1 - u)^(k+1) is what is left of them."""
    gap = torch.tensor([1e-3, 1e-5, 1e-7], dtype=torch.float64)
    k = int(name[1])
    leading = math.comb(2 * k + 1, k) * gap ** (k + 1)  # the sum of the series at u = 1
    assert max_abs(core(name, (1 - gap) ** 2, 1 - gap) / leading, 1.0) < 5e-3


@pytest.mark.parametrize("zeta", [1.0, 2.0, 16.0, 0.5, 1.5, -1.0])
def test_powers_have_finite_derivatives_of_straight_triplets(zeta):
    base = torch.tensor([0.0, -1e-16, 1e-16, 2.0], dtype=torch.float64, requires_grad=True)
    value = power(base, zeta, True)
    (first,) = torch.autograd.grad(value.sum(), base, create_graph=True)
    assert bool(value.isfinite().all()) and bool(first.isfinite().all())
    if first.requires_grad:
        assert bool(torch.autograd.grad(first.sum(), base)[0].isfinite().all())
    assert abs(float(value[3].detach()) - 2.0**zeta) < 1e-11
    assert not power(torch.tensor([-0.5], dtype=torch.float64), 2.0, False).any()
