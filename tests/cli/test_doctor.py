"""``circuitgraph doctor``: what each check says of what is there, missing or wrong."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from circuitgraph.cli import doctor_checks
from circuitgraph.cli.doctor_checks import (
    Check,
    check_cache,
    check_devices,
    check_graphviz,
    check_hub,
    check_packages,
    format_size,
    run_checks,
)
from tests import users
from tests.cli.conftest import Ran


def test_all_is_told_and_nothing_is_a_problem(run: Callable[..., Ran]) -> None:
    ran = run("doctor", "--local-only", "--json")
    checks = {check["name"]: check for check in json.loads(ran.out)}
    assert (ran.code, ran.err) == (0, "")
    assert next(iter(checks)) == "circuitgraph"
    assert [*checks][-1] == "devices", "what starts jax comes last"
    assert {"packages", "Graphviz", "hub", "cache of compiled programs"} <= set(checks)
    assert "jax " in checks["packages"]["value"]
    assert re.fullmatch(r"\d x cpu cpu, \d+ processors", checks["devices"]["value"])
    quiet = run("doctor", "--local-only", "--quiet")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")


def test_a_problem_ends_with_status_1_and_its_remedy(
    run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Check("packages", "problem", "jax is not installed", "pip install it")
    monkeypatch.setattr(doctor_checks, "run_checks", lambda **_: iter([broken]))
    ran = run("doctor")
    assert ran.code == 1
    assert ran.out == "PROBLEM packages: jax is not installed\n        -> pip install it\n"


def test_the_first_checks_load_no_array_library() -> None:
    """They are shown before jax, which takes seconds, is asked for devices."""
    code = (
        "from circuitgraph.cli.doctor_checks import run_checks\n"
        "import sys\n"
        "for check in run_checks(ask_hub=False):\n"
        "    if check.name == 'hub':\n"
        "        print([m for m in ('jax', 'torch') if m in sys.modules])\n"
        "        break"
    )
    assert users.python("-c", code).stdout == "[]\n"


@pytest.mark.parametrize(
    ("requirements", "status", "value"),
    [
        (["pytest>=8"], "ok", r"pytest \d+\S*"),
        (["pytest<8"], "problem", r"pytest is \S+, needed is <8"),
        (["no-such-package>=1", "pytest"], "problem", "no-such-package is not installed"),
    ],
)
def test_packages_are_there_in_a_version_that_will_do(
    requirements: list[str], status: str, value: str
) -> None:
    (check,) = check_packages(requirements)
    assert check.status == status
    assert re.fullmatch(value, check.value)
    assert (check.remedy == "") == (status == "ok")


def test_extras_are_optional_and_named_in_their_remedy() -> None:
    lines = ["pytest; extra == 'good'", "no-such-package; extra == 'bad'", "x; extra == 'dev'"]
    needed, bad, good = check_packages(lines)
    assert (needed.name, needed.status) == ("packages", "ok")
    assert (bad.name, bad.status) == ("extra bad", "missing")
    assert bad.remedy == "pip install 'circuitgraph-interp[bad]'"
    assert (good.name, good.status) == ("extra good", "ok")


def test_graphviz_is_looked_for_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert check_graphviz().status == "missing"
    if sys.platform != "win32":
        program = tmp_path / "dot"
        program.write_text("#!/bin/sh\necho 'dot - graphviz version 9' >&2\n")
        program.chmod(0o755)
        check = check_graphviz()
        assert (check.status, check.value) == ("ok", f"dot - graphviz version 9 ({program})")


def test_caches_say_their_size_or_why_they_are_not_used(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    assert check_cache("c", folder, private=True).value == f"{folder}, empty"
    folder.mkdir(mode=0o700)
    (folder / "inner").mkdir()
    (folder / "inner" / "program").write_bytes(b"x" * 1400)
    assert check_cache("c", folder, private=True).value == f"{folder}, 1.4 kB"
    if os.name == "posix":
        folder.chmod(0o777)
        others = check_cache("c", folder, private=True)
        assert others.status == "missing"
        assert others.remedy.startswith(f"chmod go-w {folder}")


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (2e9, "2.0 GB")]
)
def test_sizes(size: float, text: str) -> None:
    assert format_size(int(size)) == text


def test_the_hub_is_asked_unless_it_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(address: str) -> object:
        raise OSError(f"no way to {address}")

    addresses: list[str] = []
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "offline, as HF_HUB_OFFLINE says" in check_hub(True, fail).value
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert check_hub(True, fail).value.endswith(f"no way to {constants.ENDPOINT}")
    assert check_hub(True, addresses.append).value.endswith("answers")
    assert addresses == [constants.ENDPOINT]
    assert check_hub(False, fail).value.endswith("not asked")


def test_devices_that_cannot_be_started_are_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    import jax

    def fail() -> Any:
        raise RuntimeError("Unable to initialize backend 'tpu'\nand more")

    monkeypatch.setattr(jax, "devices", fail)
    check = check_devices()
    assert (check.status, check.value) == ("problem", "Unable to initialize backend 'tpu'")


def test_checks_come_one_by_one() -> None:
    checks = run_checks(ask_hub=False)
    assert next(checks).name == "circuitgraph"
