"""Files that the tests share, made by the package's own commands. Without the packages nequip and allegro its
tests are skipped; with CALCZOO_REQUIRE_PLUGINS=1 that is an error."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from ase.build import bulk
from calczoo.testing import skip_without

SCRIPT = """
import sys
from nequip.model.inference_models.torchscript import save_torchscript_model
from calczoo_nequip.worker import make
for family, out in zip(("nequip", "allegro"), sys.argv[1:]):
    sizes = {"elements": ["Cu", "O"], "cutoff": 4.5, "seed": 3, "layers": 1, "l_max": 1, "features": 4}
    calc = make(family, random=sizes)
    with calc.settings.call():
        save_torchscript_model(calc.inner.model, {**calc.inner.model.metadata, "allow_tf32": 0}, out, "cpu")
"""

TRAIN = """
run: [train]
cutoff_radius: 4.0
chemical_symbols: [Cu]
model_type_names: ${chemical_symbols}
data:
  _target_: nequip.data.datamodule.ASEDataModule
  seed: 1
  split_dataset: {file_path: data.xyz, train: 2, val: 2}
  transforms:
    - _target_: nequip.data.transforms.ChemicalSpeciesToAtomTypeMapper
      model_type_names: ${model_type_names}
    - _target_: nequip.data.transforms.NeighborListTransform
      r_max: ${cutoff_radius}
  train_dataloader: {_target_: torch.utils.data.DataLoader, batch_size: 1}
  val_dataloader: {_target_: torch.utils.data.DataLoader, batch_size: 1}
trainer:
  _target_: lightning.Trainer
  accelerator: cpu
  max_epochs: 1
  enable_progress_bar: false
  logger: false
  callbacks: [{_target_: lightning.pytorch.callbacks.ModelCheckpoint, dirpath: ., save_last: true}]
training_module:
  _target_: nequip.train.NequIPLightningModule
  loss: {_target_: nequip.train.EnergyForceLoss}
  val_metrics: {_target_: nequip.train.EnergyForceMetrics}
  optimizer: {_target_: torch.optim.Adam, lr: 0.01}
  model:
    _target_: nequip.model.NequIPGNNModel
    seed: 1
    model_dtype: float64
    type_names: ${model_type_names}
    r_max: ${cutoff_radius}
    num_layers: 1
    l_max: 1
    num_features: 4
    radial_mlp_width: 8
    avg_num_neighbors: 12.0
    per_type_energy_scales: 1.0
    per_type_energy_shifts: 0.0
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    skip_without(items, "nequip", "allegro")


def run(*command: str, cwd: Path) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def tool(name: str) -> str:
    """A command of nequip, beside this interpreter."""
    return str(Path(sys.executable).parent / name)


@pytest.fixture(scope="session")
def scripted(tmp_path_factory) -> dict[str, Path]:
    """TorchScript files of two random networks, made by the package in a process of its own."""
    folder = tmp_path_factory.mktemp("scripted")
    files = {family: folder / f"{family}.nequip.pth" for family in ("nequip", "allegro")}
    run(sys.executable, "-W", "ignore", "-c", SCRIPT, *map(str, files.values()), cwd=folder)
    return files


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    """Folder with last.ckpt of an epoch of training on four structures, and small.nequip.zip made of it."""
    from ase.calculators.emt import EMT
    from ase.io import write

    folder = tmp_path_factory.mktemp("trained")
    frames = []
    for seed in range(4):
        frames.append(bulk("Cu", cubic=True))
        frames[-1].rattle(0.1, seed=seed)
        frames[-1].calc = EMT()
        frames[-1].get_forces()
    write(folder / "data.xyz", frames)
    (folder / "train.yaml").write_text(TRAIN)
    run(tool("nequip-train"), "-cp", str(folder), "-cn", "train.yaml", cwd=folder)
    run(tool("nequip-package"), "build", "last.ckpt", "small.nequip.zip", cwd=folder)
    return folder
