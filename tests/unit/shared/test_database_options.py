"""What a database's URL says for each session counts, and what we say too."""

from sqlalchemy import make_url, text

from shared.database import Database
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
