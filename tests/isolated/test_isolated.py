"""Calculators in processes of their own: the same numbers, and no way of going wrong that is not an error with a cause.

The interpreter of the tests plays the other environment.
"""

from __future__ import annotations

import copy
import gc
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT

from calczoo import Card
from calczoo.calculator import ZooCalculator
from calczoo.core.errors import (
    BackendUnavailable,
    ForeignError,
    OptionError,
    PluginError,
    PropertyNotImplementedError,
    WorkerError,
)
from calczoo.foreign import Make
from calczoo.isolated.model import IsolatedModel, worker_file
from calczoo.isolated.worker import Block

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX system")
ALL = ("energy", "energies", "forces", "virial", "charges", "dipole", "magmoms")
WORKER = "isolated.zoo_worker"


def model_of(model: str, outputs=ALL, timeout=60.0, python=sys.executable, **options) -> IsolatedModel:
    card = Card(model, "test", ("Cu", "Ni", "H", "C", "O"), 5.0)
    return IsolatedModel(card, None, Make(WORKER, model, "cpu", options=options), python, outputs, timeout=timeout)


def calculator(model: str, **more) -> ZooCalculator:
    return ZooCalculator(model_of(model, **more))


def crystal(seed: int = 1, repeat: int = 2) -> Atoms:
    atoms = bulk("Cu", cubic=True).repeat(repeat)
    atoms.rattle(0.08, seed=seed)
    return atoms


def process_of(calc: ZooCalculator) -> int:
    return calc.model.worker._process.pid


