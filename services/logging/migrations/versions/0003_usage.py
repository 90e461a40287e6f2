"""Usage data, in two stores that nothing joins. The version before counts nothing; what it stores meanwhile is not counted later."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_FIGURES = (
    "calls",
    "prompt_tokens",
    "generation_tokens",
    "duration_milliseconds",
    "took_under_100_ms",
    "took_under_250_ms",
    "took_under_500_ms",
    "took_under_1000_ms",
    "took_under_2000_ms",
    "took_under_4000_ms",
    "took_under_8000_ms",
    "took_under_16000_ms",
    "took_under_32000_ms",
    "took_under_64000_ms",
    "took_longer",
    "took_unknown",
    "tool_calls",
    "tool_results",
    "images",
    "audio",
    "other_data",
    "reasoning",
    "several_generations",
    "attributes",
    "end_users",
    "trial_keys",
    "cut_off",
    "filtered",
)


def upgrade() -> None:
    """Creates empty tables."""
    _billing()
    _analytics()


def _figures() -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger, nullable=False) for name in _FIGURES]


def _billing() -> None:
    op.create_table(
        "billing_usage",
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("hour", _TIME, nullable=False),
        sa.Column("application", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("writer", sa.Text, nullable=False),
        *_figures(),
        sa.PrimaryKeyConstraint(
            "organization_id", "hour", "application", "model", "writer", name="billing_usage_pkey"
        ),
        postgresql_with={"fillfactor": 50},
    )
    op.create_table(
        "usage_reports",
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("content_sha256", sa.LargeBinary, nullable=False),
        sa.Column("reported_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "request_id", name="usage_reports_pkey"),
    )
    op.create_index("usage_reports_by_age", "usage_reports", ["reported_at"])


def _analytics() -> None:
    op.create_table(
        "analytics_keys",
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("key_id", sa.Uuid, nullable=False),
        sa.Column("key", sa.LargeBinary, nullable=False),
        prefixes=["UNLOGGED"],
    )
    op.create_table(
        "analytics_usage",
        sa.Column("hour", _TIME, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("key_id", sa.Uuid, nullable=False),
        sa.Column("pseudonym", sa.Uuid, nullable=False),
        sa.Column("writer", sa.Text, nullable=False),
        *_figures(),
        sa.PrimaryKeyConstraint(
            "hour", "model", "key_id", "pseudonym", "writer", name="analytics_usage_pkey"
        ),
        postgresql_with={"fillfactor": 50},
    )
    op.create_index("analytics_usage_by_pseudonym", "analytics_usage", ["pseudonym"])
    op.create_table(
        "analytics_cells",
        sa.Column("hour", _TIME, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("organizations", sa.BigInteger, nullable=False),
        *_figures(),
        sa.PrimaryKeyConstraint("hour", "model", name="analytics_cells_pkey"),
    )
