"""The model of the job before, so that neighbours that need the same one load it once."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any

from circuitgraph.models import loading
from circuitgraph.models.language_model import LanguageModel


class LastModel(threading.local):
    """The model that this thread loaded last."""

    def __init__(self) -> None:
        self._key: str | None = None
        self._model: LanguageModel | None = None

    def load_model(self, name: str, keywords: Mapping[str, Any]) -> LanguageModel:
        """As `circuitgraph.load_model`; the model that is kept, if it is the same."""
        key = json.dumps([name, dict(keywords)], sort_keys=True, default=str)
        if self._model is None or key != self._key:
            self.forget()  # before the next one takes its memory
            self._model, self._key = loading.load_model(name, **keywords), key
        return self._model

    def forget(self) -> None:
        """Keep no model."""
        self._model, self._key = None, None


LAST_MODEL = LastModel()  # of a process that does job after job
