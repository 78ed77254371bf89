"""Attacks: what a hostile folder, file, server or moment can do. `make attack` runs them at full length.

Each test adds its figures to a table, which is printed at the end.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

FULL = bool(os.environ.get("DAGAN_ATTACK"))
Figure = Callable[[str, object], None]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent.name == "attack":
            item.add_marker("attack")


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Figure:
    """Add a line to the table of figures: what was counted or measured, and the value."""
    return lambda what, value: record_property(f"figure: {what}", value)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = []
    for report in terminalreporter.stats.get("passed", []) + terminalreporter.stats.get("failed", []):
        if report.when == "call":
            lines += [(name[8:], value) for name, value in report.user_properties if name.startswith("figure: ")]
    if lines and FULL:
        terminalreporter.write_sep("-", "figures")
        width = max(len(name) for name, _ in lines)
        for name, value in lines:
            terminalreporter.write_line(f"{name.ljust(width)}  {value}")
