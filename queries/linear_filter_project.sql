-- Filters and projections: nothing is remembered, the rows out depend on the rows in alone.
CREATE SOURCE flight (
  date TIMESTAMP, delay BIGINT, distance BIGINT, origin VARCHAR, destination VARCHAR
) WITH (connector = 'file', path = '../testdata/flights_new_year.csv');

CREATE VIEW judged AS
SELECT *, CASE WHEN delay > 60 THEN 'bad' WHEN delay > 15 THEN 'late' WHEN delay >= 0 THEN 'fair' ELSE 'early' END AS verdict
FROM flight;

CREATE MATERIALIZED VIEW long_and_late AS
SELECT date, origin || '-' || destination AS route, delay, distance * 1.609344 AS km, verdict
FROM judged
WHERE distance > 1000 AND verdict IN ('late', 'bad') AND origin NOT LIKE 'S%';

-- No column tells two equal rows apart: the table keeps as many copies as there are.
CREATE MATERIALIZED VIEW verdicts AS
SELECT verdict, upper(left(origin, 1)) AS initial, NULL::INTEGER AS nothing
FROM judged
WHERE verdict <> 'fair';
