-- Groups that come and go: HAVING over results that rise and fall.
CREATE SOURCE flight (
  date TIMESTAMP, delay BIGINT, distance BIGINT, origin VARCHAR, destination VARCHAR
) WITH (connector = 'file', path = '../testdata/flights_new_year.csv');

CREATE MATERIALIZED VIEW punctual AS
SELECT origin, count(*) AS flights, avg(delay) AS mean_delay
FROM flight
GROUP BY origin
HAVING avg(delay) BETWEEN -5 AND 5 AND count(*) >= 3;

CREATE MATERIALIZED VIEW odd_sums AS
SELECT destination, sum(delay) AS delay
FROM flight
GROUP BY destination
HAVING sum(delay) % 2 = 1;

-- Groups of groups disappear too.
CREATE MATERIALIZED VIEW rare AS
SELECT flights, count(*) AS routes
FROM (SELECT origin, destination, count(*) AS flights FROM flight GROUP BY ALL HAVING count(*) <= 4)
GROUP BY flights;
