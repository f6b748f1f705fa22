"""Environments of isolated families: one folder each, made by uv or by venv and pip from the plug-in's pins.

They lie in the folder that CALCZOO_ENVS names, else in calczoo/envs of the user's data folder. calczoo.json in each
tells what was asked for and what was installed; a folder without it was not finished.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..core.errors import BackendUnavailable, CalczooError, OptionError
from ..family import Family

BASE = ("ase>=3.22", "numpy>=1.24")
"""What the worker process itself needs."""
_RECORD = "calczoo.json"
_VERSIONS = "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"
_TRIAL = (
    "import ase, numpy, sys, importlib.util as u; "
    "sys.exit(next((f'it has no package {{n}}' for n in {} if not u.find_spec(n)), 0))"
)
_TORCH_CPU = "https://download.pytorch.org/whl/cpu"
_INDEXES = ("--index-url", "--extra-index-url", "--find-links", "-i", "-f")
_INDEX_VARIABLES = {
    "UV": ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_TORCH_BACKEND"),
    "PIP": ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"),
}


@dataclass(frozen=True)
class Environment:
    """One environment: its name (that of the family), interpreter, requirements, installed versions, and what made it
    ("uv", "pip", or "given" for an interpreter that was there before)."""

    name: str
    python: str
    requirements: tuple[str, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    made_by: str = ""

    @property
    def usable(self) -> bool:
        return os.access(self.python, os.X_OK)


def envs_folder() -> Path:
    """Where environments are."""
    if own := os.environ.get("CALCZOO_ENVS"):
        return Path(own).expanduser()
    if base := os.environ.get("XDG_DATA_HOME"):
        return Path(base) / "calczoo" / "envs"
    home = Path.home() / ("Library/Application Support" if sys.platform == "darwin" else ".local/share")
    return home / "calczoo" / "envs"


def environments() -> list[Environment]:
    """All finished ones, by name."""
    records = sorted(envs_folder().glob(f"*/{_RECORD}"))
    return [e for e in (find(path.parent.name) for path in records) if e is not None]


def find(name: str) -> Environment | None:
    """The environment of that name, or None where there is none."""
    path = envs_folder() / name / _RECORD
    try:
        data = json.loads(path.read_text())
        return Environment(
            name, data["python"], tuple(data["requirements"]), dict(data["versions"]), data.get("made_by", "")
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise CalczooError(f"{path} is damaged ({error}); remove its folder and make the environment again") from error


def interpreter(family: Family, given: str | None = None) -> str:
    """The Python that runs a family's workers: `given` (an interpreter, or the folder of an environment), or that of
    its own environment. Raises BackendUnavailable with the way out where there is none."""
    if given is not None:
        path = Path(given).expanduser()
        path = path / "bin" / "python" if path.is_dir() else path
        if not os.access(path, os.X_OK):
            raise BackendUnavailable(f"isolated={given!r} is no interpreter and no environment with bin/python")
        return str(path.absolute())
    found = find(family.name)
    if found is None and not family.environment:
        where = ", which may be made for it: isolated=\"/path/to/python\"" if family.worker else ""
        raise OptionError(f"'{family.name}' declares no environment{where or '; it runs in this process'}")
    if found is None:
        raise BackendUnavailable(
            f"'{family.name}' runs in an environment of its own, which is not there; make it once with "
            f"'calczoo env create {family.name}', or give the interpreter of another one: isolated=\"/path/to/python\""
        )
    if not found.usable:
        raise BackendUnavailable(
            f"the environment of '{family.name}' has lost its interpreter {found.python}; make it again with "
            f"'calczoo env create {family.name} --force'"
        )
    return found.python


def create(
    family: Family,
    *,
    python: str | None = None,
    installer: str = "auto",
    torch: str = "auto",
    arguments: Sequence[str] = (),
    force: bool = False,
    progress: Callable[[str], None] = lambda line: None,
) -> Environment:
    """Make a family's environment and install its pinned requirements.

    python: version or interpreter ("3.11"; a version needs uv), default this one's; installer: "uv", "pip" or "auto";
    torch: "cpu" for its build without CUDA, which is gigabytes smaller, "cuda" for that of the package index, "auto"
    for the former where there is no NVIDIA driver; arguments: further ones for the installer, such as --index-url or
    --constraint (PyTorch's own index is asked for the CPU build where they name no index or folder). Raises
    OptionError where there is nothing to make or it exists, CalczooError with the end of the installer's output when
    that fails; then nothing is left.
    """
    if not family.environment:
        raise OptionError(f"'{family.name}' declares no environment; it runs in this process")
    uv = _uv()
    if installer not in ("auto", "uv", "pip") or (installer == "uv" and not uv):
        raise OptionError(f"installer {installer!r} is not there; allowed are auto, pip{', uv' if uv else ''}")
    use_uv = bool(uv) and installer != "pip"
    wanted, index = _torch_build([*family.environment, *BASE], torch, arguments, "UV" if use_uv else "PIP")
    folder = envs_folder() / family.name
    with _alone(family.name):
        if find(family.name) is not None and not force:
            raise OptionError(f"the environment of '{family.name}' is there: {folder}; --force makes it anew")
        _remove(folder)
        own = str(folder / "bin" / "python")
        try:
            if use_uv:
                _run([*uv, "venv", "--python", python or sys.executable, str(folder)], progress)
                _run([*uv, "pip", "install", "--python", own, *index, *arguments, *wanted], progress)
            else:
                base = shutil.which(python) if python else sys.executable
                if base is None:
                    raise OptionError(f"there is no interpreter '{python}'; give its path, or install uv (fetches it)")
                _run([base, "-m", "venv", str(folder)], progress)
                _run([own, "-m", "pip", "install", *index, *arguments, *wanted], progress)
            return _record(family, own, "uv" if use_uv else "pip")
        except BaseException as error:
            _remove(folder)
            if isinstance(error, CalczooError) and any(text.endswith("+cpu") for text in wanted):
                place = f"at {_TORCH_CPU}; without access to that" if index else "where you said; where that has none"
                raise CalczooError(
                    f"{error}\n\ntorch's build without CUDA was looked for {place}, give a folder or index that has it "
                    "(--find-links, --index-url), or take the one with CUDA, which is large: --torch cuda"
                ) from error
            raise


def _torch_build(
    wanted: list[str], torch: str, arguments: Sequence[str], installer: str
) -> tuple[list[str], list[str]]:
    """Requirements, with a pinned torch as the build that is asked for, and the index that has it, unless the user has
    named one, as an argument or in the installer's environment variables.

    The package index's torch for Linux brings CUDA; other systems have the small one there.
    """
    if torch not in ("auto", "cpu", "cuda"):
        raise OptionError(f"torch is {torch!r}; allowed are auto, cpu, cuda")
    small = torch == "cpu" or (torch == "auto" and not os.path.exists("/proc/driver/nvidia/version"))
    pins = [k for k, text in enumerate(wanted) if re.fullmatch(r"torch==[\w.]+", text)]
    if not (small and pins and sys.platform == "linux"):
        return wanted, []
    for k in pins:
        wanted[k] += "+cpu"
    own = any(a.partition("=")[0] in _INDEXES for a in arguments)
    own = own or any(os.environ.get(v) for v in _INDEX_VARIABLES[installer])
    return wanted, [] if own else ["--extra-index-url", _TORCH_CPU]


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """Only one process at a time makes the environment of this name."""
    import fcntl

    envs_folder().mkdir(parents=True, exist_ok=True)
    with open(envs_folder() / f".{name}.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CalczooError(f"another process is making the environment of '{name}'; wait for it to end") from error
        yield


def adopt(family: Family, python: str, force: bool = False) -> Environment:
    """Use an environment that was made by other means for a family."""
    path = interpreter(family, python)
    if find(family.name) is not None and not force:
        raise OptionError(f"the environment of '{family.name}' is there; --force replaces it")
    with _alone(family.name):
        _try(family, path)
        folder = envs_folder() / family.name
        if folder.resolve() not in Path(path).parents and folder.absolute() not in Path(path).parents:
            _remove(folder)  # not the interpreter itself, which may be what an unfinished installation has left
        return _record(family, path, "given")


def remove(name: str) -> Path:
    """Delete an environment, finished or not; OptionError where there is none."""
    folder = envs_folder() / name
    if not name or Path(name).name != name or name in (".", "..") or not folder.is_dir():
        names = ", ".join(e.name for e in environments()) or "none"
        raise OptionError(f"there is no environment '{name}' (there are: {names})")
    _remove(folder)
    return folder


def _record(family: Family, python: str, made_by: str) -> Environment:
    """Try the interpreter, and write down what it has."""
    _try(family, python)
    versions = json.loads(_run([python, "-I", "-c", _VERSIONS], lambda line: None))
    made = Environment(family.name, python, family.environment, dict(sorted(versions.items())), made_by)
    folder = envs_folder() / family.name
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{_RECORD}.part"
    part.write_text(json.dumps(asdict(made), indent=1) + "\n")
    part.replace(folder / _RECORD)
    return made


def _try(family: Family, python: str) -> None:
    """CalczooError for an interpreter without what the worker needs, or without the family's package."""
    try:
        _run([python, "-I", "-c", _TRIAL.format([family.package] if family.package else [])], lambda line: None)
    except CalczooError as error:
        raise CalczooError(f"{python} cannot run '{family.name}': {str(error).splitlines()[-1]}") from error


def _remove(folder: Path) -> None:
    if folder.is_dir():
        shutil.rmtree(folder)


def _uv() -> list[str]:
    """Command of uv, or nothing."""
    if found := shutil.which("uv"):
        return [found]
    return [sys.executable, "-m", "uv"] if importlib.util.find_spec("uv") else []


def _run(command: Sequence[str], progress: Callable[[str], None]) -> str:
    """Output of a command, whose lines go to `progress` as they come."""
    progress("$ " + " ".join(command))
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    env = {k: v for k, v in os.environ.items() if k not in hidden}
    lines: list[str] = []
    try:
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line)
                progress(line.rstrip())
    except OSError as error:
        raise CalczooError(f"{command[0]} cannot be run: {error}") from error
    if process.returncode:
        raise CalczooError(
            f"'{' '.join(command)}' failed with exit code {process.returncode}:\n{''.join(lines[-30:]).strip()}"
        )
    return "".join(lines)
