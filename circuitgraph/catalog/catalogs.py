"""Several catalogs at once: those that were named, those of the environment, or the shipped one."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from circuitgraph.catalog.entries import Entry
from circuitgraph.catalog.entry_names import CIRCUITS, EntryName
from circuitgraph.catalog.sources import is_url
from circuitgraph.catalog.store import Catalog, Listing
from circuitgraph.errors import ArgumentError, DataError, UnknownNameError, unknown_name

VARIABLE = "CIRCUITGRAPH_CATALOG"
SHIPPED = "shipped"  # what stands for the catalog that comes with circuitgraph
_PACKAGE = Path(__file__).resolve().parents[1]


def find_shipped() -> Path | None:
    """The circuits that come with circuitgraph; None if they do not."""
    roots = (_PACKAGE / "_shipped" / CIRCUITS, _PACKAGE.parent / "catalog" / CIRCUITS)
    return next((root for root in roots if root.is_dir()), None)


def open_catalogs(places: Sequence[str | Path] = ()) -> list[Catalog]:
    """The catalogs at these places; if none is named, those of `VARIABLE`, else the shipped one.

    Raises:
        DataError: no such folder, or nothing is shipped.
        CircuitGraphError: a URL that cannot be opened.
    """
    named = list(places) or split_places(os.environ.get(VARIABLE, "")) or [SHIPPED]
    catalogs = [Catalog(_find_place(place)) for place in dict.fromkeys(named)]
    for catalog in catalogs:
        if not is_url(catalog.place) and not os.path.isdir(os.path.expanduser(catalog.place)):
            raise DataError(
                f"There is no catalog at {catalog.place!r}: name a folder of circuits, or "
                f"{SHIPPED!r}. (catalog add makes one.)"
            )
    return catalogs


def split_places(text: str) -> list[str]:
    """The places in a value of the environment: folders and URLs, separated as in ``PATH``."""
    separator = re.escape(os.pathsep)
    # no colon of a URL (s3://) or between two of them (zip://::s3://) separates places
    pattern = rf"(?<!:){separator}(?!//|:)" if os.pathsep == ":" else separator
    return [place for place in re.split(pattern, text) if place.strip()]


def choose_writable(place: str | Path | None) -> Catalog:
    """The catalog to write to: the one that was named, or the first of `VARIABLE`.

    Raises:
        ArgumentError: there is neither.
    """
    named = [place] if place else split_places(os.environ.get(VARIABLE, ""))
    if not named:
        raise ArgumentError(f"Name the catalog to write to: --catalog FOLDER, or set {VARIABLE}.")
    return Catalog(_find_place(named[0]))


def list_all(catalogs: Sequence[Catalog]) -> Listing:
    """What all catalogs hold together."""
    listings = [catalog.list() for catalog in catalogs]
    entries = tuple(entry for listing in listings for entry in listing)
    problems = {name: why for listing in listings for name, why in listing.problems.items()}
    return Listing(entries, problems)


def find_entry(name: str, catalogs: Sequence[Catalog]) -> Entry:
    """The entry of that name in one of the catalogs.

    Raises:
        DataError: no such name can be.
        UnknownNameError: it is in none; near names are suggested.
        ArgumentError: it is in several.
    """
    EntryName.parse(name)
    entries, known = [], []
    for catalog in catalogs:
        try:
            entries.append((catalog.place, catalog.get(name)))
        except UnknownNameError:
            known += [entry.entry for entry in catalog.list()]
    if not entries:
        raise unknown_name("entry", name, known)
    if len(entries) > 1:
        where = " and ".join(repr(place) for place, _ in entries)
        raise ArgumentError(f"{name!r} is in {where}: say which with --catalog.")
    return entries[0][1]


def _find_place(place: str | Path) -> str | Path:
    if str(place) != SHIPPED:
        return place
    if (shipped := find_shipped()) is None:
        raise DataError(
            f"No circuits come with this circuitgraph: name a catalog with --catalog, or set "
            f"{VARIABLE}."
        )
    return shipped
