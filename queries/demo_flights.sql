-- The demo: every US flight of January 2001, in the order of departure, as five live tables.
--
--   sluice run queries/demo_flights.sql --until-end
--
-- Small batches, so that there is something to interrupt.
SET max_batch_rows = 10000;

CREATE SOURCE flight (
  date TIMESTAMP, delay BIGINT, distance BIGINT, origin VARCHAR, destination VARCHAR,
  WATERMARK FOR date AS date - INTERVAL '1 hour'
) WITH (connector = 'file', path = '../testdata/flights.parquet');

CREATE VIEW judged AS
SELECT *, delay > 15 AS late FROM flight;

-- Hourly traffic and delay of each airport.
CREATE MATERIALIZED VIEW airport_hourly AS
SELECT window_start AS hour, origin AS airport, count(*) AS departures, count(*) FILTER (WHERE late) AS late,
  avg(delay) AS mean_delay, max(delay) AS worst_delay
FROM tumble(judged, date, INTERVAL '1 hour')
GROUP BY window_start, origin;

-- The routes flown at least ten times a day; a route enters the table on the day it gets there.
CREATE MATERIALIZED VIEW busiest_routes AS
SELECT origin, destination, count(*) AS flights, avg(delay) AS mean_delay, median(delay) AS median_delay
FROM flight
GROUP BY origin, destination
HAVING count(*) >= 270;

-- A summary of each day, right from its first flight on.
CREATE MATERIALIZED VIEW daily_summary AS
SELECT date::DATE AS day, count(*) AS flights, sum(distance) AS miles, avg(delay) AS mean_delay,
  stddev_samp(delay) AS delay_spread, count(*) FILTER (WHERE late) AS late, count(DISTINCT origin) AS airports
FROM judged
GROUP BY date::DATE;

-- An aggregate over an aggregate: how the airports compare at their busiest.
CREATE MATERIALIZED VIEW airport_peaks AS
SELECT airport, max(departures) AS busiest_hour, sum(departures) AS departures, count(*) AS hours
FROM (
  SELECT origin AS airport, date_trunc('hour', date) AS hour, count(*) AS departures
  FROM flight
  GROUP BY ALL
)
GROUP BY airport;

-- Everything, in one row.
CREATE MATERIALIZED VIEW totals AS
SELECT count(*) AS flights, sum(distance) AS miles, avg(delay) AS mean_delay, min(date) AS first_flight, max(date) AS last_flight
FROM flight;
