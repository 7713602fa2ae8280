-- Aggregates over aggregates: the inner one takes back what it said before.
CREATE SOURCE flight (
  date TIMESTAMP, delay BIGINT, distance BIGINT, origin VARCHAR, destination VARCHAR
) WITH (connector = 'file', path = '../testdata/flights_new_year.csv');

-- How many airports have how many departures; every batch moves airports from one row to another.
CREATE MATERIALIZED VIEW sizes AS
SELECT departures, count(*) AS airports, min(airport) AS example, sum(delay) AS delay
FROM (SELECT origin AS airport, count(*) AS departures, sum(delay) AS delay FROM flight GROUP BY origin)
GROUP BY departures;

CREATE MATERIALIZED VIEW extremes AS
SELECT max(departures) AS most, min(departures) AS least, avg(departures) AS mean, median(departures) AS median, count(DISTINCT departures) AS sizes
FROM (SELECT origin, count(*) AS departures FROM flight GROUP BY origin);

CREATE MATERIALIZED VIEW hours AS
SELECT day, max(flights) AS busiest, count(*) AS hours
FROM (
  SELECT date_trunc('day', hour) AS day, hour, sum(n) AS flights
  FROM (SELECT date_trunc('hour', date) AS hour, origin, count(*) AS n FROM flight GROUP BY ALL)
  GROUP BY ALL
)
GROUP BY day;
