"""All cases: model type, or "model type: what is special" -> config fields away from their defaults."""

from __future__ import annotations

from typing import Any

from tests.parity import cases_a, cases_b, cases_base, cases_c

CASES: dict[str, dict[str, Any]] = {**cases_base.CASES, **cases_a.CASES, **cases_b.CASES, **cases_c.CASES}
