-- chain_transactions
-- The transactions of canonical blocks, with whether their block is final.
CREATE VIEW insights.chain_transactions AS
SELECT t.*, b.finalized
FROM insights.transactions AS t
JOIN insights.blocks AS b ON b.hash = t.block_hash
WHERE b.canonical;
