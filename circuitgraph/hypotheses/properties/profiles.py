"""How hard a hunt tries: ``dev`` while writing, ``ci`` the same each time, ``hunt`` overnight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, Phase, settings

from circuitgraph.errors import unknown_name


@dataclass(frozen=True)
class Profile:
    """Settings of a hunt.

    Attributes:
        examples: lists of cases that are drawn.
        derandomize: draw the same ones each time, whatever was found before.
        climb: seek cases that cost more than those before.
    """

    examples: int
    derandomize: bool = False
    climb: bool = False

    def settings(
        self, max_examples: int | None = None
    ) -> Any:  # beartype cannot take `settings` as an annotation
        """Those of `hypothesis` that are in force (its profile, seed, database, verbosity), with
        this profile's.
        """
        default = settings.default or settings()
        changes: dict[str, Any] = {"max_examples": max_examples or self.examples, "deadline": None}
        if self.derandomize:
            changes |= {"derandomize": True, "database": None}
        quick = HealthCheck.too_slow  # compiling takes seconds
        suppressed = {*default.suppress_health_check, quick}
        phases = [
            phase for phase in default.phases if phase is not Phase.explain
        ]  # a failure is explained by us
        return settings(
            default,
            suppress_health_check=tuple(suppressed),
            phases=phases,
            report_multiple_bugs=False,
            **changes,
        )


PROFILES = {
    "dev": Profile(30),
    "ci": Profile(200, derandomize=True),
    "hunt": Profile(5000, climb=True),
}


def profile_of(name: str) -> Profile:
    """The profile of that name; raises `UnknownNameError`."""
    if name not in PROFILES:
        raise unknown_name("profile", name, PROFILES)
    return PROFILES[name]
