"""The roll-ups of the relay pack, with the formulas of its rates and scores.

Only counts and sums are folded. A rate or a score is generated from them, so it can neither contradict them nor be averaged.
"""

import sqlalchemy as sa

from chainstrata.model import (
    Derived,
    Lifecycle,
    Rollup,
    check,
    count,
    days,
    hours,
    index,
    mean,
    months,
    percentiles,
    total,
    years,
)
from chainstrata.packs.relay.model import PacketEvent

RATE = sa.Numeric()
SCORE = sa.Numeric(5, 2)

ENDED = "(acknowledged_packets + failed_packets + timed_out_packets)"
SUCCESS_RATE = f"acknowledged_packets::numeric / NULLIF({ENDED}, 0)"

# A packet cleared within a minute is on time; a mean of n minutes is slow by 1 - 1/n.
PATIENCE_SECONDS = 60
BACKLOG = f"COALESCE(GREATEST(sent_packets - {ENDED}, 0)::numeric / NULLIF(sent_packets, 0), 0)"
SLOWNESS = (
    f"CASE WHEN clear_time_count > 0 THEN 1 - {PATIENCE_SECONDS} / GREATEST(clear_time_sum / clear_time_count, {PATIENCE_SECONDS})"
    f" WHEN {ENDED} = 0 AND sent_packets > 0 THEN 1 ELSE 0 END"
)
TIMEOUTS = f"COALESCE(timed_out_packets::numeric / NULLIF({ENDED}, 0), 0)"
CONGESTION = f"round(100 * (0.5 * {BACKLOG} + 0.3 * ({SLOWNESS}) + 0.2 * {TIMEOUTS}), 2)"

# Ten imagined messages, half of them effective, keep a relayer of one lucky message off the top.
EFFECTIVENESS = "(effective_packets + 5)::numeric / (relayed_packets + 10)"
SPEED = (
    f"CASE WHEN relay_time_count > 0 THEN {PATIENCE_SECONDS} / GREATEST(relay_time_sum / relay_time_count, {PATIENCE_SECONDS}) ELSE 0.5 END"
)
REPUTATION = f"round(100 * (0.7 * {EFFECTIVENESS} + 0.3 * ({SPEED})), 2)"


OF_PACKETS = (
    Rollup(
        "hourly_stats",
        every=hours(1),
        by=["src_chain_id"],
        measures=[
            count("packet_count"),
            total("clear_time", name="clear_time_sum"),
            count("clear_time_count", "clear_time"),
        ],
        derived=[
            Derived(
                "avg_clear_time", "clear_time_sum / NULLIF(clear_time_count, 0)", "Mean seconds until those were closed, from the two."
            ),
        ],
        table="hourly_packet_stats",
        bucket="hour",
        doc="One hour of one chain: the packets it sent in that hour, and how long those took to be closed, whenever that was.",
        lifecycle=Lifecycle(keep=years(2)),
        indexes=[index("idx_hourly_packet_stats_hour", "hour", why="All chains in one hour or several.")],
    ),
)
"""What is folded from the packets themselves: a late acknowledgement still counts in the hour its packet was sent."""


REDUNDANT: sa.ColumnElement[bool] = sa.column("redundant", sa.Boolean())
SUCCESS: sa.ColumnElement[bool] = sa.column("success", sa.Boolean())
RELAYER: sa.ColumnElement[str] = sa.column("relayer", sa.Text())
EFFECTIVE = sa.not_(REDUNDANT)


def _is(*kinds: PacketEvent) -> sa.ColumnElement[bool]:
    return sa.column("event_type", sa.Text()).in_([kind.value for kind in kinds])


