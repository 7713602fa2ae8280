-- Two files of two formats in one table, and one file twice.
CREATE SOURCE flight (
  date TIMESTAMP, delay BIGINT, distance BIGINT, origin VARCHAR, destination VARCHAR
) WITH (connector = 'file', path = '../testdata/flights_new_year.csv');

CREATE SOURCE flight_json (
  date TIMESTAMP, delay BIGINT, distance BIGINT, origin VARCHAR, destination VARCHAR
) WITH (connector = 'file', path = '../testdata/flights_new_year.ndjson');

CREATE MATERIALIZED VIEW both_ways AS
SELECT 'from' AS way, origin AS airport, date FROM flight WHERE delay > 30
UNION ALL
SELECT 'to', destination, date + to_minutes(delay) FROM flight WHERE delay > 30;

CREATE MATERIALIZED VIEW per_format AS
SELECT format, airport, count(*) AS flights, sum(delay) AS delay
FROM (
  SELECT 'csv' AS format, origin AS airport, delay FROM flight
  UNION ALL
  SELECT 'ndjson', origin, delay FROM flight_json
)
GROUP BY format, airport;