def gone(pid: int, seconds: float = 10.0) -> bool:
    """The process is no more, not even as a zombie."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z" and Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1] != str(os.getpid()):
            return True  # another process's to bury
        time.sleep(0.02)
    return False


def test_the_same_numbers_as_in_this_process():
    calc = calculator("emt", outputs=("energy", "energies", "forces", "stress"))
    batch = [crystal(), molecule("CH4"), Atoms(), crystal(3, 3)]
    for atoms, row in zip(batch, calc.evaluate(batch), strict=True):
        assert ("stress" in row) == bool(atoms.pbc.all())
        if len(atoms):
            atoms.calc = EMT()
            assert row["energy"] == atoms.get_potential_energy()
            assert np.array_equal(row["forces"], atoms.get_forces())
            assert np.array_equal(row["energies"], atoms.get_potential_energies())
            if "stress" in row:
                np.testing.assert_allclose(row["stress"], atoms.get_stress(), rtol=1e-14, atol=1e-17)


def test_every_input_and_output_travels():
    calc = calculator("trivial")
    atoms = molecule("H2O")
    atoms.info["charge"] = -2
    atoms.set_initial_charges([0.5, 0.25, 0.25])
    row = calc.evaluate(atoms, ("charges", "dipole", "magmoms", "energies"))[0]
    assert np.array_equal(row["charges"], [-1.5, -1.75, -1.75]) and np.array_equal(row["dipole"], [0.0, 1.0, 2.0])
    assert np.array_equal(row["magmoms"], [0.5] * 3)
    np.testing.assert_allclose(row["energies"], (atoms.positions**2).sum(axis=1))
    np.testing.assert_allclose(calc.evaluate(crystal())[0]["stress"], np.arange(6.0), rtol=1e-14)


def test_memory_grows_and_results_are_not_the_shared_memory():
    calc = calculator("trivial")
    small = calc.evaluate(crystal())[0]
    kept = small["forces"].copy()
    for repeat in (3, 9, 2):
        atoms = crystal(2, repeat)
        assert np.array_equal(calc.evaluate(atoms)[0]["forces"], -2.0 * atoms.positions)
    assert np.array_equal(small["forces"], kept)
    atoms.calc = calc
    forces = atoms.get_forces()
    atoms.rattle(0.1, seed=9)
    atoms.get_forces()
    assert not np.array_equal(forces, -2.0 * atoms.positions)


def test_batched_evaluation_stays_batched():
    rows = calculator("batched").evaluate([crystal(), crystal(2), crystal(3)], ("charges",))
    assert [r["charges"][0] for r in rows] == [3.0, 3.0, 3.0]


def test_what_the_worker_gets_and_imports(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    model = IsolatedModel(
        Card("o", "t", (), 0.0), None, Make(WORKER, "options", "auto", "float32", {"head": "a", "path": Path("x/y")}),
        sys.executable,
    )  # fmt: skip
    model.threads = 3
    assert model.numbers == (29,) and model.card.elements == ("Cu",)
    facts = model.facts()
    assert facts["options"] == {"head": "a", "path": "x/y"} and facts["dtype"] == "float32"
    assert facts["device"] in ("cpu", "cuda") and facts["threads"] == "3"
    assert not any(m.startswith("calczoo.") for m in facts["modules"])
    with pytest.raises(OptionError, match="cannot be sent"):
        model_of("trivial", net=object()).facts()


@pytest.mark.parametrize(
    "how, message",
    [
        ("die", r"(?s)worker process of die ended with exit code 7; the next call .*it wrote:\nabout to die"),
        ("crash", r"(?s)was ended by signal SIGSEGV.*Segmentation fault.*in calculate"),
        ("raise", r"(?s)RuntimeError: the network has no weights.*there:\nTraceback.*zoo_worker.py"),
        ("shape", r"WrongResult: it returned 'forces' of shape \(1, 3\); expected \(32, 3\)"),
        ("forget", r"did not return 'stress'"),
    ],
)
def test_a_failing_worker_is_an_error_with_its_cause(how, message):
    calc = calculator(how)
    with pytest.raises(WorkerError, match=message) as caught:
        calc.evaluate(crystal())
    assert isinstance(caught.value, ForeignError)
    single = bulk("Cu")
    assert calc.evaluate(single)[0]["energy"] == 0.0, "the next call works, in a new process where needed"


def test_a_hanging_worker_is_an_error_with_the_place():
    calc = calculator("hang", timeout=20.0)
    calc.evaluate(bulk("Cu"))
    pid = process_of(calc)
    calc.model.timeout = 1.0
    start = time.monotonic()
    with pytest.raises(WorkerError, match=r"(?s)has not answered for 1 s.*CALCZOO_WORKER_TIMEOUT.*_sleep_for_ever"):
        calc.evaluate(crystal())
    assert time.monotonic() - start < 15.0 and gone(pid)


def test_a_worker_that_does_not_even_read_is_an_error():
    calc = calculator("trivial")
    calc.evaluate(bulk("Cu"))
    pid = process_of(calc)
    os.kill(pid, signal.SIGSTOP)
    calc.model.timeout = 1.0
    with pytest.raises(WorkerError, match="has not answered for 1 s"):
        calc.evaluate([bulk("Cu")] * 40000, ("energy",))  # a request longer than a pipe holds
    assert gone(pid)
    calc.model.timeout = 60.0
    assert calc.evaluate([bulk("Cu")] * 40000, ("energy",))[-1]["energy"] == 0.0


def test_a_file_that_was_written_anew_is_read_anew(tmp_path):
    path = tmp_path / "a.model"
    path.write_text("first")
    first, second = calculator(str(path)), calculator(str(path))
    assert process_of(first) == process_of(second)
    path.write_text("second version")
    third = calculator(str(path))
    assert process_of(third) != process_of(first)


def test_starts_that_fail(tmp_path, monkeypatch):
    with pytest.raises(WorkerError, match="exit code 3"):
        model_of("exit").facts()
    with pytest.raises(BackendUnavailable, match=r"(?s)a_package_that_is_not_there.*import ase, numpy"):
        model_of("unimportable").facts()
    with pytest.raises(WorkerError, match="cannot be started: .*No such file"):
        model_of("trivial", python=str(tmp_path / "python")).facts()
    monkeypatch.setenv("CALCZOO_WORKER_TIMEOUT", "3")
    with pytest.raises(WorkerError, match="has not answered for 3 s"):
        model_of("slow", timeout=None).facts()
    monkeypatch.setenv("CALCZOO_WORKER_TIMEOUT", "soon")
    with pytest.raises(OptionError, match="'soon'; expected seconds"):
        model_of("trivial", timeout=None)
    with pytest.raises(PluginError, match="no_such_worker has no file"):
        worker_file("no_such_worker")
    with pytest.raises(PropertyNotImplementedError, match="no forces today"):
        calculator("lack").evaluate(crystal())


def test_much_talk_does_not_block():
    assert calculator("chatter").evaluate(crystal())[0]["forces"].shape == (32, 3)


def test_a_killed_worker_is_replaced():
    calc = calculator("trivial")
    calc.evaluate(crystal())
    pid = process_of(calc)
    os.kill(pid, signal.SIGKILL)
    while calc.model._worker._process.poll() is None:
        time.sleep(0.01)
    assert calc.evaluate(crystal())[0]["energy"] == pytest.approx((crystal().positions ** 2).sum())
    assert process_of(calc) != pid and gone(pid)


def test_models_made_alike_share_a_process_and_it_ends_with_the_last():
    first, second, other = calculator("trivial"), calculator("trivial"), calculator("emt", outputs=("energy",))
    copies = [copy.deepcopy(first), pickle.loads(pickle.dumps(first))]
    assert len({process_of(c) for c in (first, second, *copies)}) == 1 and process_of(other) != process_of(first)
    pid = process_of(first)
    first.model.close()
    assert not gone(pid, 0.1)
    with second.model:
        del copies
    gc.collect()
    assert gone(pid)


def test_threads_take_turns():
    calc = calculator("emt", outputs=("energy", "forces"))
    structures = [crystal(k) for k in range(12)]
    with ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(lambda a: calc.evaluate(a, ("energy",))[0]["energy"], structures))
    assert rows == pytest.approx([EMT().get_potential_energy(a) for a in structures], rel=1e-12)


def test_a_forked_child_starts_its_own():
    calc, atoms = calculator("emt", outputs=("energy",)), crystal()
    expected = calc.evaluate(atoms, ("energy",))[0]["energy"]
    child = os.fork()
    if child == 0:
        try:
            mine = calc.evaluate(atoms, ("energy",))[0]["energy"]
            ok = abs(mine - expected) < 1e-10 and calc.model.worker.pid == os.getpid()
            calc.model.close()
            os._exit(0 if ok else 1)
        except BaseException:  # the parent looks at the exit code
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert calc.evaluate(atoms, ("energy",))[0]["energy"] == pytest.approx(expected, rel=1e-12)


@pytest.fixture
def heeds_ctrl_c():
    """Ctrl-C works also where the tests were started in the background, where shells have it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupted_call_leaves_nothing_of_itself_in_the_next(heeds_ctrl_c):
    calc = calculator("nap", timeout=60.0)
    calc.evaluate(bulk("Cu"))
    pid = process_of(calc)
    timer = threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        calc.evaluate(crystal())
    timer.join()
    atoms = crystal(7)
    assert np.array_equal(calc.evaluate(atoms)[0]["forces"], -2.0 * atoms.positions)
    assert process_of(calc) == pid, "a call that was interrupted is waited for, not lost"


