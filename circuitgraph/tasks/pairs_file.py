"""A user's own task: a JSONL file of pairs, no code written."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from circuitgraph.errors import DataError, check_at_least, list_problems
from circuitgraph.tasks.base import Task
from circuitgraph.tasks.prompts import SPLITS, Pair, Split, TokenizerLike, assign_split
from circuitgraph.tasks.tokenise import find_problems


class _Line(BaseModel):
    """One line of the file."""

    model_config = ConfigDict(extra="forbid", strict=True)
    clean: str
    corrupted: str
    answer: str
    distractor: str | None = None
    roles: dict[str, int | str] = Field(default_factory=dict)


END = "end"  # the role of the last token, which every prompt has


class PairsTask(Task):
    """The pairs of a file; `split_of` decides the split of each clean prompt, the seed only their
    order.

    A pair that the file holds twice counts once. Roles are what a line names: a token by its number
    from 0 (-1 is the last), or a text by where it ends, if the clean prompt has it once. The last
    token has the role ``end``.
    """

    def __init__(
        self, path: str | Path, tokenizer: TokenizerLike, n_ctx: int, seed: int = 0
    ) -> None:
        """Read and check the whole file.

        Raises:
            DataError: listing every unusable line by its number.
        """
        self.path = Path(path)
        self.name, self.metric = self.path.stem, "logit_difference"
        self.seed, self.tokenizer = seed, tokenizer
        check_at_least("seed", seed, 0)
        content = _read_file(self.path)
        self._pairs = list(dict.fromkeys(_parse_lines(self.path, content, tokenizer, n_ctx)))
        tokens = tokenizer.encode_all([pair.clean for pair in self._pairs])
        self._splits = [assign_split(ids) for ids in tokens]
        self._check_counts()
        if self._pairs[0].distractor is None:
            self.metric = "log_probability"
        self.arguments = {
            "data": str(self.path),
            "sha256": hashlib.sha256(content.encode()).hexdigest(),
        }

    def count_pairs(self, split: Split) -> int | None:
        return len(self.list_pairs(split))

    def pairs(self, n: int, split: Split) -> list[Pair]:
        available = self.list_pairs(split)
        if n > len(available):
            raise DataError(
                f"{str(self.path)!r} has {len(self._pairs)} pairs, {len(available)} of them for "
                f"{split}, but {n} were asked for. Add lines or ask for fewer."
            )
        return available[:n]

    def list_pairs(self, split: Split) -> list[Pair]:
        """All pairs of that split, in the order in which they are handed out."""
        splits = zip(self._pairs, self._splits, strict=True)
        pairs = [pair for pair, pair_split in splits if pair_split == split]
        order = np.random.default_rng([self.seed, len(pairs)]).permutation(len(pairs))
        return [pairs[i] for i in order]

    def _check_counts(self) -> None:
        counts = {split: len({pair.clean for pair in self.list_pairs(split)}) for split in SPLITS}
        if min(counts.values()) < 2:
            numbers = " and ".join(f"{n} to {split}" for split, n in counts.items())
            raise DataError(
                f"The data file {str(self.path)!r} is too small. Each clean prompt goes to "
                f"discovery or to evaluation, as by a coin; here {numbers}, but each needs two "
                "different ones. Add lines: about ten will do."
            )


def _read_file(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The data file {str(path)!r} cannot be read: {error}") from error


def _parse_lines(path: Path, content: str, tokenizer: TokenizerLike, n_ctx: int) -> list[Pair]:
    """The pairs of all lines; every unusable line is a problem of the error."""
    pairs: list[Pair] = []
    problems: list[str] = []
    lines = [(i, line) for i, line in enumerate(content.split("\n"), 1) if line.strip()]
    for number, line in lines:
        try:
            parsed = _Line.model_validate_json(line)
        except ValidationError as error:
            problems += [
                f"line {number}: {_format_error(e)}" for e in error.errors(include_url=False)
            ]
            continue
        roles, role_problems = _locate_roles(parsed, tokenizer)
        pair = Pair(parsed.clean, parsed.corrupted, parsed.answer, parsed.distractor, roles)
        pair_problems = role_problems + find_problems(pair, tokenizer, n_ctx)
        problems += [f"line {number}: {problem}" for problem in pair_problems]
        pairs.append(pair)
    if pairs and not problems and len({pair.distractor is None for pair in pairs}) == 2:
        problems = ["some lines have a distractor and some have none; give all or none"]
    if not lines:
        problems = ["the file is empty"]
    if problems:
        title = (
            f"The data file {str(path)!r} cannot be used. Expected one object a line, such as "
            '{"clean": "...", "corrupted": "...", "answer": " one-token", '
            '"distractor": " one-token"}.'
        )
        raise DataError(list_problems(title, problems))
    return pairs


def _locate_roles(line: _Line, tokenizer: TokenizerLike) -> tuple[dict[str, int], list[str]]:
    """The positions of a line's roles, and what is wrong with them, in words."""
    ids = tokenizer.encode(line.clean)
    roles: dict[str, int] = {}
    problems: list[str] = []
    for name, place in {END: -1, **line.roles}.items():
        if isinstance(place, str):
            times = line.clean.count(place) if place else 0
            # The tokens up to the end of the text: the role is the last of them.
            before = tokenizer.encode(line.clean[: line.clean.find(place) + len(place)])
            if times != 1:
                problems.append(
                    f"roles.{name}: the clean prompt has {place!r} {times} times; give the token's "
                    "number"
                )
            elif not before or before != ids[: len(before)]:
                problems.append(
                    f"roles.{name}: no token ends where {place!r} ends; give the token's number"
                )
            else:
                roles[name] = len(before) - 1
        elif not -len(ids) <= place < len(ids):
            problems.append(
                f"roles.{name}: there is no token {place}; the clean prompt has {len(ids)}"
            )
        else:
            roles[name] = place % len(ids)
    return roles, problems if ids else []


def _format_error(error) -> str:
    where = ".".join(map(str, error["loc"]))
    return f"{where}: {error['msg']}" if where else error["msg"]
