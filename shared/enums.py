"""Names of enums' values as people read them."""

import re
from functools import lru_cache
from typing import Any


def short_name(enum: Any, value: int) -> str:
    """A value's name without its enum's, which Buf's style (ENUM_VALUE_PREFIX) puts before it: "FULL" for DETAIL_FULL. enum: the generated
    class, for which the stubs have no type in common. Raises ValueError for a number without a name."""
    return str(enum.Name(value)).removeprefix(_prefix(enum.DESCRIPTOR.name))


@lru_cache(maxsize=256)
def _prefix(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).upper() + "_"
