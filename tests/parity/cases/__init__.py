"""Tiny models of every family: each field that matters is away from its default.

Other models are there for each alternative.

The one named by the model type alone sets every handled field that one configuration can; those
named
"model type: what is special" take the other branches. Windows, original contexts and patterns are
shorter than the
prompts, and the head size is rarely the width over the heads, so that a mix-up shows.
"""

from __future__ import annotations

from typing import Any

from tests.parity.cases import classic, experts, gemma_olmo, llama_like, variants

CASES: dict[str, dict[str, Any]] = {
    **classic.CASES,
    **llama_like.CASES,
    **gemma_olmo.CASES,
    **experts.CASES,
    **variants.CASES,
}
"""Name -> config fields."""

KNOWN_PARTS = frozenset({**variants.CASES, **experts.CASES}) - {"gpt_oss", "qwen2_moe"}
"""Cases of families whose every part another family has: their logits are compared, and what their
files say of fields is tested; the laws of the parts are those of the other families.
"""
