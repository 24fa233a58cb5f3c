"""How hard a hunt tries: ``dev`` while writing, ``ci`` the same each time, ``hunt`` overnight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, Phase, settings

from circuitgraph.errors import unknown_name


@dataclass(frozen=True)
class HuntProfile:
    """Settings of a hunt.

    Attributes:
        examples: lists of cases that are drawn.
        derandomize: draw the same examples each time, whatever failed before.
        climb: seek cases that cost more than those before.
    """

    examples: int
    derandomize: bool = False
    climb: bool = False

    # The result is Any because beartype cannot take `settings` as an annotation.
    def make_settings(self, max_examples: int | None = None) -> Any:
        """The settings of `hypothesis` in force (seed, database, ...), with this profile's."""
        default = settings.default or settings()
        changes: dict[str, Any] = {"max_examples": max_examples or self.examples, "deadline": None}
        if self.derandomize:
            changes |= {"derandomize": True, "database": None}
        # The first example compiles, which takes seconds.
        suppressed = {*default.suppress_health_check, HealthCheck.too_slow}
        # Failures are explained by `CaseResult`, not by hypothesis.
        phases = [phase for phase in default.phases if phase is not Phase.explain]
        return settings(
            default,
            suppress_health_check=tuple(suppressed),
            phases=phases,
            report_multiple_bugs=False,
            **changes,
        )


PROFILES = {
    "dev": HuntProfile(30),
    "ci": HuntProfile(200, derandomize=True),
    "hunt": HuntProfile(5000, climb=True),
}


def find_profile(name: str) -> HuntProfile:
    """The profile of that name; raises `UnknownNameError`."""
    if name not in PROFILES:
        raise unknown_name("profile", name, PROFILES)
    return PROFILES[name]
