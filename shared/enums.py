"""Names of enums' values as people read them."""

import re
from functools import lru_cache
from typing import Any


@lru_cache(maxsize=1024)
def short_name(enum: Any, value: int) -> str:
    """A value's name without its enum's, which Buf's style (ENUM_VALUE_PREFIX) puts before it: "FULL" for DETAIL_FULL. enum: the generated
    class, for which the stubs have no type in common. Raises ValueError for a number without a name."""
    prefix = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", enum.DESCRIPTOR.name).upper() + "_"
    return str(enum.Name(value)).removeprefix(prefix)
