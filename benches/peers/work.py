"""The work, as `bench export` wrote it, and what must come out of it."""

import csv
import json
from pathlib import Path


class Wrong(Exception):
    """Figures that are not the expected ones."""


class Work:
    def __init__(self, folder: Path):
        self.folder = folder
        self.expected = json.loads((folder / "expected.json").read_text())
        self.reads = self.records("reads.csv")
        self.corrections = self.records("corrections.csv")

    def records(self, name: str) -> list[dict[str, str]]:
        with open(self.folder / name, newline="") as file:
            return list(csv.DictReader(file))

    def lines(self, name: str, limit: int | None = None) -> list[bytes]:
        """The lines behind the names, with their ends."""
        with open(self.folder / name, "rb") as file:
            next(file)
            return [line for _, line in zip(range(limit), file)] if limit else file.readlines()

    def batches(self, name: str, size: int, limit: int | None = None) -> list[tuple[int, bytes]]:
        """Lines and bytes of each batch."""
        lines = self.lines(name, limit)
        return [(len(part), b"".join(part)) for part in (lines[at : at + size] for at in range(0, len(lines), size))]

    def check(self, what: str, found: dict[str, int], only: tuple[str, ...] | None = None) -> None:
        """Whether the totals are the expected ones; of what is `only` kept, where not everything is."""
        expected = self.expected[what]
        names = only or tuple(expected)
        wrong = {name: (found.get(name), expected[name]) for name in names if found.get(name) != expected[name]}
        if wrong:
            raise Wrong(f"{what}: found and expected: {wrong}")


def equal(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise Wrong(f"{what}: {found!r}, not {expected!r}")
