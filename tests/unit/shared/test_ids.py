"""Record ids, asked of one by one and of all at once."""

from hypothesis import given
from hypothesis import strategies as st

from shared.ids import are_record_ids, is_record_id

REAL = bytes.fromhex("019ba84b8ff873ce8b34e453a0ccea01")


@given(
    st.lists(
        st.binary(max_size=18)
        | st.just(REAL)
        | st.binary(min_size=16, max_size=16)
        | st.tuples(st.sampled_from([6, 8]), st.integers(0, 255)).map(
            lambda change: REAL[: change[0]] + bytes([change[1]]) + REAL[change[0] + 1 :]
        ),
        max_size=6,
    )
)
def test_all_at_once_says_what_one_by_one_says(ids: list[bytes]) -> None:
    assert are_record_ids(ids) == all(map(is_record_id, ids))