SCRIPT = """
    import os, sys, signal, time
    sys.path[:0] = {path!r}
    from isolated.test_isolated import calculator, crystal, process_of
    calc = calculator({how!r})
    from ase.build import bulk
    calc.evaluate(bulk("Cu"))
    print(process_of(calc), flush=True)
    {then}
"""


def run_script(then: str, how: str = "trivial") -> tuple[subprocess.Popen, int]:
    """A program that starts a worker and then does something; with the worker's process id."""
    here = [str(Path(__file__).parents[1]), *sys.path]
    code = textwrap.dedent(SCRIPT.format(path=here, how=how, then=then))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return process, int(process.stdout.readline())


@pytest.mark.parametrize(
    "then, code",
    [("pass", 0), ("sys.exit(4)", 4), ("os._exit(5)", 5), ("os.kill(os.getpid(), 9)", -9), ("1 / 0", 1)],
)
def test_no_worker_outlives_its_program(then, code):
    process, worker = run_script(then)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert gone(worker)
    assert "ResourceWarning" not in err and "leaked" not in err


def test_a_busy_worker_notices_that_its_program_was_killed():
    process, worker = run_script("calc.evaluate(crystal())", "hang")
    time.sleep(0.5)
    process.kill()
    process.communicate(timeout=60)
    assert gone(worker)


def test_ctrl_c_ends_the_program_and_its_worker(heeds_ctrl_c):
    process, worker = run_script("calc.evaluate(crystal())", "hang")
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in err and gone(worker)


def test_nothing_of_the_foreign_code_needs_calczoo(tmp_path):
    """The worker's own file, the driver and the plug-in's module run where calczoo cannot be imported."""
    code = (
        "import sys; sys.modules['calczoo'] = None; import runpy; sys.argv[1:] = []\n"
        f"worker = runpy.run_path({str(Path(Block.__module__.replace('.', '/') + '.py'))!r}, run_name='w')\n"
        "print(sorted(m for m in sys.modules if m.startswith(('torch', 'calczoo.'))))"
    )
    root = Path(sys.modules["calczoo"].__file__).parents[1]
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.strip() == "[]"
