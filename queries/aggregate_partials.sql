-- Aggregates that merge: a batch's partial result is added to the group's.
CREATE SOURCE flight (
  date TIMESTAMP, delay BIGINT, distance BIGINT, origin VARCHAR, destination VARCHAR
) WITH (connector = 'file', path = '../testdata/flights_new_year.csv');

CREATE MATERIALIZED VIEW per_airport AS
SELECT origin, count(*) AS n, count(delay) AS n_delay, sum(delay) AS delay, sum(distance::DOUBLE) AS miles,
  avg(delay) AS mean, avg(distance::DECIMAL(9, 2)) AS mean_distance, min(delay) AS least, max(delay) AS most,
  min(destination) AS first_name, max(destination) AS last_name,
  stddev_samp(delay) AS sd, stddev_pop(delay) AS sd_pop, var_samp(distance) AS variance, var_pop(distance) AS variance_pop,
  bool_and(delay < 120) AS never_bad, bool_or(delay > 60) AS once_late,
  bit_and(distance) AS bits_all, bit_or(distance) AS bits_any, bit_xor(distance) AS bits_odd,
  count_if(delay > 15) AS late
FROM flight
GROUP BY origin;

CREATE MATERIALIZED VIEW regression AS
SELECT date_trunc('hour', date) AS hour, corr(delay, distance) AS r, covar_pop(delay, distance) AS cov,
  covar_samp(delay, distance) AS cov_samp, regr_slope(delay, distance) AS slope, regr_intercept(delay, distance) AS intercept,
  regr_count(delay, distance) AS n
FROM flight
GROUP BY hour;
