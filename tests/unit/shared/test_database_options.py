"""What a database's URL says for each session counts, and what we say too."""

import os
import socket

from sqlalchemy import make_url, text

from shared.database import Database
from shared.driver import driver_of
from tests.support.postgres import FreshDatabase


def test_the_urls_options_count_beside_ours(fresh_database: FreshDatabase) -> None:
    url = make_url(fresh_database("settings"))
    said = url.update_query_dict({"options": "-c search_path=elsewhere -c timezone=Asia/Tokyo"})
    database = Database(said.render_as_string(hide_password=False))
    try:
        with database.transaction() as tx:
            shown = [tx.execute(text(f"SHOW {name}")).scalar_one() for name in ("search_path", "timezone")]
    finally:
        database.close()
    assert shown == ["elsewhere", "UTC"]


def test_a_host_that_vanishes_without_a_word_is_not_waited_for(fresh_database: FreshDatabase) -> None:
    """What the kernel is told of each connection: when unanswered bytes count as lost, and to ask where nothing is under way."""
    database = Database(fresh_database("settings"))
    for of_pool in (database, database.apart()):
        with of_pool.transaction() as tx, socket.socket(fileno=os.dup(driver_of(tx).fileno())) as line:
            assert line.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 8_000
            assert line.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert line.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 10
            assert line.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 5
        of_pool.close()
