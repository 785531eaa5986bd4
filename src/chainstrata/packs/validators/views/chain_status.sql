-- chain_status
-- One row: the head of the chain, the newest final block, and how far they are apart. What is dated up to the final block cannot change.
CREATE VIEW validators.chain_status AS
SELECT
    head.slot AS head_slot,
    head.root AS head_root,
    head.ts AS head_ts,
    final.slot AS finalized_slot,
    final.root AS finalized_root,
    final.ts AS finalized_ts,
    head.slot - final.slot AS slots_to_finality
FROM (SELECT slot, root, ts FROM validators.chain_blocks WHERE canonical ORDER BY slot DESC LIMIT 1) AS head
LEFT JOIN (SELECT slot, root, ts FROM validators.chain_blocks WHERE canonical AND finalized ORDER BY slot DESC LIMIT 1) AS final ON true;
