"""What vLLM's refusal of a request repeats of it, compared with what was sent."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

from stainedglass_output_protection.apps.doctor.request_forms import (
    NUMBER,
    NUMBER_MEMBER,
)

# The value that lacks the member `messages`: newer releases count its members, older
# ones print it.
_COUNTED: Final = re.compile(
    r"'missing'[^<]{0,300}'input': '<dict of (\d{1,4}) items>'"
)
_PRINTED: Final = re.compile(r"'missing'[^{]{0,300}'input': \{([^}]{0,4000})")
_NAME: Final = re.compile(r"(?:^|, )'(\w+)': ")


class Echo(NamedTuple):
    """Whether more or fewer members arrived than were sent, and another number."""

    has_more: bool
    has_fewer: bool
    has_other_number: bool


def echo_of(message: object, sent: dict[str, Any]) -> Echo | None:
    """Return what a refusal's message shows; None if it is none of vLLM's."""
    said = str(message)
    has_other_number = NUMBER_MEMBER in said and str(NUMBER) not in said
    counted = _COUNTED.search(said)
    if counted is not None:
        count = int(counted[1])
        return Echo(count > len(sent), count < len(sent), has_other_number)
    printed = _PRINTED.search(said)
    names = set(_NAME.findall(printed[1])) if printed else set()
    if not names:
        return None
    return Echo(not names <= sent.keys(), not names >= sent.keys(), has_other_number)
