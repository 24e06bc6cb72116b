"""All that is checked, by one command: `nox`; one part of it: `nox -s suite-3.12`.

Sessions make their own environments; `nox -R` uses them again. `nox -s slow` runs the
tests of more than ten seconds, `nox -s style` what pre-commit checks.
"""

import nox

PYTHONS = ("3.11", "3.12", "3.13")
nox.options.sessions = ["style", "suite", "slow"]
nox.options.error_on_missing_interpreters = False  # skipped, and said


@nox.session(python=PYTHONS[0])
def style(session: nox.Session) -> None:
    """Formatting, rules and types."""
    session.install("-e", ".[dev]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("pyright")


@nox.session(python=PYTHONS)
def suite(session: nox.Session) -> None:
    """The tests that CI runs, with the words given behind `--`."""
    session.install("-e", ".[dev]")
    session.run("pytest", "-n", "2", *session.posargs)


@nox.session(python=PYTHONS[0])
def slow(session: nox.Session) -> None:
    """The tests that take long, each in one process; drawn ones need Chromium."""
    session.install("-e", ".[dev]")
    session.run("pytest", "-m", "slow", *session.posargs)
