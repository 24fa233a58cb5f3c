"""What ``circuitgraph doctor`` looks at: each check says what is there, and how to get what is not.

The first checks read names and files alone, and are instant; those of the hub and of devices ask
the network and start jax.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

import circuitgraph
from circuitgraph.engine.compile_cache import cache_folder, is_private
from circuitgraph.errors import first_line

Status = Literal["ok", "missing", "problem"]
DISTRIBUTION = "circuitgraph-interp"
HUB_SECONDS = 3.0  # that the hub may take to answer
_EXTRA = re.compile(r"""extra == ['"]([\w-]+)['"]""")
_FOR_DEVELOPERS = {"dev", "docs"}


@dataclass(frozen=True)
class Check:
    """What one check says.

    Attributes:
        status: ``missing`` is something optional that is not there; ``problem`` something needed.
        value: what is there, or what is wrong.
        remedy: the line that brings it; empty where there is nothing to do.
    """

    name: str
    status: Status
    value: str
    remedy: str = ""


def run_checks(ask_hub: bool) -> Iterator[Check]:
    """All checks, one after the other, the instant ones first.

    Args:
        ask_hub: whether to ask the network for the hub.
    """
    yield check_program()
    yield from check_packages(_list_requirements())
    yield check_graphviz()
    yield from check_caches()
    yield check_hub(ask_hub)
    yield check_devices()


def check_program() -> Check:
    """Version and place of circuitgraph, and what runs it."""
    where = Path(circuitgraph.__file__).parent
    python = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    return Check("circuitgraph", "ok", f"{circuitgraph.__version__} in {where}, {python}")


def check_packages(requirements: Iterable[str]) -> list[Check]:
    """One check for all packages that are needed, and one for each extra.

    Args:
        requirements: as in the metadata of a package.
    """
    groups: dict[str, list[str]] = {"": []}
    for requirement in requirements:
        line, _, marker = requirement.partition(";")
        extra = _EXTRA.search(marker)
        groups.setdefault(extra[1] if extra else "", []).append(line.strip())
    needed = _check_group("packages", groups.pop(""), "", "problem")
    return [needed] + [
        _check_group(f"extra {name}", lines, name, "missing")
        for name, lines in sorted(groups.items())
        if name not in _FOR_DEVELOPERS
    ]


def _check_group(name: str, lines: list[str], extra: str, otherwise: Status) -> Check:
    versions = [_read_version(line) for line in lines]
    if wrong := [problem for _, problem in versions if problem]:
        target = f"{DISTRIBUTION}[{extra}]" if extra else DISTRIBUTION
        return Check(name, otherwise, ", ".join(wrong), f"pip install '{target}'")
    return Check(name, "ok", ", ".join(version for version, _ in versions) or "none needed")


def _read_version(line: str) -> tuple[str, str]:
    """Name and version of an installed requirement, and what is wrong with it."""
    from packaging.requirements import Requirement

    requirement = Requirement(line)
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return "", f"{requirement.name} is not installed"
    if not requirement.specifier.contains(version, prereleases=True):
        return "", f"{requirement.name} is {version}, needed is {requirement.specifier}"
    return f"{requirement.name} {version}", ""


def _list_requirements() -> list[str]:
    """What the installed package says it needs; nothing if it runs without being installed."""
    try:
        return metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return []


def check_graphviz() -> Check:
    """The program ``dot``, which draws."""
    remedy = "apt install graphviz, brew install graphviz, or conda install graphviz"
    program = shutil.which("dot")
    if program is None:
        return Check("Graphviz", "missing", "no program dot: pictures are .dot files only", remedy)
    try:
        done = subprocess.run([program, "-V"], capture_output=True, text=True, timeout=10)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check("Graphviz", "missing", f"{program} does not run: {first_line(error)}", remedy)
    return Check("Graphviz", "ok", f"{done.stderr.strip() or done.stdout.strip()} ({program})")


def check_caches() -> list[Check]:
    """Folders of things that can be made or fetched again, and their sizes."""
    from huggingface_hub import constants

    return [
        check_cache("cache of compiled programs", cache_folder(), private=True),
        check_cache("cache of the hub", Path(constants.HF_HUB_CACHE), private=False),
    ]


def check_cache(name: str, folder: Path, *, private: bool) -> Check:
    """One cache: its size; a problem if it cannot be used.

    Args:
        private: whether it counts only where nobody else may write.
    """
    parent = next(place for place in (folder, *folder.parents) if place.exists())
    if not os.access(parent, os.W_OK):
        remedy = "set XDG_CACHE_HOME (or HF_HUB_CACHE) to a folder that you may write"
        return Check(name, "missing", f"{folder} cannot be written: nothing is kept", remedy)
    if not folder.exists():
        return Check(name, "ok", f"{folder}, empty")
    if private and not is_private(folder):
        remedy = f"chmod go-w {folder}, or remove it"
        return Check(name, "missing", f"{folder} may be written by others: not used", remedy)
    return Check(name, "ok", f"{folder}, {format_size(measure_folder(folder))}")


def measure_folder(folder: Path) -> int:
    """Bytes of all files below a folder, links not followed."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(place, name)).st_size
            except OSError:  # gone in between
                continue
    return total


def format_size(n_bytes: int) -> str:
    """``1.4 GB``."""
    size, units = float(n_bytes), ["bytes", "kB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return f"{size:.0f} bytes" if units[0] == "bytes" else f"{size:.1f} {units[0]}"


def check_hub(ask: bool, head: Callable[[str], object] | None = None) -> Check:
    """Whether models can be fetched.

    Args:
        ask: whether to ask the network.
        head: asks an address, and raises where nothing answers; the hub's own client if None.
    """
    from huggingface_hub import constants

    name, shipped = "hub", "shipped and local models need no hub"
    if constants.HF_HUB_OFFLINE:
        remedy = f"unset HF_HUB_OFFLINE; {shipped}"
        return Check(name, "missing", "offline, as HF_HUB_OFFLINE says", remedy)
    if not ask:
        return Check(name, "ok", f"{constants.ENDPOINT}, not asked")
    try:
        (head or _ask_address)(constants.ENDPOINT)
    except Exception as error:  # whatever the client raises, the hub is not there
        remedy = f"check the network, or HF_ENDPOINT; {shipped}"
        return Check(name, "missing", f"{constants.ENDPOINT}: {first_line(error)}", remedy)
    return Check(name, "ok", f"{constants.ENDPOINT} answers")


def _ask_address(address: str) -> object:
    from huggingface_hub.utils import get_session

    return get_session().head(address, timeout=HUB_SECONDS)


def check_devices() -> Check:
    """What jax computes on."""
    remedy = "pip install jax for this machine: https://docs.jax.dev/en/latest/installation.html"
    try:
        import jax

        devices = [f"{device.platform} {device.device_kind}" for device in jax.devices()]
    except Exception as error:  # jax raises what its plugins raise
        return Check("devices", "problem", first_line(error), remedy)
    kinds = [f"{devices.count(kind)} x {kind}" for kind in dict.fromkeys(devices)]
    return Check("devices", "ok", f"{', '.join(kinds)}, {os.cpu_count()} processors")
