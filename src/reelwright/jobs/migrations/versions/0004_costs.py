"""What hosted models cost."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this form."""
    op.create_table(
        "costs",
        sa.Column("intent", sa.String(length=64), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("owner", sa.String(length=128), nullable=False),
        sa.Column("provider", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("estimated", sa.Float(), nullable=True),
        sa.Column("usd", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("intent", name=op.f("pk_costs")),
    )
    with op.batch_alter_table("costs", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_costs_at"), ["at"], unique=False)
        batch_op.create_index(batch_op.f("ix_costs_owner"), ["owner"], unique=False)


def downgrade() -> None:
    """Back to the form before."""
    op.drop_table("costs")
