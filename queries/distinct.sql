-- SELECT DISTINCT, alone and over aggregates.
CREATE SOURCE flight (
  date TIMESTAMP, delay BIGINT, distance BIGINT, origin VARCHAR, destination VARCHAR
) WITH (connector = 'file', path = '../testdata/flights_new_year.csv');

CREATE MATERIALIZED VIEW routes AS
SELECT DISTINCT least(origin, destination) AS one_end, greatest(origin, destination) AS other_end
FROM flight;

CREATE MATERIALIZED VIEW counts_seen AS
SELECT DISTINCT n FROM (SELECT origin, count(*) AS n FROM flight GROUP BY origin);
