-- add_rows
-- Keep rows that a dataset did not take, in the order they came; one that is held already is counted.
INSERT INTO strata.quarantine AS held (dataset, reason, detail, content, original, source, batch, row_time, fingerprint, times)
SELECT %(dataset)s, min(reason), min(detail), (array_agg(content))[1], min(original), %(source)s, %(batch)s, min(row_time), print, count(*)
FROM (
    SELECT reason, detail, content::jsonb AS content, original, row_time,
           sha256(convert_to(coalesce(original, content), 'UTF8')) AS print, place
    FROM unnest(
        %(reasons)s::text[], %(details)s::text[], %(contents)s::text[], %(originals)s::text[], %(times)s::timestamptz[]
    ) WITH ORDINALITY AS given (reason, detail, content, original, row_time, place)
) AS printed
GROUP BY print
ORDER BY min(place)
ON CONFLICT (dataset, fingerprint) WHERE state = 'held' DO UPDATE
SET times = held.times + excluded.times,
    last_seen = greatest(held.last_seen, excluded.last_seen),
    reason = excluded.reason,
    detail = excluded.detail,
    batch = coalesce(excluded.batch, held.batch);
