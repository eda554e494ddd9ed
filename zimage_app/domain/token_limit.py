"""The limit on a text's tokens. Everywhere a text's tokens are those that it adds to an empty prompt."""

from __future__ import annotations

from zimage_app.domain.errors import RequestError
from zimage_app.domain.text import Text


def check_tokens(field: str, tokens: int, limit: int) -> None:
    """Raise RequestError where a field's text has more tokens than the model takes."""
    if tokens > limit:
        raise RequestError(
            field,
            Text(
                f"{tokens} tokens, but this model takes at most {limit}; make it shorter",
                f"共 {tokens} 个词元，而此模型最多接受 {limit} 个；请缩短",
            ),
        )
