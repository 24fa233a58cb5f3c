"""The committed JSON Schemas, and records of older versions that are kept as samples."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from circuitgraph.catalog.entries import Entry
from circuitgraph.catalog.files import load_circuit, load_record, save_circuit
from circuitgraph.catalog.records import CircuitRecord
from circuitgraph.catalog.store import Catalog

ROOT = Path(__file__).parents[2]
SAMPLES = Path(__file__).parent / "samples"
CIRCUITS = ROOT / "catalog" / "circuits"
LATER = ("reference_sha256", "space", "environment", "evaluation", "refinement")


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    path = ROOT / "tools" / "write_schemas.py"
    spec = importlib.util.spec_from_file_location("write_schemas", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["circuit", "judgement"])
def test_the_schemas_are_those_of_the_records(tool: ModuleType, name: str) -> None:
    file = tool.FOLDER / f"{name}.schema.json"
    assert file.read_text() == tool.format_schema(name), "run tools/write_schemas.py"


@pytest.mark.parametrize("name", ["circuit", "judgement"])
def test_what_is_stored_is_as_the_schemas_say(tool: ModuleType, name: str) -> None:
    """By another library's eyes."""
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((tool.FOLDER / f"{name}.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    files = sorted(SAMPLES.rglob(f"{name}.json")) + sorted(CIRCUITS.rglob(f"{name}.json"))
    assert len(files) >= 25
    for file in files:
        content = json.loads(file.read_text())
        validator.validate(content)
        with pytest.raises(jsonschema.ValidationError):
            validator.validate({**content, "colour": "red"})


@pytest.mark.parametrize(("version", "n"), [(1, 11), (2, 30)])
def test_records_of_older_versions_are_read(tmp_path: Path, version: int, n: int) -> None:
    folder = SAMPLES / f"version-{version}"
    circuit = load_circuit(folder)
    assert load_record(folder).schema_version == version
    assert len(circuit) == n
    assert circuit.scores is not None
    again = load_circuit(save_circuit(circuit, tmp_path / "again"))
    assert again == circuit
    assert again.provenance == circuit.provenance
    assert (again.scores == circuit.scores).all()


def test_what_was_added_later_may_be_missing() -> None:
    content: dict[str, Any] = json.loads((SAMPLES / "version-1" / "circuit.json").read_text())
    for name in LATER:
        content.pop(name, None)
    content["model"].pop("options", None)
    content["algorithm"].pop("n_selected", None)
    record = CircuitRecord.model_validate(content)
    assert (record.space, record.evaluation, record.refinement) == (None, None, None)


def test_an_entry_of_the_first_version_is_filed(tmp_path: Path) -> None:
    entry: Entry = Catalog(tmp_path).add(SAMPLES / "version-1")
    assert str(entry) == "greater-than/greater-than/acdc"
    judgement = entry.read_judgement()
    assert judgement is not None
    assert judgement.minimality is not None
