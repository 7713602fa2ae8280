-- Aggregates that need all values of a group: the touched groups are computed again.
CREATE SOURCE flight (
  date TIMESTAMP, delay BIGINT, distance BIGINT, origin VARCHAR, destination VARCHAR
) WITH (connector = 'file', path = '../testdata/flights_new_year.csv');

CREATE MATERIALIZED VIEW spread AS
SELECT origin, median(delay) AS median, quantile_disc(delay, 0.9) AS p90, quantile_cont(delay, [0.25, 0.75]) AS quartiles,
  mad(delay) AS deviation, count(DISTINCT destination) AS destinations, sum(DISTINCT distance) AS distances,
  entropy(destination) AS entropy, approx_count_distinct(destination) AS roughly
FROM flight
GROUP BY origin;

CREATE MATERIALIZED VIEW histograms AS
SELECT date::DATE AS day, histogram(delay // 30) AS delays, min(delay, 3) AS earliest, max(delay, 3) AS latest
FROM flight
GROUP BY day;
