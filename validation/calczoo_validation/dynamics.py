"""Molecular dynamics of many replicas at once: one batched evaluation per step for all that still run.

Each replica has its own temperature, thermostat, barostat, time step and random numbers. One step of length h is

    B  v += h/2 F/m        A  x += h/2 v        O  v = c v + sqrt((1 - c^2) kT/m) R,  c = exp(-gamma h)

in the order B S A O A B (Leimkuhler and Matthews, doi:10.1093/amrx/abs010); without friction it is velocity Verlet.
S moves the cell: eps = ln V follows overdamped dynamics whose stationary density is V^N exp(-(U + P V)/kT),

    d eps = (beta/tau) (N kT/V - tr(sigma_U)/3 - P) dt + sqrt(2 kT beta/(V tau)) dW,

the stochastic cell rescaling of Bernetti and Bussi (doi:10.1063/5.0020514) in the form that leaves velocities alone;
with chosen axes each ln L_a follows the same equation with its own stress component and beta/3. The centre of mass
rests, temperatures count 3 N - 3 degrees of freedom.

A replica that explodes (temperature, volume, a jump, atoms too close, an evaluation that fails) stops with the reason;
the others go on. Units: A, eV, amu, K; times in fs or ps as named; inside, ASE's unit of time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from ase import Atoms
from ase.units import GPa

from .dynamics_state import Replica, State, Trace, closest_pair, default_timestep, thermal_velocities
from .engine import Evaluator
from .strain import scaled

__all__ = [
    "Dynamics", "Replica", "State", "Trace", "closest_pair", "compressibility", "default_timestep",
    "thermal_velocities",
]  # fmt: skip

CHECK_EVERY = 20  # steps between looks for atoms too close
NUMERICAL_STRAIN = 5e-4  # of the virial from energies
NUMERICAL_EVERY = 5  # steps between volume moves when the virial costs evaluations of its own


class Dynamics:
    """Replicas that can be run, changed (`set_temperature`) and run on.

    stress: compute it at every step also without a barostat, for the pressure. A calculator with `repeated()` keeps its
    neighbour lists; one without stress gets the virial of the barostat from energies of scaled cells, now and then.
    """

    def __init__(self, evaluator: Evaluator, replicas: Sequence[Replica], stress: bool = False):
        self.evaluator = evaluator
        self.states = [State(r, k) for k, r in enumerate(replicas)]
        barostat = any(r.pressure is not None for r in replicas)
        if (barostat or stress) and replicas:
            evaluator.evaluate([replicas[0].atoms], ("energy", "forces", "stress"))  # a calculator may refuse stress
        self.numerical = not evaluator.has_stress
        self.properties = ("energy", "forces")
        if (barostat or stress) and not self.numerical:
            self.properties += ("stress",)
        self._sessions = Sessions(evaluator)
        self._started = False
        self.step = 0

    @property
    def alive(self) -> list[State]:
        return [s for s in self.states if s.alive]

    @property
    def traces(self) -> list[Trace]:
        return [s.trace for s in self.states]

    def structures(self) -> list[Atoms]:
        """Copies of all replicas as they are now, unwrapped."""
        return [s.atoms.copy() for s in self.states]

    def velocities(self) -> list[np.ndarray]:
        return [s.v.copy() for s in self.states]

    def set_temperature(self, temperature: float | Sequence[float]) -> None:
        """New target of the thermostats (K), one for all or one each."""
        values = np.broadcast_to(np.asarray(temperature, dtype=float), len(self.states))
        for state, value in zip(self.states, values, strict=True):
            state.temperature = float(value)

    def clear(self) -> None:
        """Forget what was recorded; times go on."""
        for s in self.states:
            old = s.trace
            s.trace = Trace(old.label, old.natoms, alive=old.alive, reason=old.reason, survived=old.survived)

    def run(
        self,
        steps: int,
        every: int = 10,
        frames_every: int = 0,
        observe: Callable[[int, State], None] | None = None,
        on_step: Callable[[int, int], None] | None = None,
    ) -> list[Trace]:
        """`steps` steps of every replica; records each `every` steps and calls observe(step, state) then."""
        self._start(every, frames_every, observe)
        for k in range(1, steps + 1):
            self.step += 1
            for s in self.alive:
                s.kick()
            self._move_cells()
            for s in self.alive:
                s.drift()
            self._evaluate(end=True)
            if self.step % CHECK_EVERY == 0:
                for s in self.alive:
                    s.check_distances()
            for s in self.alive:
                if k % every == 0:
                    s.record()
                    if observe:
                        observe(self.step, s)
                if frames_every and k % frames_every == 0:
                    s.trace.frames.append((s.atoms.cell.array.copy(), s.atoms.positions.copy()))
            if on_step and (k % 20 == 0 or k == steps):
                on_step(k, steps)
            if not self.alive:
                break
        for s in self.alive:
            s.trace.survived = s.time
        return self.traces

    def _start(self, every: int, frames_every: int, observe) -> None:
        """Forces of the start, once; what was recorded then is the first entry of the first run."""
        if self._started:
            return
        self._started = True
        self._evaluate(end=False)
        for s in self.alive:
            s.record()

    def _evaluate(self, end: bool) -> None:
        alive = self.alive
        results = self._sessions.evaluate([s.atoms for s in alive], self.properties)
        for s, result in zip(alive, results, strict=True):
            if end:
                s.receive(result)
            elif isinstance(result, dict):
                s.forces, s.energy, s.stress = result["forces"], result["energy"], result.get("stress")
            else:
                s.stop(f"the evaluation failed: {str(result)[:200]}")

    def _move_cells(self) -> None:
        moving = [s for s in self.alive if s.replica.pressure is not None]
        if not moving:
            return
        if not self.numerical:
            for s in moving:
                s.move_cell(-s.stress[:3], 1)
            return
        if self.step % NUMERICAL_EVERY:
            return
        for s, virial in zip(moving, self._numerical_virials(moving), strict=True):
            if virial is not None:
                s.move_cell(virial, NUMERICAL_EVERY)

    def _numerical_virials(self, moving: list[State]) -> list[np.ndarray | None]:
        """(3,) -dU/d(eps_aa)/V of each, from energies at +- NUMERICAL_STRAIN of the lengths that may move."""
        cells, plan = [], []
        for s in moving:
            ways = [np.ones(3)] if s.replica.axes is None else [np.eye(3)[a] for a in range(3) if s.replica.axes[a]]
            for way in ways:
                plan.append((s, way))
                cells += [_stretched(s.atoms, 1 + sign * NUMERICAL_STRAIN * way) for sign in (1, -1)]
        results = self.evaluator.evaluate(cells, ("energy",), errors="return")
        out = {id(s): np.zeros(3) for s in moving}
        for k, (s, way) in enumerate(plan):
            plus, minus = results[2 * k : 2 * k + 2]
            if not (isinstance(plus, dict) and isinstance(minus, dict)):
                s.stop("the evaluation of a slightly strained cell failed")
                continue
            slope = (plus["energy"] - minus["energy"]) / (2 * NUMERICAL_STRAIN * s.atoms.get_volume())
            out[id(s)] -= slope * way / way.sum()
        return [out[id(s)] if s.alive else None for s in moving]


def _stretched(atoms: Atoms, factors: np.ndarray) -> Atoms:
    out = atoms.copy()
    out.set_cell(atoms.cell.array * factors)
    out.positions = atoms.positions * factors
    return out


class Sessions:
    """Evaluation through the calculator's kept neighbour lists, one list per chunk of atoms, counted as ever."""

    def __init__(self, evaluator: Evaluator):
        self.evaluator = evaluator
        self.repeats = callable(getattr(evaluator.calculator, "repeated", None))
        self._chunks: list[Evaluator] = []

    def evaluate(self, structures: list[Atoms], properties: tuple[str, ...]):
        parent = self.evaluator
        if not self.repeats:
            return parent.evaluate(structures, properties, errors="return")
        out = []
        for k, chunk in enumerate(parent._chunks(structures)):
            while k >= len(self._chunks):
                child = Evaluator(parent.calculator.repeated(), parent.max_atoms, parent.on_structures)
                child.has_stress, child._tried = parent.has_stress, True
                self._chunks.append(child)
            child = self._chunks[k]
            before = child.counts()
            out += child.evaluate(chunk, properties, errors="return")
            after = child.counts()
            for name in after:
                setattr(parent, name, getattr(parent, name) + after[name] - before[name])
        return out


def compressibility(evaluator: Evaluator, atoms: Atoms) -> float:
    """1/GPa from energies at +-1 % of the lengths, bounded to 1e-3 .. 0.2: for the time constant of a barostat."""
    h = 0.01
    e = [r["energy"] for r in evaluator.evaluate([scaled(atoms, 1 + s * h) for s in (-1, 0, 1)], ("energy",))]
    modulus = (e[0] - 2 * e[1] + e[2]) / h**2 / (9 * atoms.get_volume()) / GPa
    return float(np.clip(1 / max(modulus, 1e-9), 1e-3, 0.2))
