"""Strategies that were found are not searched for again."""

from collections.abc import Callable
from typing import Any

from anajax.mapping.strategy import Strategy
from anajax.programming.strategy_file import from_text, to_text
from anajax.studies.store.drafts import Draft
from anajax.studies.ways.tables import Keep


def kept_searches(label: str, draft: Draft, done: str | None) -> Keep:
    """What gives a strategy as it was found before the study was stopped, or searches.

    Args:
        label: of the strategy.
        draft: where those of some layers are kept.
        done: text of all of them, if there is one.
    """
    text = done or (draft.load() or b"").decode()
    found: Any = from_text(text, draft.file).get(label, {}) if text else {}
    found = {"": found} if isinstance(found, Strategy) else dict(found)

    def keep(path: str, search: Callable[[], Strategy]) -> Strategy:
        if path not in found:
            found[path] = search()
            draft.save(lambda: to_text({label: found}).encode())
        return found[path]

    return keep
