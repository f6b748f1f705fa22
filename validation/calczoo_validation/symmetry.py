"""Projection of vectors and tensors on what a crystal's space group allows (spglib)."""

from __future__ import annotations

import numpy as np
import spglib
from ase import Atoms

from .strain import VOIGT


class Symmetry:
    """Space-group operations of one crystal, as Cartesian rotations and permutations of its atoms."""

    def __init__(self, atoms: Atoms, symprec: float = 1e-4):
        cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
        dataset = spglib.get_symmetry_dataset(cell, symprec=symprec)
        if dataset is None:
            self.number, self.symbol, rotations, translations = 1, "P1", np.eye(3, dtype=int)[None], np.zeros((1, 3))
        else:
            self.number, self.symbol = int(dataset.number), str(dataset.international)
            rotations, translations = dataset.rotations, dataset.translations
        lattice = atoms.cell.array.T
        inverse = np.linalg.inv(lattice)
        self.rotations = np.array([lattice @ w @ inverse for w in rotations])
        self.permutations = np.array(
            [_images(atoms, w, t) for w, t in zip(rotations, translations, strict=True)], dtype=int
        )

    def vectors(self, v: np.ndarray) -> np.ndarray:
        """(n, 3) vectors on the atoms (forces), averaged over the group: v'_{g(a)} = <R_g v_a>."""
        out = np.zeros_like(v)
        for rotation, images in zip(self.rotations, self.permutations, strict=True):
            out[images] += v @ rotation.T
        return out / len(self.rotations)

    def tensor(self, t: np.ndarray) -> np.ndarray:
        """(3, 3) tensor averaged over the group: <R t R^T>."""
        return np.einsum("gij,jk,glk->il", self.rotations, t, self.rotations) / len(self.rotations)

    def elastic(self, c: np.ndarray) -> np.ndarray:
        """(6, 6) Voigt stiffness averaged over the group and over C_ij = C_ji."""
        full = np.zeros((3, 3, 3, 3))
        for i, (a, b) in enumerate(VOIGT):
            for j, (d, e) in enumerate(VOIGT):
                value = (c[i, j] + c[j, i]) / 2
                for p in ((a, b), (b, a)):
                    for q in ((d, e), (e, d)):
                        full[(*p, *q)] = value
        distinct = {tuple(np.round(g * np.sign(np.linalg.det(g)), 6).ravel() + 0.0): g for g in self.rotations}
        turns = np.array(list(distinct.values()))  # not the same with other translations, nor times the inversion
        pairs = np.einsum("gai,gbj->gabij", turns, turns).reshape(len(turns), 9, 9)
        mean = (pairs @ full.reshape(9, 9) @ pairs.transpose(0, 2, 1)).mean(axis=0).reshape(3, 3, 3, 3)
        return np.array([[mean[(*p, *q)] for q in VOIGT] for p in VOIGT])

    def distinct_atoms(self) -> list[int]:
        """One atom of each orbit."""
        return sorted({int(min(self.permutations[:, a])) for a in range(self.permutations.shape[1])})


def _images(atoms: Atoms, rotation: np.ndarray, translation: np.ndarray) -> np.ndarray:
    """images[a] = the atom on which the operation puts atom a."""
    scaled = atoms.get_scaled_positions(wrap=False)
    moved = scaled @ rotation.T + translation
    delta = moved[:, None, :] - scaled[None, :, :]
    delta -= np.round(delta)
    distance = np.linalg.norm(delta @ atoms.cell.array, axis=2)
    distance[atoms.numbers[:, None] != atoms.numbers[None, :]] = np.inf
    return distance.argmin(axis=1)
