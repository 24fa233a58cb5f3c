"""Whether a model is still the one that a circuit was found in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from circuitgraph.errors import ModelError

if TYPE_CHECKING:
    from circuitgraph.catalog.records import ModelRecord
    from circuitgraph.models.language_model import LanguageModel


def check_same_model(record: ModelRecord | None, model: LanguageModel, advice: str) -> None:
    """Refuse a model that has changed since a circuit was found in it.

    Args:
        record: of the model as it was; None where nothing is known of it.
        advice: what to do about it.
    """
    if record is None:
        return
    tokenizer = model.tokenizer.fingerprint if model.tokenizer else None
    hashes = {
        "weights": (model.fingerprint, record.weights_sha256),
        "tokenizer": (tokenizer, record.tokenizer_sha256),
    }
    for each in record.dictionaries:
        now = model.dictionaries.get(each.layer)
        hashes[f"dictionary of m{each.layer}"] = (now and now.fingerprint, each.sha256)
    for part, (current, old) in hashes.items():
        if current != old:
            raise ModelError(
                f"The {part} of {record.name!r} changed since the circuit was found in it "
                f"(SHA-256 {str(current)[:12]}, not {str(old)[:12]}). {advice}"
            )
