"""LAMMPS' frame of a cell: its lattice, reduced and turned."""

from __future__ import annotations

import numpy as np
import pytest

from calczoo_lammps.frame import frame_of


def test_frames():
    """Lower triangular, right-handed, a proper rotation, the same lattice, positions of the same structure."""
    rng = np.random.default_rng(0)
    for pbc in np.ndindex(2, 2, 2):
        cell = rng.normal(size=(3, 3)) * 5.0
        frame = frame_of(cell, [bool(p) for p in pbc])
        box, q = frame.box, frame.rotation
        assert box[0, 1] == box[0, 2] == box[1, 2] == 0.0 and (np.diag(box) > 0.0).all()
        np.testing.assert_allclose(q @ q.T, np.eye(3), atol=1e-14)
        assert np.linalg.det(q) == pytest.approx(1.0)
        periodic = np.flatnonzero(pbc)
        if len(periodic) == 3:
            whole = box @ q.T @ np.linalg.inv(cell)
            np.testing.assert_allclose(whole, np.round(whole), atol=1e-9)
            assert abs(np.linalg.det(whole)) == pytest.approx(1.0)
        free = [k for k in range(3) if not pbc[k]]
        for k in free:
            np.testing.assert_allclose(np.delete(box @ q.T, k, 0) @ (box @ q.T)[k], 0.0, atol=1e-12)
        x = rng.normal(size=(7, 3)) * 20.0
        back = frame.inside(x) @ q.T - x
        if len(free) == 3:
            np.testing.assert_allclose(back, 0.0, atol=1e-12)
        vector = rng.normal(size=(2, 3))
        np.testing.assert_allclose(frame.vectors_back(vector @ q), vector, atol=1e-13)
