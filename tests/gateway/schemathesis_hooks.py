"""What Schemathesis is told of this gateway, named in SCHEMATHESIS_HOOKS.

To JSON Schema 42.0 is an integer, and it has no word to forbid it; the contract refuses it (DESIGN 3.5: strict types,
which `test_models.py` holds). So a whole number that was generated as 42.0 is sent as 42. Every check stays on.
"""

from __future__ import annotations

from typing import Any

import schemathesis


@schemathesis.hook
def map_body(context: schemathesis.HookContext, body: Any) -> Any:
    return without_fractions(body)


def without_fractions(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_fractions(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [without_fractions(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