SENT = _is(PacketEvent.SEND)
RECEIVED = sa.and_(_is(PacketEvent.RECEIVE), EFFECTIVE)
ACKNOWLEDGED = sa.and_(_is(PacketEvent.ACKNOWLEDGE), EFFECTIVE, SUCCESS.is_not(sa.false()))
FAILED = sa.and_(_is(PacketEvent.ACKNOWLEDGE), EFFECTIVE, SUCCESS.is_(sa.false()))
TIMED_OUT = sa.and_(_is(PacketEvent.TIMEOUT), EFFECTIVE)
CLEARED = sa.and_(_is(PacketEvent.ACKNOWLEDGE, PacketEvent.TIMEOUT), EFFECTIVE)
RELAYED = _is(PacketEvent.RECEIVE, PacketEvent.ACKNOWLEDGE, PacketEvent.TIMEOUT)
ENDS = [
    count("received_packets", where=RECEIVED),
    count("acknowledged_packets", where=ACKNOWLEDGED),
    count("failed_packets", where=FAILED),
    count("timed_out_packets", where=TIMED_OUT),
    count("redundant_relays", where=REDUNDANT),
    mean("elapsed_seconds", name="clear_time", where=CLEARED),
]
SUCCESS_RATE_COLUMN = Derived(
    "success_rate", SUCCESS_RATE, "Share of the packets closed that were accepted, 0 to 1. NULL: none was closed.", RATE
)
OF_EVENTS = (
    Rollup(
        "network_stats",
        every=days(1),
        by=["chain_id"],
        measures=[count("total_packets", where=SENT), *ENDS, total("gas_used", where=RELAYED)],
        derived=[SUCCESS_RATE_COLUMN],
        table="network_stats",
        bucket="date",
        doc="One day (UTC) of one chain: packets it sent, received and closed, and what relaying them took.",
        indexes=[index("idx_network_stats_date", "date", why="All chains on one day or several.")],
    ),
    Rollup(
        "channel_performance",
        every=hours(1),
        by=["src_chain_id", "src_port", "src_channel"],
        measures=[
            count("sent_packets", where=SENT),
            *ENDS,
            percentiles("elapsed_seconds", 0.5, 0.95, name="clear_time", where=CLEARED),
        ],
        derived=[
            SUCCESS_RATE_COLUMN,
            Derived("congestion_score", CONGESTION, "0 (clear) to 100 (nothing gets through): backlog, slowness and timeouts.", SCORE),
        ],
        table="channel_performance",
        bucket="hour",
        doc="One hour of one channel: packets sent through it, received and closed, how fast, and how congested it was.",
        lifecycle=Lifecycle(partition=months(1), premake=2, keep=years(1)),
        checks=[check("channel_performance_congestion_range", "congestion_score BETWEEN 0 AND 100")],
        indexes=[
            index(
                "idx_channel_performance_congestion",
                "hour",
                sa.text("congestion_score DESC"),
                why="The most congested channels of an hour, and all channels over several.",
            )
        ],
    ),
    Rollup(
        "relayer_performance",
        every=days(1),
        by=["chain_id", "relayer"],
        where=sa.and_(RELAYED, RELAYER != ""),
        measures=[
            count("relayed_packets"),
            count("effective_packets", where=EFFECTIVE),
            count("frontrun_count", where=REDUNDANT),
            count("received_packets", where=RECEIVED),
            count("acknowledged_packets", where=sa.and_(_is(PacketEvent.ACKNOWLEDGE), EFFECTIVE)),
            count("timed_out_packets", where=TIMED_OUT),
            mean("elapsed_seconds", name="relay_time", where=RECEIVED),
            total("gas_used"),
            total("gas_used", name="gas_wasted", where=REDUNDANT),
        ],
        derived=[
            Derived(
                "effective_rate",
                "effective_packets::numeric / NULLIF(relayed_packets, 0)",
                "Share of its messages that were first, 0 to 1.",
                RATE,
            ),
            Derived("reputation_score", REPUTATION, "0 to 100: how often it is first, and how soon it delivers.", SCORE),
        ],
        table="relayer_performance",
        bucket="date",
        doc="One day (UTC) of one relayer on one chain: what it brought, how often another got there first, how fast it was.",
        checks=[check("relayer_performance_reputation_range", "reputation_score BETWEEN 0 AND 100")],
        indexes=[
            index(
                "idx_relayer_performance_reputation",
                "date",
                sa.text("reputation_score DESC"),
                postgresql_include=["chain_id", "relayer", "relayed_packets"],
                why="The best relayers of a day, from the index alone.",
            ),
            index("idx_relayer_performance_relayer", "relayer", "date", why="How one relayer did over time, on whatever chain."),
        ],
    ),
)
"""What is folded from the stream of events: a bucket holds what happened in it, so a past one stays as it is."""
