"""The engine parsl: the same jobs on workers that Parsl starts, on this machine or through Slurm.

    engine:
      name: parsl
      provider: slurm            # or local
      workers: 8                 # per node
      nodes: 4
      walltime: "04:00:00"
      partition: cpu
      account: materials
      worker_init: "source /home/me/venv/bin/activate"
      retries: 1

The results go into the store of the run's folder, which all nodes must see; a campaign that was cut off goes on from
there with any engine. Parsl: Y. Babuji et al., HPDC 2019, doi:10.1145/3307681.3325400.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from calczoo.core.errors import OptionError
from calczoo.family import close_match

# name -> (default, type); "" means: left to the batch system
SETTINGS: dict[str, tuple[Any, type]] = {
    "provider": ("local", str), "workers": (1, int), "nodes": (1, int), "blocks": (1, int), "retries": (0, int),
    "walltime": ("01:00:00", str), "partition": ("", str), "account": ("", str), "qos": ("", str),
    "worker_init": ("", str), "scheduler_options": ("", str),
}  # fmt: skip


def check(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings with defaults filled in. Errors: OptionError for unknown names, wrong types, unknown providers."""
    for name, value in settings.items():
        if name not in SETTINGS:
            near = close_match(name, list(SETTINGS))
            raise OptionError(f"unknown engine setting {name!r}{near} (has: {', '.join(SETTINGS)})")
        kind = SETTINGS[name][1]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise OptionError(f"engine setting {name} is {value!r}; expected {kind.__name__}")
        if kind is int and value < (0 if name == "retries" else 1):
            raise OptionError(f"engine setting {name} is {value}; it must be at least {0 if name == 'retries' else 1}")
    full = {name: settings.get(name, default) for name, (default, _) in SETTINGS.items()}
    if full["provider"] not in ("local", "slurm"):
        raise OptionError(f"engine provider {full['provider']!r}; allowed: local, slurm")
    return full


def make_config(settings: dict[str, Any], folder: Path) -> Any:
    """The Parsl configuration of these settings; its logs go to FOLDER/parsl."""
    from parsl.config import Config
    from parsl.executors import HighThroughputExecutor
    from parsl.launchers import SrunLauncher
    from parsl.providers import LocalProvider, SlurmProvider

    s = check(settings)
    init = s["worker_init"] or f"export PATH={Path(sys.executable).parent}:$PATH"
    if s["provider"] == "local":
        provider = LocalProvider(init_blocks=1, max_blocks=1, worker_init=init)
        more = {"address": "127.0.0.1"}
    else:
        provider = SlurmProvider(
            partition=s["partition"] or None, account=s["account"] or None, qos=s["qos"] or None,
            nodes_per_block=s["nodes"], init_blocks=s["blocks"], max_blocks=s["blocks"], walltime=s["walltime"],
            scheduler_options=s["scheduler_options"], worker_init=init, launcher=SrunLauncher(), exclusive=True,
        )  # fmt: skip
        more = {}
    executor = HighThroughputExecutor(
        label="calczoo", max_workers_per_node=s["workers"], cores_per_worker=1, provider=provider, encrypted=False,
        interchange_launch_cmd=[str(Path(sys.executable).parent / "interchange.py")], **more,
    )  # fmt: skip
    return Config(
        executors=[executor], retries=s["retries"], run_dir=str(folder / "parsl"), initialize_logging=False,
        strategy="none", exit_mode="cleanup",
    )  # fmt: skip


@contextmanager
def workers(settings: dict[str, Any], folder: Path) -> Iterator[Callable[..., Future]]:
    """Start Parsl; yields submit(job, store_folder) -> Future; stops its workers at the end."""
    import parsl

    from .executors import work

    folder.mkdir(parents=True, exist_ok=True)
    config = make_config(settings, folder.resolve())
    kernel = parsl.load(config)
    try:
        app = parsl.python_app(work, data_flow_kernel=kernel)
        yield app
    finally:
        kernel.cleanup()
        parsl.clear()
