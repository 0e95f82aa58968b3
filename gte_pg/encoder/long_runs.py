"""Shortening what a BERT tokenizer reads to the end and then makes nothing, or one token, of.

Ten million letters without a space are one word, and every word of more than 100 characters is one
unknown token; a run of white space is no token at all. Neither depends on how long the run is, as
long as its ends stay: what stands beside them may be part of an added token. Only plain ASCII is
shortened, where what a character becomes before it is cut into words depends on no other.
"""

from __future__ import annotations

import re
import string
from typing import Any

__all__ = ["ignores_length", "shortened"]

END = 500
# An added token with one of these does not lie inside a run.
PUNCTUATION = re.compile(f"[{re.escape(string.punctuation)}]")
LONG_RUN = re.compile(rf"[0-9A-Za-z]{{{2 * END},}}|[ \n]{{{2 * END},}}")


def ignores_length(tokenizer: Any) -> bool:
    """Whether a `tokenizers.Tokenizer` gives the same tokens for a text and for it shortened."""
    kinds = [
        type(part).__name__
        for part in (tokenizer.normalizer, tokenizer.pre_tokenizer, tokenizer.model)
    ]
    if kinds != ["BertNormalizer", "BertPreTokenizer", "WordPiece"]:
        return False
    added = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
    stay_outside = all(len(content) < END and PUNCTUATION.search(content) for content in added)
    return stay_outside and tokenizer.model.max_input_chars_per_word < 2 * END


def shortened(text: str) -> str:
    """Return the text with each long run cut to its first and last 500 characters."""
    return LONG_RUN.sub(lambda run: run[0][:END] + run[0][-END:], text)
