"""A user's own task: a JSONL file of pairs, no code written."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from circuitgraph.errors import DataError, check_at_least, list_problems
from circuitgraph.tasks.base import SPLITS, Pair, Split, Task, TokenizerLike, problems_of


class _Line(BaseModel):
    """One line of the file."""

    model_config = ConfigDict(extra="forbid", strict=True)
    clean: str
    corrupted: str
    answer: str
    distractor: str | None = None


class PairsTask(Task):
    """The pairs of a file, split in halves; pairs of one clean prompt stay together.

    The halves depend on the prompts only. The seed decides the order in which they are handed out, so that no
    seed ever judges a circuit on prompts that it was searched with.
    """

    def __init__(self, path: str | Path, tokenizer: TokenizerLike, n_ctx: int, seed: int = 0) -> None:
        """Read and check the whole file.

        Raises:
            DataError: listing every unusable line by its number.
        """
        self.path = Path(path)
        self.name, self.metric, self.seed, self.tokenizer = (
            self.path.stem,
            "logit_difference",
            seed,
            tokenizer,
        )
        check_at_least("seed", seed, 0)
        content = _read(self.path)
        self._pairs = _parse(self.path, content, tokenizer, n_ctx)
        if self._pairs[0].distractor is None:
            self.metric = "log_probability"
        self.arguments = {"data": str(self.path), "sha256": _digest(content).hex()}

    def supply(self, split: Split) -> int | None:
        return len(self.available(split))

    def pairs(self, n: int, split: Split) -> list[Pair]:
        available = self.available(split)
        if n > len(available):
            raise DataError(
                f"{str(self.path)!r} has {len(self._pairs)} pairs, {len(available)} of them for {split}, but "
                f"{n} were asked for. Add lines or ask for fewer."
            )
        return available[:n]

    def available(self, split: Split) -> list[Pair]:
        """All pairs of that split, in the order in which they are handed out."""
        prompts = sorted({pair.clean for pair in self._pairs}, key=_digest)[SPLITS.index(split) :: 2]
        order = np.random.default_rng([self.seed, len(prompts)]).permutation(len(prompts))
        mine = {prompts[i]: place for place, i in enumerate(order)}
        return sorted((p for p in self._pairs if p.clean in mine), key=lambda pair: mine[pair.clean])


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The data file {str(path)!r} cannot be read: {error}") from error


def _parse(path: Path, content: str, tokenizer: TokenizerLike, n_ctx: int) -> list[Pair]:
    pairs: list[Pair] = []
    problems: list[str] = []
    lines = [(i, line) for i, line in enumerate(content.split("\n"), 1) if line.strip()]
    for number, line in lines:
        try:
            pair = Pair(**_Line.model_validate_json(line).model_dump())
        except ValidationError as error:
            problems += [f"line {number}: {_say(e)}" for e in error.errors(include_url=False)]
            continue
        problems += [f"line {number}: {problem}" for problem in problems_of(pair, tokenizer, n_ctx)]
        pairs.append(pair)
    if pairs and not problems and len({pair.distractor is None for pair in pairs}) == 2:
        problems = ["some lines have a distractor and some have none; give all or none"]
    if not lines:
        problems = ["the file is empty"]
    elif not problems and (n := len({pair.clean for pair in pairs})) < 4:
        problems = [f"{n} different clean prompts: discovery and evaluation need two each"]
    if problems:
        fields = '{"clean": "...", "corrupted": "...", "answer": " one-token", "distractor": " one-token"}'
        title = f"The data file {str(path)!r} cannot be used. Expected one object a line, such as {fields}."
        raise DataError(list_problems(title, problems))
    return pairs


def _say(error) -> str:
    where = ".".join(map(str, error["loc"]))
    return f"{where}: {error['msg']}" if where else error["msg"]
