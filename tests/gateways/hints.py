"""What the words of each error tell its reader to do next."""

from __future__ import annotations

import re

# Parts of the sentences that say what to do, not of those that say what has happened.
HINTS = {
    "UnprotectedResponseError": r"[Cc]heck the base URL.*sg-vllm doctor",
    "RedirectRefusedError": r"Use the address that it leads to, if you trust it",
    "MalformedFrameError": r"Ask again.*sg-vllm doctor",
    "SequenceError": r"Ask again.*sg-vllm doctor",
    "DecryptionError": r"Ask again.*sg-vllm doctor",
    "TrailingDataError": r"Ask again.*sg-vllm doctor",
    "TruncatedError": r"Discard what came.*ask again",
    "TooLargeError": r"Ask for less",
    "ForeignResponseError": r"Switch that cache off",
    "IdentityMismatchError": r"pin the new one from a source you trust",
}
# By the code of an API error, what its message says.
API_HINTS = {
    "client_key_missing": r"[Uu]se |[Ss]end ",
    "client_key_duplicated": r"Send one.*look for a gateway",
    "sealed_request_malformed": r"look for a gateway",
    "sealed_request_mismatch": r"Let it pass them on",
    "request_replayed": r"retries below the protected client must be off",
}


def says_what_to_do(error: Exception) -> bool:
    """Tell whether an error's words hold what its reader can do."""
    hint = HINTS[type(error).__name__]
    return re.search(hint, str(error), re.DOTALL) is not None
