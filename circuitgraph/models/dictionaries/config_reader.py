"""A dictionary's configuration: each setting with its type, each refusal with its file and name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from circuitgraph.errors import ArgumentError, ModelError, first_line
from circuitgraph.foreign import LARGEST_CONFIG, convert_setting, parse_json, parse_yaml, read_text
from circuitgraph.models.sizes import check_counts
from circuitgraph.printable import NAME, shorten_text

_MISSING: Any = object()


@dataclass(frozen=True)
class ConfigReader:
    """The settings in one file.

    Attributes:
        name: of the dictionary, for messages.
        file: of the settings, likewise.
    """

    name: str
    file: str
    content: Mapping[str, Any]

    def read(self, setting: str, hint: Any, default: Any = _MISSING) -> Any:
        """One setting in its type.

        Raises:
            ModelError: it is missing and has no default, or is of another type.
        """
        if setting not in self.content:
            if default is _MISSING:
                raise ModelError(f"{self.file} of {self.name!r} does not say {setting!r}.")
            return default
        try:
            return convert_setting(setting, self.content[setting], hint)
        except ArgumentError as error:
            raise ModelError(f"In {self.file} of {self.name!r}: {error}") from error

    def section(self, setting: str) -> ConfigReader:
        """The settings in a table within this one; none where there is no such table."""
        inner = self.content.get(setting, {})
        if not isinstance(inner, Mapping):
            raise ModelError(
                f"{setting!r} in {self.file} of {self.name!r} is no table of settings."
            )
        return ConfigReader(self.name, self.file, inner)

    def read_names(self, setting: str) -> list[str]:
        """A setting that is a list of texts."""
        value = self.content.get(setting)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ModelError(f"{setting!r} in {self.file} of {self.name!r} is no list of names.")
        return value

    def refuse(self, setting: str, known: str) -> NoReturn:
        """Raise `ModelError`: the setting has a value that nothing here computes.

        Args:
            known: what it may be, in words.
        """
        value = shorten_text(repr(self.content.get(setting)), NAME)
        raise ModelError(
            f"{setting} = {value} in {self.file} of {self.name!r} is not supported. Supported: "
            f"{known}."
        )

    def require(self, setting: str, *allowed: Any) -> None:
        """Refuse a setting that is there and not one of these values."""
        if setting in self.content and self.content[setting] not in allowed:
            self.refuse(setting, ", ".join(map(repr, allowed)))


def read_config_file(name: str, file: str, path: Path) -> ConfigReader:
    """The settings in a JSON or YAML file.

    Raises:
        ModelError: it cannot be read, is no table of settings, or holds sizes that cannot be.
    """
    parse = parse_yaml if path.suffix == ".yaml" else parse_json
    try:
        content = parse(read_text(path, LARGEST_CONFIG))
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} of {name!r} cannot be read: {first_line(error)}.") from error
    if not isinstance(content, Mapping):
        raise ModelError(f"{file} of {name!r} holds no settings, but a {type(content).__name__}.")
    check_counts(content, file=file)
    return ConfigReader(name, file, content)
